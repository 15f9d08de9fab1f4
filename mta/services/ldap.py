"""The LDAP listeners of the directory service: who is let in, logins, counts, and the end.

Owns: the connections and their limits, the book. Never does: parse or search; never opens the directory, which is the
process's. A part of ``mta.services.directory``. Loop thread only.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from socket import AF_UNIX, socket
from typing import Final

from mta.clock import Clock
from mta.config import Config
from mta.directory.protocol import Directory, DirectoryUnreadable
from mta.ldap import messages
from mta.ldap.book import Book
from mta.ldap.search import Limits
from mta.ldap.session import Begins, LdapSession, Login, Settings
from mta.metrics.layout import ACCEPTED_IN, CONNECTIONS_IN, LDAP_SEARCHES
from mta.net import tls as contexts
from mta.net.deadlines import Wheel
from mta.net.ldap import LdapConnection, Shared, Turns
from mta.net.tls import Tls
from mta.services.checks import Check, Status
from mta.services.checks import Login as Verified
from mta.services.login import Logins
from mta_ext.counters import Counters

_log = logging.getLogger("mta.ldap")

#: A queue of connections that the kernel completes before we accept them.
BACKLOG: Final = 1024
#: Seconds between two looks at whether the connections have ended.
_LOOK: Final = 0.02

_TOO_MANY: Final = messages.notice(messages.BUSY, "too many connections, try again later")
_DRAINING: Final = "shutting down, try again later"

#: ``tls`` of a listener → how a session begins.
_TLS: Final[Mapping[str, Begins]] = {"none": "none", "starttls": "offered", "required": "required", "implicit": "on"}
#: What a check of a password came to → what a bind is told.
_CODES: Final[Mapping[Status, tuple[int, str]]] = {
    "ok": (messages.SUCCESS, ""),
    "wrong": (messages.INVALID_CREDENTIALS, ""),
    "unavailable": (messages.UNAVAILABLE, "passwords cannot be verified now, try again later"),
    "busy": (messages.BUSY, "too many logins, try again later"),
}


def tls_of(config: Config) -> dict[int, Tls]:
    """What the LDAP listeners of the configuration make TLS with. Raises ConfigError."""
    made = {i: contexts.tls_of(each) for i, each in enumerate(config.listener) if each.protocol == "ldap"}
    return {index: tls for index, tls in made.items() if tls is not None}


class LdapService:
    """``tls``: index of a listener → what it makes TLS with; one without is plaintext."""

    def __init__(
        self,
        config: Config,
        directory: Directory,
        checks: Logins,
        tls: Mapping[int, Tls],
        counters: Counters,
        clock: Clock,
    ) -> None:
        self._config = config
        self._logins = checks
        self._tls = tls
        self._counters = counters
        self._clock = clock
        self._book = Book(directory, config.local.domains or (config.hostname,))
        self._limits = Limits(config.ldap.size_limit, config.ldap.time_limit)
        self._servers: list[asyncio.AbstractServer] = []
        self._clients: Counter[str] = Counter()
        self._checks: dict[LdapConnection, Check] = {}
        self._draining = False
        self.connections: set[LdapConnection] = set()

    async def start(self, bound: Iterable[tuple[int, socket]]) -> None:
        """Answers on ``bound``: (index in ``config.listener``, listening socket)."""
        loop = asyncio.get_running_loop()
        self._wheel = Wheel(loop)
        self._wheel.start()
        turns = Turns(loop)
        for index, sock in bound:
            shared = Shared(
                self._opener(index), self._closed, self._login, self._wheel, turns, self._config.ldap.idle_timeout
            )
            serve = loop.create_unix_server if sock.family == AF_UNIX else loop.create_server
            make = partial(LdapConnection, shared, self._tls.get(index))
            self._servers.append(await serve(make, sock=sock, backlog=BACKLOG))
        loop.call_soon(self._warm)

    def _warm(self) -> None:
        """Reads the book before the first client asks, a piece in each turn of the loop."""
        try:
            if not self._draining and not self._book.advance(1):
                asyncio.get_running_loop().call_soon(self._warm)
        except DirectoryUnreadable as error:
            _log.error("%s", error)  # searches say so too, and try again

    async def stop(self, patience: float) -> None:
        """No new connections; idle ones hear that they end, the others have ``patience`` seconds."""
        self._draining = True
        for server in self._servers:
            server.close()
        until = self._clock.monotonic() + patience
        while self.connections and self._clock.monotonic() < until:
            self._shut(idle_only=True)
            await asyncio.sleep(_LOOK)
        self._shut(idle_only=False)
        for connection in list(self.connections):
            connection.transport.abort()
        self._wheel.stop()

    def facts(self) -> dict[str, int]:
        """For the heartbeat."""
        return {"connections": len(self.connections)}

    def _shut(self, *, idle_only: bool) -> None:
        for connection in list(self.connections):
            if not idle_only or not connection.session.running:
                connection.shut(messages.UNAVAILABLE, _DRAINING)

    # Connections.

    def _opener(self, index: int) -> Callable[[LdapConnection, str], LdapSession | bytes]:
        listener = self._config.listener[index]
        start = _TLS[listener.tls] if index in self._tls else "none"
        settings = Settings(self._config.ldap.anonymous, listener.dangerously_allow_plaintext_auth, self._limits)

        def opened(connection: LdapConnection, address: str) -> LdapSession | bytes:
            limits = self._config.ldap
            if self._draining:
                return messages.notice(messages.UNAVAILABLE, _DRAINING)
            if len(self.connections) >= limits.connections or self._clients[address] >= limits.connections_per_client:
                return _TOO_MANY
            self.connections.add(connection)
            self._clients[address] += 1
            self._counters.add(CONNECTIONS_IN, 1)
            self._counters.add(ACCEPTED_IN, 1)
            return LdapSession(self._book, settings, self._clock, start, self._searched)

        return opened

    def _closed(self, connection: LdapConnection) -> None:
        self.connections.discard(connection)
        if (check := self._checks.pop(connection, None)) is not None:
            check.cancel()
        self._counters.add(CONNECTIONS_IN, -1)
        self._clients[connection.address] -= 1
        if not self._clients[connection.address]:
            del self._clients[connection.address]

    def _searched(self) -> None:
        self._counters.add(LDAP_SEARCHES, 1)

    # Logins.

    def _login(self, connection: LdapConnection, login: Login) -> None:
        def done(verified: Verified) -> None:
            self._checks.pop(connection, None)
            code, text = _CODES[verified.status]
            connection.answer_login(code, text, verified.address)

        self._checks[connection] = self._logins.check(login.user, login.password, connection.address, done)
