"""The shell of an outgoing connection: feeds the client session, writes what it has, keeps the deadline.

Owns: the transport of one connection to one host and the deadline of the awaited reply. Never does: choose what
is delivered, or decide what follows trouble; that is its owner's (``mta.services.delivery``). Loop thread only.
"""

import asyncio
import socket
from typing import NamedTuple, Protocol, cast

from mta.net.deadlines import Wheel
from mta.queue.entry import Attempt
from mta_ext.reply import Reply
from mta_ext.smtp_client import SmtpClientSession

#: Seconds that a warm connection is kept without work (Postfix keeps one for 2 s, KumoMTA for 60 s).
IDLE_TIME = 5.0
#: Seconds to wait for the reply to QUIT.
QUIT_TIME = 5.0


class RemoteDeadlines(NamedTuple):
    """Seconds a remote may take: for a reply to a command, and for the reply to the end of content."""

    command: float
    content: float


class RemoteOwner(Protocol):
    """Who gives a connection its work and hears what came of it."""

    def ready(self, remote: "RemoteConnection") -> None: ...

    def room(self, remote: "RemoteConnection") -> None: ...

    def outcome(
        self, remote: "RemoteConnection", attempt: Attempt, stage: str, reply: Reply, recipients: list[Reply] | None
    ) -> None: ...

    def trouble(
        self, remote: "RemoteConnection", stage: str, reply: Reply | None, reason: str, lost: list[tuple[object, bool]]
    ) -> None: ...

    def leave(self, remote: "RemoteConnection") -> None:
        """It has idled for IDLE_TIME: the owner says ``quit``."""

    def closed(self, remote: "RemoteConnection") -> None:
        """The socket is closed; called once."""


class RemoteConnection(asyncio.Protocol):
    """One connection to ``host`` (its name) at ``address`` (ip, port or a unix path). ``sent`` counts transactions."""

    __slots__ = (
        "_deadlines",
        "_filling",
        "_owner",
        "_progress",
        "_since",
        "_socket",
        "_wheel",
        "address",
        "bucket",
        "connect_seconds",
        "gone",
        "handshake",
        "host",
        "idle",
        "protocol",
        "sent",
        "session",
        "transport",
    )

    def __init__(
        self, owner: RemoteOwner, wheel: Wheel, deadlines: RemoteDeadlines, ehlo_name: str, host: str, *, lmtp: bool
    ) -> None:
        self._owner = owner
        self._wheel = wheel
        self._deadlines = deadlines
        self._progress = 0
        self._since = 0.0
        self._filling = False
        self.bucket = 0
        self.session = SmtpClientSession(self, ehlo_name, lmtp=lmtp)
        self.protocol = "LMTP" if lmtp else "ESMTP"
        self.host = host
        self.address = ""
        self.connect_seconds = 0.0
        self.sent = 0
        self.idle = False
        self.gone = False
        #: Settled once: None when the session is ready, else what the host said or did instead.
        self.handshake: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        self._socket = self.transport.get_extra_info("socket") if isinstance(peer, tuple) else None
        self.address = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "unix")
        self._since = now = asyncio.get_running_loop().time()
        self._wheel.watch(self, now + 1.0)

    def data_received(self, data: bytes) -> None:
        session = self.session
        session.feed(data)
        if session.has_output or session.closing:
            self.pump()
        elif session.outstanding and self._socket is not None:
            # Some replies are in and we have nothing to say: without this our delayed ACK and the remote's Nagle
            # wait for each other, 40 ms a message (seen with Postfix when its input buffer ends in our commands).
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def pump(self) -> None:
        """Writes what the session has, as long as the remote takes it."""
        session = self.session
        while session.has_output and not self._filling and not self.gone:
            self.transport.write(session.take_output())
        if session.closing and not self.gone and not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        self._filling = True

    def resume_writing(self) -> None:
        self._filling = False
        self.pump()

    def eof_received(self) -> bool:
        """No reply can come any more, so nothing is worth sending: content that still waits does not hold us up."""
        self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._wheel.forget(self)
        self.session.eof()
        self._owner.closed(self)

    def quit(self) -> None:
        """Ends the session politely; nothing may be outstanding."""
        if not self.gone:
            self.session.quit()
            self._since = asyncio.get_running_loop().time()
            self.pump()

    def abort(self) -> None:
        """Drops the connection at once; outstanding transactions come back as trouble."""
        if not self.gone:
            self.transport.abort()

    def check(self, now: float) -> float:
        """Deadline of the awaited reply, see ``mta.net.deadlines``."""
        if self.gone:
            return 0.0
        session = self.session
        if session.progress != self._progress:
            self._progress = session.progress
            self._since = now
        stage = session.stage
        if stage == "QUIT" or session.closing:
            if now - self._since > QUIT_TIME:
                self.transport.abort()
                return 0.0
            return now + 1.0
        if stage == "IDLE":
            if now - self._since > IDLE_TIME:
                self._owner.leave(self)
            return now + 1.0
        allowed = self._deadlines.content if stage in ("CONTENT", "DOT") else self._deadlines.command
        if now - self._since > allowed:
            session.timed_out()
            self.transport.abort()
            return 0.0
        return now + 1.0

    # What the session calls.

    def on_ready(self) -> None:
        self._owner.ready(self)

    def on_room(self) -> None:
        self._owner.room(self)

    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        assert isinstance(token, Attempt)
        self._owner.outcome(self, token, stage, reply, recipients)

    def on_trouble(self, stage: str, reply: Reply | None, reason: str, transactions: list[tuple[object, bool]]) -> None:
        self._owner.trouble(self, stage, reply, reason, transactions)
