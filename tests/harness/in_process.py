"""A reception in this process: the real policy, session and connection, with a spool in memory and no socket."""

import asyncio
from pathlib import Path
from typing import Any

from mta.clock import SystemClock
from mta.config.units import network
from mta.log import EventLog
from mta.metrics import MetricsTable
from mta.metrics.layout import CONNECTIONS_IN
from mta.model.spoolid import IdSource
from mta.net.deadlines import Wheel
from mta.net.server import Deadlines, ServerConnection
from mta.policy.relay import RelayPolicy
from mta.queue.entry import Entry
from mta.queue.scheduler import Scheduler
from mta.services.access import Access
from mta.services.local import NO_LOCAL_MAIL, LocalMail
from mta.services.reception import Reception
from mta.services.sessions import Opened, SessionSettings
from mta.spool.memory import MemorySpool
from mta.spool.protocol import Spool
from tests.harness.transports import FakeTransport

HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<alice@athena.example>\r\nRCPT TO:<bob@arlington.example>\r\nDATA\r\n"
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
SETTINGS = SessionSettings("hermes.example", 50 << 20, 100, 2048, 65_536, 1 << 20, 20, 50, 1000, 1000, in_step=False)


#: Tests say many commands at once, also those behind which a client has to wait.
BATCHES = Access(in_step=False)
PATIENT = Deadlines(300.0, 600.0, 500.0)


class Takes:
    """A deliverer that takes everything and does nothing with it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def has_room(self, domain: str, free: int) -> bool:
        return True

    def take(self, entry: Entry) -> None:
        self.entries.append(entry)


class InProcess:
    """``local``: mail for our own domains. ``connect`` gives a connection and its transport. Needs a running loop."""

    def __init__(
        self, directory: Path, spool: Spool | None = None, local: LocalMail = NO_LOCAL_MAIL, **settings: Any
    ) -> None:
        clock = SystemClock()
        self.spool = spool or MemorySpool(0)
        self.spool.start(lambda error: None)
        self.events = EventLog(str(directory / "events.jsonl"))
        self.counters = MetricsTable.create(1).row(0)
        self.deliverer = Takes()
        self.wheel = Wheel(asyncio.get_running_loop())
        scheduler = Scheduler(self.spool, clock, self.deliverer, limit=1000, content_memory=1 << 20)
        self.reception = Reception(
            SETTINGS._replace(**settings),
            RelayPolicy([network("192.0.2.0/24")], ["ours.example"]),
            self.spool,
            scheduler,
            IdSource(0, clock),
            self.events,
            self.counters,
            clock,
            local,
        )

    def connect(
        self, peer: Any = ("192.0.2.7", 4711), deadlines: Deadlines = PATIENT, access: Access = BATCHES
    ) -> tuple[ServerConnection, FakeTransport]:
        connection = ServerConnection(self.opener(access), self.reception.closed, self.wheel, deadlines)
        transport = FakeTransport(connection, peer)
        connection.connection_made(transport)
        return connection, transport

    def opener(self, access: Access) -> Opened:
        """``opened`` for connections to a listener of these terms."""
        return self.reception.listener(access)

    async def close(self) -> None:
        await self.spool.stop()
        self.events.close()

    def left_over(self) -> dict[str, int]:
        """What connections have left behind; all of it must be 0 when they are gone."""
        return {
            "sessions": len(self.reception.sessions),
            "clients": len(self.reception.clients),
            "watched": len(self.wheel),
            "gauge": self.counters.get(CONNECTIONS_IN),
        }


async def turns(count: int = 3) -> None:
    """Lets the loop settle what is due now."""
    for _ in range(count):
        await asyncio.sleep(0)
