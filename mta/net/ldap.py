"""The shell of an LDAP connection: feeds the session, lets it work in turns, starts TLS, keeps the idle deadline.

Owns: the transport, reading paused or not, whose turn it is. Never does: parse, decide or look anything up.
A search is work of milliseconds, so a connection that has some stands in line (``Turns``): one piece of one connection
in each turn of the loop, one client after the other. Loop thread only.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, cast

from mta.ldap import messages
from mta.ldap.session import LdapSession, Login
from mta.net.deadlines import Wheel
from mta.net.handshake import Secured, accepted, taken_from
from mta.net.server import peer_of
from mta.net.tls import Tls

_log = logging.getLogger("mta.ldap")

#: Octets of input that may wait before reading stops: more than one request.
INPUT_HIGH: Final = 2 * messages.MESSAGE_SIZE
#: Octets of answers that a client may leave unread before its searches wait.
OUTPUT_HIGH: Final = 65_536
#: Seconds that a connection may take to close after our last word.
LINGER: Final = 5.0


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


class LdapConnection(asyncio.Protocol):
    """One connection. ``tls``: what it is made with, when the client asks or, implicit, at once. ``leaving``: our last
    word is said."""

    __slots__ = (
        "_due",
        "_full",
        "_held",
        "_progress",
        "_shaking",
        "_shared",
        "_tls",
        "address",
        "bucket",
        "gone",
        "in_line",
        "leaving",
        "session",
        "transport",
    )

    def __init__(self, shared: Shared, tls: Tls | None) -> None:
        self._shared = shared
        self._tls = tls
        self._due = 0.0
        self._progress = 0
        self._full = False
        self._held = False
        self._shaking: asyncio.Task[None] | None = None
        self.address = ""
        self.bucket = 0
        self.gone = False
        self.in_line = False
        self.leaving = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        implicit = self._tls is not None and self._tls.implicit
        self.address = peer_of(transport)[0]
        session = self._shared.opened(self, self.address)
        if isinstance(session, bytes):
            self.gone = True
            if not implicit:
                self.transport.write(session)
            self.transport.close()
            return
        self.session = session
        self.transport.set_write_buffer_limits(high=OUTPUT_HIGH)
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._shared.idle
        self._shared.wheel.watch(self, loop.time() + self._shared.idle / 8)
        if implicit:
            self._shaking = loop.create_task(self._shake_hands(taken_from(self.transport)))

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
            self._shared.wheel.forget(self)
            self._shared.closed(self)

    # The session's work.

    def work(self) -> None:
        """One piece, and what came of it in one write."""
        if self.gone or self.leaving or self._shaking is not None:
            return
        session = self.session
        login = session.login
        more = not self._full and session.go_on()
        output = session.take_output()
        if output:
            self.transport.write(output)  # perhaps pause_writing from in there
        if session.closing:
            self._leave(silently=not output)
            return
        if session.login is not None and session.login is not login:
            self._shared.login(self, session.login)
        self._hold(self._full or session.buffered > INPUT_HIGH or session.wants_tls)
        if session.wants_tls:
            self._shaking = asyncio.get_running_loop().create_task(self._shake_hands(None))
        elif more and not self._full:
            self._shared.turns.join(self)

    def answer_login(self, code: int, text: str = "", address: str = "") -> None:
        """Settles the login that is outstanding. Harmless after the connection is gone."""
        if not self.gone and not self.leaving:
            self.session.answer_login(code, text, address)
            self.work()

    def _hold(self, held: bool) -> None:
        if held != self._held:
            self._held = held
            if held:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    async def _shake_hands(self, taken: socket.socket | None) -> None:
        """``taken``: of a listener with implicit TLS. A handshake fails as connections do, and is nobody's bug."""
        assert self._tls is not None
        secured = None
        try:
            secured = await accepted(self.transport, taken, self._tls, self._tls.handshake)
        except OSError as error:
            _log.info("%s: TLS: %s", self.address, error)
        finally:
            self._shaking = None
            if secured is None or self.leaving:
                (self.transport if secured is None else secured.transport).abort()
                self.connection_lost(None)
        if secured is not None and not self.gone:
            self._begin(secured)

    def _begin(self, secured: Secured) -> None:
        self.transport = secured.transport
        self._held = False
        self.transport.set_write_buffer_limits(high=OUTPUT_HIGH)
        self.transport.set_protocol(self)
        if self.session.wants_tls:
            self.session.tls_started()
        self.data_received(secured.early)

    # The end.

    def shut(self, code: int, text: str) -> None:
        """Says a last word and closes. Who is in a handshake hears none."""
        if self.gone or self.leaving:
            return
        if self._shaking is not None:
            self.leaving = True
            asyncio.get_running_loop().call_soon(self._shaking.cancel)  # by then its first step is made
            return
        self.session.shut(code, text)
        self.transport.write(self.session.take_output())
        self._leave(silently=False)

    def _leave(self, *, silently: bool) -> None:
        """The transport flushes what is written; a peer that never reads, or never closes, is cut off. What still comes
        is thrown away: a socket closed over unread input is reset, and the last word lost with it."""
        self.leaving = True
        self._shared.wheel.watch(self, asyncio.get_running_loop().time() + LINGER)
        if silently or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self._hold(False)

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
