"""The store process: mailboxes on one loop, mail coming in by LMTP and going out by POP3.

Owns: the wiring of the store, its listeners and its gauges, their start, drain and end. Never does: bind, fork or
change user (the attendant has); the directory is read only. Started as ``python -m mta.services.store FD``.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from mta.clock import SystemClock
from mta.config import Config
from mta.config.sections import Listener
from mta.directory.reader import DirectoryReader
from mta.directory.tables import directory_path
from mta.disk.pieces import FRONT_PIECES, PIECE
from mta.errors import StorageError, UnavailableError
from mta.log import EventLog
from mta.metrics import MetricsTable
from mta.metrics.layout import (
    COMMIT_MESSAGES,
    COMMIT_MESSAGES_HANDLE,
    COMMIT_SECONDS,
    COMMIT_SECONDS_HANDLE,
    LOG_LOST,
    STORE_DELIVERIES,
    STORE_DRIFT,
    STORE_MESSAGES,
    STORE_OCTETS,
    STORE_REMOVALS,
)
from mta.model.spoolid import IdSource
from mta.net.deadlines import Wheel
from mta.net.proxied import Proxies
from mta.net.server import Deadlines, ServerConnection
from mta.net.tls import tls_of
from mta.policy.relay import RelayPolicy
from mta.services import pop3
from mta.services.lmtp import Lmtp
from mta.services.login import Logins
from mta.services.mailboxes import MailboxVerbs
from mta.services.pop3 import Access, Pop3, Pop3Settings
from mta.services.process import HEARTBEAT, Orders, main, serve
from mta.services.sessions import DRAINING, FAILING, SessionSettings, settings_of
from mta.store.disk import DiskStore
from mta.store.protocol import Quota, StoreFailed
from mta.store.tables import store_directory

_log = logging.getLogger("mta.store")

#: A queue of connections that the kernel completes before we accept them.
BACKLOG = 4096
#: A message that a worker took goes on with our trace fields and those of hooks in its head: these are beyond the
#: worker's limits.
TRACE_OCTETS = 16_384 + FRONT_PIECES * PIECE
TRACE_HOPS = 10
#: Heartbeats between two audits of our own books, and the messages above which only ``mta mailbox audit`` makes one:
#: commits wait for it, some 2 µs a message.
AUDIT_EVERY = 60
AUDIT_UP_TO = 20_000
#: Seconds between two looks whether all connections have ended.
_POLL = 0.02


class Shell(Protocol):
    """Makes a connection; ``peer``: the client, where a proxy has told it."""

    def __call__(self, peer: tuple[str, int] | None = None) -> ServerConnection: ...


def open_directory(config: Config) -> DirectoryReader:
    """The directory as this configuration wants it read."""
    local = config.local
    return DirectoryReader(
        directory_path(config.data_dir), separator=local.subaddress, postmaster=local.postmaster, clock=SystemClock()
    )


def quota_of(config: Config) -> Quota:
    return Quota(config.store.quota_size, config.store.quota_messages)


def access_of(listener: Listener) -> Access:
    """How a POP3 listener lets people in. "required": no password without TLS, whatever else is said."""
    return Access(
        secure=listener.tls == "implicit",
        starttls=listener.tls in ("starttls", "required"),
        plaintext=listener.dangerously_allow_plaintext_auth and listener.tls != "required",
    )


class StoreService:
    """A ``Served``. Made on the loop thread of its process."""

    def __init__(self, orders: Orders, config: Config) -> None:
        self._config = config
        self._clock = SystemClock()
        self._bound = orders.sockets()
        self._counters = MetricsTable.attach(orders.metrics_fd).row(orders.row)
        self._events = EventLog(config.log.events, rotate_size=config.log.rotate_size, keep=config.log.keep)
        self._directory = open_directory(config)
        self.store = DiskStore(
            store_directory(config.data_dir),
            quota=quota_of(config),
            clock=self._clock,
            free_space=config.spool.free_space,
        )
        self._lmtp = Lmtp(
            self._settings(),
            RelayPolicy(config.relay.networks, ()).trusts,
            self._directory,
            self.store,
            IdSource(0, self._clock),
            self._events,
            self._counters,
            self._clock,
            config.local.domains,
        )
        self._verbs = MailboxVerbs(
            self.store,
            self._directory,
            self._clock,
            quota=quota_of(config),
            message_size=config.limits.message_size,
        )
        self._servers: list[asyncio.AbstractServer] = []
        self._proxies: list[Proxies] = []
        self._beats = 0
        self._auditing: asyncio.Task[None] | None = None

    def _settings(self) -> SessionSettings:
        settings = settings_of(self._config)
        return settings._replace(
            message_size=settings.message_size + TRACE_OCTETS,
            header_section=settings.header_section + TRACE_OCTETS,
            hops=settings.hops + TRACE_HOPS,
        )

    # Served

    async def start(self, failing: Callable[[str], None]) -> None:
        """See ``Served.start``."""

        def failed(error: StoreFailed) -> None:
            _log.error("%s", error)
            self._lmtp.drain(FAILING)
            self._pop3.drain(pop3.FAILING)
            failing(str(error))

        self.store.on_commit = self._committed
        self.store.start(failed)
        self._logins = Logins(self._directory, self._config, self._clock)
        settings = self._config.pop3
        self._pop3 = Pop3(
            Pop3Settings(
                self._config.hostname, settings.connections, settings.connections_per_client, settings.login_delay
            ),
            self._logins,
            self.store,
            self._counters,
            self._clock,
        )
        self._wheel = Wheel(asyncio.get_running_loop())
        self._wheel.start()
        for index, sock in self._bound:
            await self._listen(index, sock)

    async def _listen(self, index: int, sock: socket.socket) -> None:
        """``index`` below 0 is the socket on which workers hand over mail."""
        loop = asyncio.get_running_loop()
        shell = self._shells(index)
        make: Callable[[], asyncio.Protocol] = shell
        if index >= 0 and (listener := self._config.listener[index]).proxy_protocol:
            self._proxies.append(Proxies(listener.proxy_networks, shell))
            make = self._proxies[-1].door
        if sock.family == socket.AF_UNIX:
            self._servers.append(await loop.create_unix_server(make, sock=sock, backlog=BACKLOG))
        else:
            self._servers.append(await loop.create_server(make, sock=sock, backlog=BACKLOG))

    def _shells(self, index: int) -> "Shell":
        """What makes the connections of one listener."""
        listener = self._config.listener[index] if index >= 0 else None
        if listener is not None and listener.protocol == "pop3":
            return self._pop3_shells(listener)
        limits, reception = self._config.limits, self._lmtp
        deadlines = Deadlines(limits.command_timeout, limits.content_timeout, limits.minimum_rate)
        tls = tls_of(listener, self._clock) if listener is not None else None
        opened = reception.listener(listener.tls, listener.extensions_off) if listener is not None else reception.opened
        return lambda peer=None: ServerConnection(opened, reception.closed, self._wheel, deadlines, tls, peer)

    def _pop3_shells(self, listener: Listener) -> "Shell":
        limits, settings, drops = self._config.limits, self._config.pop3, self._pop3
        deadlines = Deadlines(
            settings.idle_timeout, limits.content_timeout, limits.minimum_rate, settings.login_timeout
        )
        tls = tls_of(listener, self._clock)
        opened = drops.listener(access_of(listener))
        return lambda peer=None: ServerConnection(opened, drops.closed, self._wheel, deadlines, tls, peer)

    async def stop(self, patience: float) -> None:
        """See ``Served.stop``."""
        for server in self._servers:
            server.close()
        for proxies in self._proxies:
            proxies.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            self._lmtp.drain(self._lmtp.refusal or DRAINING)
            self._pop3.drain(self._pop3.refusal or pop3.DRAINING)
            if not (self._lmtp.connections.busy() or self._pop3.connections.busy()) or loop.time() >= until:
                break
            await asyncio.sleep(_POLL)
        self._lmtp.connections.shut_all(DRAINING)
        self._pop3.connections.shut_all(pop3.DRAINING)
        self._wheel.stop()
        self._logins.stop()
        if self._auditing is not None:
            await self._auditing
        await self.store.stop()
        self._directory.close()
        self._events.close()

    def answer(self, verb: str, args: Mapping[str, Any], shard: int) -> AsyncIterator[Mapping[str, Any]]:
        """See ``Served.answer``."""
        return self._verbs.answer(verb, args)

    async def probe(self) -> None:
        """See ``Probed.probe``: the listeners are open, and the store commits. The directory is not looked at: without
        it mail gets 451 and waits, as it should."""
        if not all(server.is_serving() for server in self._servers):
            raise UnavailableError("a listener is closed")
        await self.store.probe()

    def facts(self) -> dict[str, Any]:
        """For the heartbeat; the gauges follow it."""
        counters = self._counters
        held = self.store.totals()
        counters.set(STORE_MESSAGES, held.messages)
        counters.set(STORE_OCTETS, held.octets)
        counters.set(LOG_LOST, self._events.lost)
        self._beats += 1
        if self._beats % round(AUDIT_EVERY / HEARTBEAT) == 0 and held.messages <= AUDIT_UP_TO:
            self._auditing = asyncio.get_running_loop().create_task(self._audit())
        connections = len(self._lmtp.connections) + len(self._pop3.connections)
        return {"messages": held.messages, "connections": connections}

    async def _audit(self) -> None:
        """Our own books, once a minute: a drift is said aloud and shown as a metric."""
        try:
            audit = await self.store.audit()
        except StorageError as error:
            _log.error("%s", error)
            return
        self._counters.set(STORE_DRIFT, audit.drift)
        for finding in audit.findings:
            _log.error("the store's books do not balance: %s; keep its files and run mta mailbox audit", finding)

    def _committed(self, seconds: float, delivered: int, removed: int) -> None:
        counters = self._counters
        counters.observe(COMMIT_SECONDS, COMMIT_SECONDS_HANDLE, seconds)
        counters.observe(COMMIT_MESSAGES, COMMIT_MESSAGES_HANDLE, delivered)
        counters.add(STORE_DELIVERIES, delivered)
        counters.add(STORE_REMOVALS, removed)


async def run(orders: Orders, config: Config, end: socket.socket) -> None:
    await serve(orders, config, end, StoreService(orders, config))


if __name__ == "__main__":
    main(run)
