"""The shell of an incoming connection, SMTP, LMTP or POP3: feeds the session, writes once per read, keeps the deadline.

Owns: when reading is paused and TLS begins, and the deadline of the phase. Never does: parse, decide or store; the
session parses, the handler decides (``mta.services``). What all incoming connections do alike is in ``mta.net.shell``.
Loop thread only.
"""

import asyncio
import math
from collections.abc import Callable
from typing import NamedTuple, cast

from mta.net.deadlines import Wheel
from mta.net.shell import LINGER, Shell, peer_of
from mta.net.tls import Tls, TlsFacts, facts
from mta_ext.deciding import DecidingSession

#: Octets of input kept while a decision is pending, before reading stops.
INPUT_HIGH = 65_536
#: Octets of replies that a client may leave unread before its commands wait (see also the session's own limit).
OUTPUT_HIGH = 32_768
#: Parts of a long output (64 KiB each) that one connection may write before others have their turn.
ROUNDS = 16
#: Octets that wait to be flushed, before anybody looked.
UNKNOWN = 1 << 62


class Deadlines(NamedTuple):
    """Limits of a phase in seconds. What arrives of a content buys time at ``rate`` (octets/s), up to ``content``
    seconds from now: a fast beginning is no right to a slow end. ``login``: all that may pass before the login, however
    busy the client is; 0: there is none."""

    command: float
    content: float
    rate: float
    login: float = 0.0


