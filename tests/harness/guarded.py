"""A reception with a guard in this process: clients we do not know, a clock that the test sets, lists as a dict.

Owns: the wiring. Never does: SMTP or assertions.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mta.config.units import network
from mta.log import Event
from mta.metrics import MetricsTable
from mta.metrics.layout import REFUSED
from mta.net.server import Deadlines, ServerConnection
from mta.policy.blocklists import BlockList
from mta.policy.throttle import Deed, Known, Throttle
from mta.routing.answers import DnsTrouble, Reason
from mta.services.guard import Guard, GuardSettings
from mta.services.hooking import Hooks, ToldEvents
from tests.harness.clocks import SetClock
from tests.harness.in_process import PATIENT, InProcess
from tests.harness.transports import FakeTransport

STRANGER = "198.51.100.7"
ANY = (network("127.0.0.0/8"),)
HELLO = b"EHLO stranger.example\r\n"
MAIL = b"MAIL FROM:<eve@stranger.example>\r\n"
RCPT = b"RCPT TO:<bob@ours.example>\r\n"


class Answers:
    """Lists by name. A name without an answer waits until ``release`` is set, or for ever."""

    def __init__(self, answers: dict[str, tuple[str, ...] | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.release = asyncio.Event()

    async def listing(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        if name not in self.answers:
            await self.release.wait()
        found = self.answers.get(name, ())
        if found is None:
            raise DnsTrouble(Reason.SERVFAIL, name)
        return found


class Guarded(InProcess):
    """``limits``: deeds per second. ``policies``: hooks, in order. Other keywords are ``GuardSettings``."""

    def __init__(
        self,
        directory: Path,
        *,
        limits: dict[Deed, float] | None = None,
        connections: int = 1000,
        lists: Sequence[BlockList] = (),
        resolver: Answers | None = None,
        policies: Sequence[object] = (),
        hook_timeout: float = 5.0,
        deadlines: Deadlines = PATIENT,
        reception: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(directory, **(reception or {}))
        self.directory = directory
        self.clock = SetClock()
        table = MetricsTable.create(1)
        self.deadlines = deadlines
        hooks = None
        if policies:
            hooks = Hooks([(f"policy{index}", policy, hook_timeout) for index, policy in enumerate(policies)])
            self.events.close()
            self.events = self.reception.events = ToldEvents(str(directory / "events.jsonl"), hooks)
        self.hooks = hooks
        throttle = Throttle(table.rates(), table.presence(0), table.secret, limits or {}, connections=connections)
        self.guard = self.reception.guard = Guard(
            GuardSettings(deadlines, **settings),
            Known([network("203.0.113.0/24")]),
            throttle,
            self.events,
            self.counters,
            self.clock,
            lists=lists,
            resolver=resolver,
            hooks=hooks,
        )

    def stranger(self, address: str = STRANGER) -> tuple[ServerConnection, FakeTransport]:
        return self.connect((address, 4711), self.deadlines)

    def refused(self, reason: str) -> int:
        return self.counters.get(REFUSED[reason])

    def written(self) -> list[Event]:
        """All events so far; the log is closed with it."""
        self.events.close()
        lines = (self.directory / "events.jsonl").read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Event) for line in lines]


def replies(transport: FakeTransport) -> list[str]:
    """The last lines of the replies since the last look."""
    return [line for line in transport.take().decode().split("\r\n") if line[3:4] == " "]
