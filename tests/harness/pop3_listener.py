"""A POP3 listener on loopback in the running loop: the real session and connection, the handler of the dialogues.

Owns: its server, its wheel and its connections, and a way to wait for what they do. Never does: assertions.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mta.config.units import Network
from mta.net.deadlines import Wheel
from mta.net.proxied import Proxies
from mta.net.server import Deadlines, ServerConnection
from mta.net.tls import Tls
from mta_ext.pop3_server import Pop3ServerSession
from tests.harness.pop3_handler import Pop3Handler

PATIENT = Deadlines(600.0, 600.0, 1.0, 60.0)


class Pop3Listener:
    """``async with Pop3Listener(tls) as listener``. ``networks``: proxies' (PROXY protocol). ``doors``: connections so
    far, ``peers``: the addresses of those that came in. ``turned_away``: the reply to new ones, while it is set."""

    def __init__(
        self,
        tls: Tls | None = None,
        make: Callable[[], Pop3Handler] = Pop3Handler,
        deadlines: Deadlines = PATIENT,
        networks: tuple[Network, ...] | None = None,
        header_deadline: float = 0.5,
        **options: Any,
    ) -> None:
        self.networks = networks
        self.header_deadline = header_deadline
        self.doors = 0
        self.tls = tls
        self.make = make
        self.deadlines = deadlines
        self.options = {"mechanisms": ("PLAIN",), "starttls": tls is not None and not tls.implicit} | options
        self.turned_away: bytes | None = None
        self.connections: list[ServerConnection] = []
        self.handlers: list[Pop3Handler] = []
        self.peers: list[tuple[str, int]] = []
        self.closed = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "Pop3Listener":
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop)
        self.wheel.start()

        def make(peer: tuple[str, int] | None = None) -> ServerConnection:
            return ServerConnection(self._opened, self._closed, self.wheel, self.deadlines, self.tls, peer)

        def door() -> asyncio.Protocol:
            self.doors += 1
            return make() if self.networks is None else self.proxies.door()

        self.proxies = Proxies(self.networks or (), make, deadline=self.header_deadline)
        self._server = await loop.create_server(door, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.proxies.close()
        for connection in self.connections:
            if not connection.gone:
                connection.transport.abort()
        await self.until(lambda: self.closed == len(self.connections))
        self.wheel.stop()

    def _opened(self, connection: ServerConnection, peer: tuple[str, int]) -> Pop3ServerSession | bytes:
        if self.turned_away is not None:
            return self.turned_away
        handler = self.make()
        implicit = self.tls is not None and self.tls.implicit
        handler.session = Pop3ServerSession(handler, "hermes.example", secure=implicit, **self.options)
        self.connections.append(connection)
        self.peers.append(peer)
        self.handlers.append(handler)
        self._changed.set()
        return handler.session

    def _closed(self, connection: ServerConnection) -> None:
        self.closed += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looked at whenever a connection comes or goes, and a hundred times a second for what tells nobody."""
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                waiting = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([waiting], timeout=0.01)
                waiting.cancel()
