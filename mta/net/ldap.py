"""The shell of an LDAP connection: feeds the session, lets it work in turns, starts TLS, keeps the idle deadline.

Owns: when reading is paused and TLS begins, whose turn it is. Never does: parse, decide or look anything up.
A search is work of milliseconds, so a connection that has some stands in line (``Turns``): one piece of one connection
in each turn of the loop, one client after the other. Loop thread only.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, cast

from mta.ldap import messages
from mta.ldap.session import LdapSession, Login
from mta.net.deadlines import Wheel
from mta.net.shell import Shell, peer_of
from mta.net.tls import Tls

_log = logging.getLogger("mta.ldap")

#: Octets of input that may wait before reading stops: more than one request.
INPUT_HIGH: Final = 2 * messages.MESSAGE_SIZE
#: Octets of answers that a client may leave unread before its searches wait.
OUTPUT_HIGH: Final = 65_536


class Turns:
    """Who has work, in a line for each client's address: many connections of one client are no more than one of
    another's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: dict[str, deque[LdapConnection]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def join(self, connection: "LdapConnection") -> None:
        """Idempotent."""
        if not connection.in_line:
            connection.in_line = True
            if not self._lines:
                self._loop.call_soon(self._turn)
            self._lines.setdefault(connection.address, deque()).append(connection)

    def _turn(self) -> None:
        address = next(iter(self._lines))
        line = self._lines.pop(address)
        connection = line.popleft()
        connection.in_line = False
        if line:
            self._lines[address] = line  # behind the other clients
        if self._lines:
            self._loop.call_soon(self._turn)  # first, so that a bug in one connection does not stop the others
        connection.work()


class Shared(NamedTuple):
    """What all connections of a service have in common. ``opened`` makes the session, or gives a last word for who is
    not let in; ``login`` verifies, and settles it by ``answer_login``. ``idle``: seconds between two requests."""

    opened: "Callable[[LdapConnection, str], LdapSession | bytes]"
    closed: "Callable[[LdapConnection], None]"
    login: "Callable[[LdapConnection, Login], None]"
    wheel: Wheel
    turns: Turns
    idle: float


class LdapConnection(Shell):
    """One connection."""

    __slots__ = (
        "_due",
        "_full",
        "_progress",
        "_shared",
        "address",
        "in_line",
        "session",
    )

    def __init__(self, shared: Shared, tls: Tls | None) -> None:
        super().__init__(shared.wheel, tls)
        self._shared = shared
        self._due = 0.0
        self._progress = 0
        self._full = False
        self.address = ""
        self.in_line = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.address = peer_of(transport)[0]
        session = self._shared.opened(self, self.address)
        if isinstance(session, bytes):
            self._turn_away(session)
            return
        self.session = session
        self.transport.set_write_buffer_limits(high=OUTPUT_HIGH)
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._shared.idle
        self._wheel.watch(self, loop.time() + self._shared.idle / 8)
        if self._implicit:
            self._secure(first=True)

    def data_received(self, data: bytes) -> None:
        if not self.leaving:
            self.session.feed(data)
            self.work()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._shared.turns.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone:
            self.gone = True
            self._wheel.forget(self)
            self._shared.closed(self)

    # The session's work.

    def work(self) -> None:
        """One piece, and what came of it in one write."""
        if self.gone or self.leaving or self._handshake is not None:
            return
        session = self.session
        login = session.login
        more = not self._full and session.go_on()
        output = session.take_output()
        if output:
            self.transport.write(output)  # perhaps pause_writing from in there
        if session.closing:
            self._leave(linger=bool(output))
            return
        if session.login is not None and session.login is not login:
            self._shared.login(self, session.login)
        self._hold(held=self._full or session.buffered > INPUT_HIGH or session.wants_tls)
        if session.wants_tls:
            self._secure()
        elif more and not self._full:
            self._shared.turns.join(self)

    def answer_login(self, code: int, text: str = "", address: str = "") -> None:
        """Settles the login that is outstanding. Harmless after the connection is gone."""
        if not self.gone and not self.leaving:
            self.session.answer_login(code, text, address)
            self.work()

    def _handshake_failed(self, error: OSError) -> None:
        _log.info("%s: TLS: %s", self.address, error)

    def _secured(self, early: bytes) -> None:
        self.transport.set_write_buffer_limits(high=OUTPUT_HIGH)
        if self.session.wants_tls:
            self.session.tls_started()
        self.data_received(early)

    # The end.

    def shut(self, code: int, text: str) -> None:
        """Says a last word and closes."""
        if self.gone or self.leaving:
            return
        if self._cut_handshake():
            return
        self.session.shut(code, text)
        self.transport.write(self.session.take_output())
        self._leave(linger=True)

    def check(self, now: float) -> float:
        """The idle deadline, see ``mta.net.deadlines``. Octets alone do not move it, requests do; so does a search that
        goes on, but not one that its client does not read."""
        if self.gone:
            return 0.0
        if self.leaving:
            self.transport.abort()
            return 0.0
        session, idle = self.session, self._shared.idle
        if session.progress != self._progress or (session.running and not self._full):
            self._progress = session.progress
            self._due = now + idle
        if now < self._due:
            return max(min(self._due, now + idle / 8), now + 1.0)
        self.shut(messages.UNAVAILABLE, "idle for too long")
        return 0.0
