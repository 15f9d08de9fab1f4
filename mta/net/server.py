"""The shell of an incoming SMTP connection: feeds the session, writes once per read, keeps the deadline.

Owns: the transport, reading paused or not, the deadline of the phase. Never does: parse, decide or store; the
session parses, the handler decides (``mta.services.reception``). Loop thread only.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, cast

from mta.net.deadlines import Wheel
from mta_ext.smtp_server import SmtpServerSession

#: Octets of input kept while a decision is pending, before reading stops.
INPUT_HIGH = 65_536
#: Octets of replies that a client may leave unread before its commands wait (see also the session's own limit).
OUTPUT_HIGH = 32_768
#: Seconds that a connection may take to close after our last word. Meanwhile what still comes is thrown away: a socket
#: closed over unread input is reset, and the last word lost with it.
LINGER = 5.0


class Deadlines(NamedTuple):
    """Limits of a phase in seconds. What arrives of a content buys time at ``rate`` (octets/s), up to ``content``
    seconds from now: a fast beginning is no right to a slow end."""

    command: float
    content: float
    rate: float


class SmtpServerConnection(asyncio.Protocol):
    """One connection. ``opened(connection, peer)`` makes the session, or gives a last word for who is not let in.

    ``leaving``: our last word is said. Reading stops for one of three reasons, and goes on when none is left: the
    client does not read (``_full``), the spool is behind (``_stalled``), or a decision is pending on much input.
    """

    __slots__ = (
        "_closed",
        "_deadlines",
        "_due",
        "_ended",
        "_full",
        "_held",
        "_opened",
        "_progress",
        "_seen",
        "_stalled",
        "_wheel",
        "bucket",
        "gone",
        "leaving",
        "session",
        "transport",
    )

    def __init__(
        self,
        opened: "Callable[[SmtpServerConnection, tuple[str, int]], SmtpServerSession | bytes]",
        closed: "Callable[[SmtpServerConnection], None]",
        wheel: Wheel,
        deadlines: Deadlines,
    ) -> None:
        self._opened = opened
        self._closed = closed
        self._wheel = wheel
        self._deadlines = deadlines
        self._due = 0.0
        self._progress = 0
        self._seen = 0
        self._held = False
        self._full = False
        self._stalled = False
        self._ended = False
        self.bucket = 0
        self.gone = False
        self.leaving = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        address = (peer[0], peer[1]) if isinstance(peer, tuple) else ("unix", 0)
        session = self._opened(self, address)
        if isinstance(session, bytes):
            self.gone = True
            self.transport.write(session)
            self.transport.close()
            return
        self.session = session
        self.transport.set_write_buffer_limits(high=OUTPUT_HIGH)
        session.greet()
        now = asyncio.get_running_loop().time()
        self._due = now + self._deadlines.command
        self._wheel.watch(self, now + self._deadlines.command / 8)
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
        if self.gone or self.leaving:
            return False
        self._ended = True
        return self.session.pending or self.session.choked

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
        if self.gone or self.leaving:
            return
        session = self.session
        while True:
            output = session.take_output()
            if output:
                self.transport.write(output)  # perhaps pause_writing from in there
            if session.closing:
                self._leave(linger=not session.bye)
                return
            if self._full or not session.go_on():
                break
        if self._ended and not session.pending and not session.choked:
            self._leave(linger=False)
            return
        held = self._full or self._stalled or session.buffered > INPUT_HIGH
        if held != self._held:
            self._held = held
            if held:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def answer(self, reply: bytes) -> None:
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
        if not self.gone and not self.leaving:
            idle = self.session.idle
            self.session.shut(reply)
            self.transport.write(self.session.take_output())
            self._leave(linger=not idle)

    # The end.

    def _leave(self, *, linger: bool) -> None:
        """The last word is said. The transport flushes it; a peer that never reads, or never closes, is cut off."""
        self.leaving = True
        self._wheel.watch(self, asyncio.get_running_loop().time() + LINGER)
        if not linger or self._ended:
            self.transport.close()
            return
        self.transport.write_eof()
        if self._held:
            self._held = False
            self.transport.resume_reading()

    def check(self, now: float) -> float:
        """Deadline of the phase, see ``mta.net.deadlines``. Octets alone do not move it, completed commands do."""
        if self.gone:
            return 0.0
        if self.leaving:
            self.transport.abort()
            return 0.0
        session = self.session
        allowed = self._deadlines.content if session.in_content else self._deadlines.command
        arrived = session.content_octets
        if session.progress != self._progress:
            self._progress = session.progress
            self._due = now + allowed
        elif session.in_content:
            self._due = min(self._due + (arrived - self._seen) / self._deadlines.rate, now + allowed)
        self._seen = arrived
        if now < self._due or session.pending or self._stalled:
            # Progress is noticed only here, so look often enough for the deadline to be at most an eighth late.
            return max(min(self._due, now + allowed / 8), now + 1.0)
        self.shut(b"421 4.4.2 too slow, closing the connection\r\n")
        return 0.0
