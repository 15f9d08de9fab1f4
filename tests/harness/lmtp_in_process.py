"""An LMTP reception in this process: the real policy, session and connection, a real directory, and no socket."""

import asyncio
import json
from pathlib import Path
from typing import Any

from mta.clock import SystemClock
from mta.directory.protocol import Directory
from mta.log import EventLog
from mta.metrics import MetricsTable
from mta.metrics.layout import CONNECTIONS_IN
from mta.model.spoolid import IdSource
from mta.net.deadlines import Wheel
from mta.net.server import ServerConnection
from mta.services.lmtp import Lmtp
from mta.services.sessions import SessionSettings
from mta.store.memory import MemoryStore
from mta.store.protocol import Store, StoreFailed
from tests.harness.in_process import PATIENT
from tests.harness.transports import FakeTransport

#: Not in step: tests say whole conversations at once.
SETTINGS = SessionSettings("store.example", 50 << 20, 100, 2048, 65_536, 1 << 20, 20, 60, 100, 50, in_step=False)
HELLO = b"LHLO worker.example\r\n"
CONTENT = b"Subject: x\r\n\r\nhello\r\n"


def envelope(*recipients: str, sender: str = "alice@athena.example") -> bytes:
    return f"MAIL FROM:<{sender}>\r\n".encode() + b"".join(b"RCPT TO:<%b>\r\n" % r.encode() for r in recipients)


class LmtpInProcess:
    """``connect`` gives a connection and its transport. Needs a running loop."""

    def __init__(self, directory: Path, people: Directory, store: Store | None = None, **settings: Any) -> None:
        clock = SystemClock()
        self.store = store or MemoryStore()
        self.failures: list[StoreFailed] = []
        self.store.start(self.failures.append)
        self._events_path = directory / "events.jsonl"
        self.events = EventLog(str(self._events_path))
        self.counters = MetricsTable.create(1).row(0)
        self.wheel = Wheel(asyncio.get_running_loop())
        self.lmtp = Lmtp(
            SETTINGS._replace(**settings),
            lambda address: address in ("unix", "192.0.2.7"),
            people,
            self.store,
            IdSource(0, clock),
            self.events,
            self.counters,
            clock,
            ("minasi.example",),
        )

    def connect(
        self, peer: Any = ("192.0.2.7", 4711), off: tuple[str, ...] = (), tls: str = "none"
    ) -> tuple[ServerConnection, FakeTransport]:
        connection = ServerConnection(self.lmtp.listener(tls, off), self.lmtp.closed, self.wheel, PATIENT)
        transport = FakeTransport(connection, peer)
        connection.connection_made(transport)
        return connection, transport

    async def say(self, *said: bytes) -> list[str]:
        """A whole session; the lines of the replies behind the one to LHLO."""
        connection, transport = self.connect()
        connection.data_received(HELLO)
        transport.take()
        for octets in said:
            connection.data_received(octets)
            await settled(connection)
        connection.connection_lost(None)
        return transport.take().decode().split("\r\n")[:-1]

    def events_written(self) -> list[dict[str, Any]]:
        """Closes the log and reads it."""
        self.events.close()
        return [json.loads(line) for line in self._events_path.read_text().splitlines()]

    async def close(self) -> None:
        await self.store.stop()
        self.events.close()

    def left_over(self) -> dict[str, int]:
        """What connections have left behind; all of it must be 0 when they are gone."""
        return {
            "sessions": len(self.lmtp.connections),
            "watched": len(self.wheel),
            "gauge": self.counters.get(CONNECTIONS_IN),
        }


async def settled(connection: ServerConnection) -> None:
    """Until no decision is outstanding."""
    async with asyncio.timeout(20):
        while not connection.gone and connection.session.pending:
            await asyncio.sleep(0)