class ServerConnection(Shell):
    """One connection. ``opened(connection, peer)`` makes the session, or gives a last word for who is not let in.

    Reading stops for one of three reasons, and goes on when none is left: the client does not read (``_full``), the
    spool is behind (``_stalled``), or a decision is pending on much input. ``peer``: the client, where it is another
    than the socket's other end (behind a proxy).
    ``on_mistakes(before, now)``: told of a read's refusals; gives the seconds by which its replies are to be late.
    """

    __slots__ = (
        "_closed",
        "_deadlines",
        "_due",
        "_end_due",
        "_ended",
        "_full",
        "_login_due",
        "_mired",
        "_mistakes",
        "_opened",
        "_peer",
        "_progress",
        "_seen",
        "_stalled",
        "_withheld",
        "on_mistakes",
        "session",
        "tls",
    )

    def __init__(
        self,
        opened: "Callable[[ServerConnection, tuple[str, int]], DecidingSession | bytes]",
        closed: "Callable[[ServerConnection], None]",
        wheel: Wheel,
        deadlines: Deadlines,
        tls: Tls | None = None,
        peer: tuple[str, int] | None = None,
    ) -> None:
        super().__init__(wheel, tls)
        self._peer = peer
        self._opened = opened
        self._closed = closed
        self._deadlines = deadlines
        self._due = 0.0
        self._progress = 0
        self._seen = 0
        self._full = False
        self._stalled = False
        self._ended = False
        self._withheld = False
        self._mired = False
        self._mistakes = 0
        self._end_due = math.inf
        self.on_mistakes: Callable[[int, int], float] | None = None
        #: What the handshake came to; None in the clear.
        self.tls: TlsFacts | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        session = self._opened(self, self._peer or peer_of(self.transport))
        if isinstance(session, bytes):
            self._turn_away(session)
            return
        self.session = session
        self.transport.set_write_buffer_limits(high=OUTPUT_HIGH)
        now = asyncio.get_running_loop().time()
        deadlines = self._deadlines
        self._due = now + deadlines.command
        self._login_due = now + (deadlines.login or math.inf)
        self._wheel.watch(self, now + min(deadlines.command / 8, deadlines.login or math.inf))
        if self._implicit:
            self._secure(first=True)
            return
        if not self._withheld:
            session.greet()
        self.pump()

    def data_received(self, data: bytes) -> None:
        if not self.leaving:
            self.session.feed(data)
            self.pump()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is taken from it until it does."""
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.pump()

    def eof_received(self) -> bool:
        """A client that only stops sending still gets the answers to what it sent (``printf … | nc``)."""
        if self.gone or self.leaving or not self.transport.can_write_eof():
            return False  # under TLS nothing can be said any more: the loop closes
        self._ended = True
        return self.session.pending or self.session.choked or self._mired

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone:
            self.gone = True
            self._wheel.forget(self)
            self.session.eof()
            self._closed(self)

    # What the handler calls.

    def pump(self) -> None:
        """Writes what the session has to say, and lets it go on as far as the client reads; called by whoever settled
        its decision."""
        if self.gone or self.leaving or self._mired or self._handshake is not None:
            return
        session = self.session
        if self.on_mistakes is not None and session.mistakes != self._mistakes and self._mire(self.on_mistakes):
            return
        rounds = ROUNDS
        while True:
            output = session.take_output()
            if output:
                self.transport.write(output)  # perhaps pause_writing from in there
            if session.closing:
                self._leave(linger=not session.bye)
                return
            if self._full or not session.go_on():
                break
            rounds -= 1
            if not rounds:
                asyncio.get_running_loop().call_soon(self.pump)
                break
        if session.wants_tls:
            self._secure()
            return
        if self._ended and not session.pending and not session.choked:
            self._leave(linger=False)
            return
        held = self._full or self._stalled or session.buffered > INPUT_HIGH
        if held != self._held:
            self._hold(held=held)

    def _mire(self, on_mistakes: Callable[[int, int], float]) -> bool:
        """The client has made mistakes: nothing is said to it or read from it for a while. False: it need not wait."""
        before, self._mistakes = self._mistakes, self.session.mistakes
        delay = on_mistakes(before, self._mistakes) if before < self._mistakes else 0.0
        if not delay or self.gone or self.leaving:
            return self.gone or self.leaving
        self._mired = True
        self._hold(held=True)
        asyncio.get_running_loop().call_later(delay, self._release_mired)
        return True

    def _release_mired(self) -> None:
        self._mired = False
        self.pump()

    def withhold(self) -> None:
        """From inside ``opened``: no greeting before ``welcome``. Who speaks before it is refused by the session."""
        self._withheld = True

    def welcome(self) -> None:
        """The greeting may be said now. Harmless after the connection is gone."""
        if not self._withheld or self.gone or self.leaving:
            return
        self._withheld = False
        if self._handshake is None:
            self.session.greet()
            self.pump()

    def hurry(self, deadlines: Deadlines) -> None:
        """Other limits from now on; what is left of a longer one is cut."""
        self._deadlines = deadlines
        if self._due and not self.gone and not self.leaving:
            now = asyncio.get_running_loop().time()
            self._due = min(self._due, now + (deadlines.content if self.session.in_content else deadlines.command))
            self._wheel.watch(self, now)

    def end_by(self, seconds: float) -> None:
        """The whole session ends so many seconds from now unless ``stay`` is said, however busy the client is."""
        self._end_due = asyncio.get_running_loop().time() + seconds

    def stay(self) -> None:
        """Takes ``end_by`` back."""
        self._end_due = math.inf

    def answer(self, reply: bytes | None) -> None:
        """Settles the pending decision of the session. Harmless after the connection is gone."""
        if not self.gone:
            self.session.answer(reply)
            self.pump()

    def hold(self) -> None:
        """Stop reading: the spool is behind with this content. Called while the session is fed; ``pump`` follows."""
        self._stalled = True

    def unhold(self) -> None:
        """What ``hold`` was about is gone: read on with the next ``pump``."""
        self._stalled = False

    def release(self) -> None:
        """Read on after ``hold``, now."""
        self._stalled = False
        self.pump()

    def shut(self, reply: bytes) -> None:
        """Says a last word and closes."""
        if self.gone or self.leaving:
            return
        if self._cut_handshake():
            return
        idle = self.session.idle
        self.session.shut(reply)
        self._part(linger=not idle)

    # TLS.

    def _patience(self) -> float:
        return self._deadlines.command

    def _secured(self, early: bytes) -> None:
        """The session forgets what it heard in the clear, or says its first word."""
        self.tls = facts(self.transport)
        self.transport.set_write_buffer_limits(high=OUTPUT_HIGH)
        if self.session.wants_tls:
            self.session.tls_started()
        elif not self._withheld:
            self.session.greet()
        self.session.feed(early)
        self.pump()

    # The end.

    def _part(self, *, linger: bool) -> None:
        output = self.session.take_output()
        if output:
            self.transport.write(output)
        self._leave(linger=linger)

    def _leave(self, *, linger: bool) -> None:
        self._seen = UNKNOWN
        super()._leave(linger=linger and not self._ended)

    def _flushes(self) -> bool:
        """After the last word: a slow client still takes what was said before it, a message perhaps."""
        waiting = self.transport.get_write_buffer_size()
        moved = 0 < waiting < self._seen
        self._seen = waiting
        return moved

    def check(self, now: float) -> float:
        """Deadline of the phase, see ``mta.net.deadlines``. Octets alone do not move it, completed commands do."""
        if self.gone:
            return 0.0
        if self.leaving:
            if self._flushes():
                return now + LINGER
            self.transport.abort()
            return 0.0
        if self._handshake is not None:
            return now + 1.0  # it has a limit of its own
        session = self.session
        allowed = self._deadlines.content if session.in_content else self._deadlines.command
        arrived = session.content_octets
        if session.progress != self._progress:
            self._progress = session.progress
            self._due = now + allowed
        elif session.in_content:
            self._due = min(self._due + (arrived - self._seen) / self._deadlines.rate, now + allowed)
        self._seen = arrived
        due = min(self._due, self._end_due if session.admitted else min(self._end_due, self._login_due))
        if now < due or session.pending or self._stalled:
            # Progress is noticed only here, so look often enough for the deadline to be at most an eighth late.
            return max(min(due, now + allowed / 8), now + 1.0)
        idle = session.idle
        session.timed_out()
        self._part(linger=not idle)
        return 0.0
