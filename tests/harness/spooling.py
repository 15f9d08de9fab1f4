"""Messages, tickets and changes for spool tests, and a spool run in a loop of its own."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mta.errors import StorageError
from mta.model.message import Message, Recipient, RecipientState, due_key, groups_of
from mta.spool.disk import DiskSpool
from mta.spool.protocol import Change, ContentStream, Spool, Ticket

#: Mount points and test directories are small: no room set aside, nothing preallocated unless a test says so.
SMALL: dict[str, Any] = {"free_space": 0, "map_size": 1 << 30, "preallocate": 0, "lock_wait": 0.04}


def make_message(
    spool_id: int, content: bytes = b"", *, domains: Iterable[str] = ("a.example",), due: int = 5
) -> Message:
    recipients = [Recipient(f"r{n}@{domain}", domain, due=due) for n, domain in enumerate(domains)]
    return Message(spool_id, "s@client.example", recipients, len(content), arrival=1)


def entries_of(message: Message) -> list[tuple[bytes, str]]:
    return [
        (due_key(message.recipients[group].due, message.id, group), domain)
        for domain, group in groups_of(message.recipients).items()
    ]


class Settled:
    """Collects what tickets settle with, and lets a test wait for them."""

    def __init__(self) -> None:
        self.results: dict[int, StorageError | None] = {}
        self.order: list[int] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def __call__(self, ticket: Ticket, error: StorageError | None) -> None:
        assert ticket.message.id not in self.results, "settled twice"
        self.results[ticket.message.id] = error
        self.order.append(ticket.message.id)
        for count, future in self._waiting:
            if len(self.results) >= count and not future.done():
                future.set_result(None)

    async def count(self, count: int) -> None:
        """Returns when so many tickets in all have settled."""
        if len(self.results) < count:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((count, future))
            await asyncio.wait_for(future, 20)


def ticket(message: Message, content: bytes | None, settled: Settled, stream: ContentStream | None = None) -> Ticket:
    return Ticket(message, content, entries_of(message), settled, stream)


async def store(spool: Spool, message: Message, content: bytes) -> None:
    """Accepts one message and waits for its commit."""
    settled = Settled()
    spool.accept(ticket(message, content, settled))
    await settled.count(1)
    assert settled.results == {message.id: None}


async def applied(spool: Spool, change: Change) -> None:
    """Applies a change and waits for its commit."""
    committed = asyncio.get_running_loop().create_future()
    change.committed = lambda: committed.set_result(None)
    spool.apply(change)
    await asyncio.wait_for(committed, 20)


def delivered(message: Message) -> Change:
    """Every queued recipient was delivered: the message leaves."""
    queued = message.queued()
    leaving = tuple(key for key, _ in entries_of(message))
    for recipient in queued:
        recipient.state = RecipientState.DELIVERED
    return Change(message, finished=True, leaving=leaving, delivered=len(queued))


def open_disk(directory: Path, **options: Any) -> DiskSpool:
    """A started disk spool on the running loop. A failure that the test did not ask for fails the test."""
    spool = DiskSpool(directory, 0, **{**SMALL, **options})
    spool.start(unexpected)
    return spool


def unexpected(failure: BaseException) -> None:
    raise AssertionError(f"the spool failed: {failure}")
