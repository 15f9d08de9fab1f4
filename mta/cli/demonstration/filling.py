"""Many letters into one mailbox, and out of it again: how fast a server keeps mail and gives it back.

Owns: the figures, and that each message is there once and as it was sent. Never does: claim more than it measured;
client and server share the machine's cores.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mta.cli.client import AdminClient
from mta.cli.demonstration import burst
from mta.cli.demonstration.facts import Mailbox, Row
from mta.cli.demonstration.stage import AUTHOR, BURST, PATIENCE, POLL, READER, DemoFailed, Stage, verify
from mta.clock import Clock
from mta.services import pop3_client
from mta.services.source import Letter, Source


async def mailbox(stage: Stage, messages: int) -> Mailbox:
    """Runs it. Raises DemoFailed when a message is refused, lost, changed or doubled."""
    connections = min(burst.CONNECTIONS, messages)
    source = Source(f"source.{BURST}", stage.clock)
    delivered = await _delivered(stage.arlington) + messages
    began = stage.clock.monotonic()
    letters = (Letter(AUTHOR, (READER,), burst.content(number)) for number in range(messages))
    await burst.hand_over(source, "Arlington", stage.places.arlington_behind, letters, connections, messages)
    await until_delivered(stage.arlington, delivered, stage.clock)
    stored = stage.clock.monotonic()
    fetched = await pop3_client.fetch(*stage.places.arlington_pop3, READER, stage.passwords[READER])
    ended = stage.clock.monotonic()
    wanted = sorted(burst.content(number) for number in range(messages))
    verify(len(fetched) == messages, f"Mark's mailbox has {len(fetched)} messages, should have {messages}")
    verify(sorted(bodies(fetched)) == wanted, "Mark's mailbox has not the messages that were sent")
    return Mailbox(
        messages,
        burst.SIZE,
        connections,
        stored_seconds=stored - began,
        stored_rate=messages / (stored - began),
        fetched_seconds=ended - stored,
        fetched_rate=messages / (ended - stored),
    )


def bodies(fetched: list[bytes]) -> Iterator[bytes]:
    """Without what was put above them."""
    return (message[-burst.SIZE :] for message in fetched)


class Asked(Protocol):
    """An installation, as far as it is needed here."""

    async def ask(self, question: Callable[[AdminClient], Any]) -> Any: ...


async def _delivered(server: Asked) -> int:
    row: Row = await server.ask(lambda admin: admin.audit())
    return int(row["delivered"])


async def until_delivered(server: Asked, wanted: int, clock: Clock) -> None:
    """Until so many recipients were delivered in all. Raises DemoFailed when there are no more and more."""
    seen, seen_at = -1, clock.monotonic()
    while (delivered := await _delivered(server)) < wanted:
        now = clock.monotonic()
        if delivered > seen:
            seen, seen_at = delivered, now
        elif now > seen_at + PATIENCE:
            raise DemoFailed(f"{wanted - delivered} messages did not come into Mark's mailbox")
        await asyncio.sleep(POLL)
