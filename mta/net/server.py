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
#: Octets of replies that a client may leave unread before we stop reading from it.
OUTPUT_HIGH = 32_768
#: Seconds that a connection may take to close after our last word.
LINGER = 10.0


class Deadlines(NamedTuple):
    """Absolute limits of a phase in seconds; ``rate`` (octets/s) extends the time for content by what arrived."""

    command: float
    content: float
    rate: float


class SmtpServerConnection(asyncio.Protocol):
    """One connection. ``opened(connection, peer)`` makes the session, or gives a last word for who is not let in."""

    __slots__ = (
        "_closed",
        "_deadlines",
        "_held",
        "_opened",
        "_phase_at",
        "_progress",
        "_stalled",
        "_wheel",
        "gone",
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
        self._progress = 0
        self._phase_at = 0.0
        self._held = False
        self._stalled = False
        self.gone = False

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
        self._phase_at = now = asyncio.get_running_loop().time()
        self._wheel.watch(self, now + self._deadlines.command / 8)
        self.pump()

    def data_received(self, data: bytes) -> None:
        session = self.session
        session.feed(data)
        output = session.take_output()
        if output:
            self.transport.write(output)
        if session.closing:
            self._leave()
        elif session.buffered > INPUT_HIGH and not self._held:
            self._held = True
            self.transport.pause_reading()

    def pump(self) -> None:
        """Writes what the session has to say; called by whoever settled its decision."""
        if self.gone:
            return
        session = self.session
        output = session.take_output()
        if output:
            self.transport.write(output)
        if session.closing:
            self._leave()
        elif self._held and not self._stalled and session.buffered <= INPUT_HIGH:
            self._held = False
            self.transport.resume_reading()

    def answer(self, reply: bytes) -> None:
        """Settles the pending decision of the session. Harmless after the connection is gone."""
        if not self.gone:
            self.session.answer(reply)
            self.pump()

    def hold(self) -> None:
        """Stop reading: the spool is behind with this connection's content."""
        self._stalled = True
        if not self._held and not self.gone:
            self._held = True
            self.transport.pause_reading()

    def release(self) -> None:
        """Read on after ``hold``."""
        self._stalled = False
        self.pump()

    def shut(self, reply: bytes) -> None:
        """Says a last word and closes."""
        if not self.gone:
            self.session.shut(reply)
            self.pump()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is taken from it until it does."""
        self.hold()

    def resume_writing(self) -> None:
        self.release()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "session"):
            self.session.eof()
            self.gone = True
            self._closed(self)

    def _leave(self) -> None:
        """The session has said its last word. The transport flushes it; a peer that never reads is cut off later."""
        if not self.transport.is_closing():
            self.transport.close()
        self._phase_at = asyncio.get_running_loop().time()

    def check(self, now: float) -> float:
        """Deadline of the phase, see ``mta.net.deadlines``. Octets alone do not move it, completed commands do."""
        if self.gone:
            return 0.0
        session = self.session
        if self.transport.is_closing():
            due = self._phase_at + LINGER
            if now >= due:
                self.transport.abort()
                return 0.0
            return due
        if session.progress != self._progress:
            self._progress = session.progress
            self._phase_at = now
        allowed = self._deadlines.command
        if session.in_content:
            allowed = self._deadlines.content + session.content_octets / self._deadlines.rate
        due = self._phase_at + allowed
        if now < due or session.pending:
            # Progress is noticed only here, so look often enough for the deadline to be at most an eighth late.
            return max(min(due, now + allowed / 8), now + 1.0)
        self.shut(b"421 4.4.2 too slow, closing the connection\r\n")
        return now + LINGER
