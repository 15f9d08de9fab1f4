"""The shell of an outgoing connection: feeds the client session, writes what it has, keeps the deadline.

Owns: the transport of one connection to one host, its TLS handshake and login, and the deadline of the awaited reply.
Never does: choose what is delivered, or decide what follows trouble; that is its owner's (``mta.services.delivery``).
Loop thread only.
"""

import asyncio
import secrets
import socket
import ssl
from typing import NamedTuple, Protocol, cast

from mta.net.deadlines import Wheel
from mta.net.handshake import Secured, begun
from mta.net.tls import TlsFacts, facts
from mta.net.tls_client import CHECKED, NO_TLS, ClientTls, binding_of, complaint
from mta.policy.offer import Offer, offer_of
from mta.policy.sasl_client import Exchange, choose
from mta.queue.entry import Attempt
from mta.routing.destination import Host, Login
from mta_ext.reply import Reply
from mta_ext.smtp_client import SmtpClientSession

#: Seconds that a warm connection is kept without work (Postfix keeps one for 2 s, KumoMTA for 60 s).
IDLE_TIME = 5.0
#: Seconds to wait for the reply to QUIT.
QUIT_TIME = 5.0
#: ``session.starttls`` by the mode of TLS.
_STARTTLS = {"opportunistic": "opportunistic", "required": "required", "verify": "required"}


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
    """One connection to ``host`` (its name; ``place`` has the rest) at ``address`` (ip, port or a unix path). ``sent``
    counts transactions. ``tls``: what the handshake came to, None in the clear; ``verified``: its certificate was
    checked. ``offer``: what the host can, from ``ready`` on; ``domains``: those named so far, where the host counts
    them. ``failed_at``: the stage in which it did not come about, "CERTIFICATE" and "TLS" for the handshake, and
    ``failed_code`` the reply to it, 0 without one. ``most``: transactions that it is for, set by its owner."""

    __slots__ = (
        "_deadlines",
        "_filling",
        "_login",
        "_owner",
        "_problem",
        "_progress",
        "_shaking",
        "_since",
        "_socket",
        "_tls",
        "_wheel",
        "address",
        "bucket",
        "connect_seconds",
        "domains",
        "failed_at",
        "failed_code",
        "gone",
        "handshake",
        "host",
        "idle",
        "most",
        "offer",
        "place",
        "protocol",
        "sent",
        "session",
        "tls",
        "transport",
        "verified",
    )

    def __init__(
        self,
        owner: RemoteOwner,
        wheel: Wheel,
        deadlines: RemoteDeadlines,
        ehlo_name: str,
        host: Host,
        *,
        lmtp: bool,
        tls: ClientTls = NO_TLS,
        login: Login | None = None,
    ) -> None:
        self._owner = owner
        self._wheel = wheel
        self._deadlines = deadlines
        self._progress = 0
        self._since = 0.0
        self._filling = False
        self._tls = tls
        self._login = login
        self._shaking: asyncio.Task[None] | None = None
        self._problem: Exception | None = None
        self.tls: TlsFacts | None = None
        self.verified = False
        self.offer = Offer()
        self.domains: set[str] = set()
        self.failed_at = ""
        self.failed_code = 0
        self.bucket = 0
        self.session = SmtpClientSession(
            self,
            ehlo_name,
            lmtp=lmtp,
            starttls=_STARTTLS.get(tls.mode, "none"),
            secure=tls.mode == "implicit",
            login=self._exchange if login is not None else None,
        )
        self.protocol = "LMTP" if lmtp else "ESMTP"
        self.place = host
        self.host = host.name
        self.address = ""
        self.connect_seconds = 0.0
        self.sent = 0
        self.most = 1
        self.idle = False
        self.gone = False
        #: Settled once: None when the session is ready, else what the host said or did instead.
        self.handshake: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        self._socket = self.transport.get_extra_info("socket") if isinstance(peer, tuple) else None
        self.address = shown(peer[0], peer[1]) if isinstance(peer, tuple) else str(peer or "unix")
        self._since = now = asyncio.get_running_loop().time()
        self._wheel.watch(self, now + 1.0)
        if self._tls.mode == "implicit":
            # Later, as a loop may begin to read after this call, and a handshake wants it paused.
            asyncio.get_running_loop().call_soon(self._secure)

    def data_received(self, data: bytes) -> None:
        session = self.session
        session.feed(data)
        if session.wants_tls:
            self._secure()
            return
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
        if self.tls is None:
            self.transport.abort()
        else:
            asyncio.get_running_loop().call_soon(self.transport.abort)  # asyncio's TLS is in the middle of something
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.gone:
            return
        self.gone = True
        connection = self.transport.get_extra_info("ssl_object") if self.tls is not None else None
        if connection is not None and self._tls.context is not None:
            self._tls.context.remember(connection)
        self._wheel.forget(self)
        self.session.eof()
        self._owner.closed(self)

    def goes_to(self, domain: str) -> bool:
        """Whether recipients in this domain may be named here, after those in others (RCPTDOMAINMAX); if so, they
        count from now on."""
        most = self.offer.domains
        if most and domain not in self.domains:
            if len(self.domains) >= most:
                return False
            self.domains.add(domain)
        return True

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
        if self._shaking is not None:
            return now + 1.0  # a handshake has a limit of its own
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

    # TLS and login.

    def _secure(self) -> None:
        """What comes from now on is the handshake, and not for the session."""
        if self.gone:
            return
        self.transport.pause_reading()
        self._shaking = asyncio.get_running_loop().create_task(self._shake_hands())

    async def _shake_hands(self) -> None:
        """One that comes to nothing is told from here: the loop tells nobody."""
        context = self._tls.context
        secured = None
        try:
            assert context is not None, "a session that may say STARTTLS has a context"
            name = self.host if self._socket is not None else ""
            secured = await begun(self.transport, context, name, self._tls.handshake)
        except (OSError, ssl.CertificateError) as error:  # TimeoutError and all of TLS among them
            self._problem = error
        finally:
            self._shaking = None
            if secured is None:
                self._problem = self._problem or ConnectionResetError("the connection was lost")
                self.transport.abort()
                self.connection_lost(None)
        if secured is not None and not self.gone:
            self._begin(secured)

    def _begin(self, secured: Secured) -> None:
        """Under TLS: the session begins anew."""
        self.transport = secured.transport
        self.tls = facts(self.transport)
        self.verified = self._tls.mode in CHECKED
        self.transport.set_protocol(self)
        self._since = asyncio.get_running_loop().time()
        if self.session.wants_tls:
            self.session.tls_started()
        self.session.feed(secured.early)
        self.pump()

    def _exchange(self, offered: str) -> Exchange | None:
        assert self._login is not None
        connection = self.transport.get_extra_info("ssl_object")
        binding = binding_of(connection) if connection is not None else None
        return choose(offered, self._login, secrets.token_urlsafe(18), secure=connection is not None, binding=binding)

    # What the session calls.

    def on_ready(self) -> None:
        self.offer = offer_of(self.session.extensions, verified=self.verified, lmtp=self.protocol == "LMTP")
        self._owner.ready(self)

    def on_room(self) -> None:
        self._owner.room(self)

    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        assert isinstance(token, Attempt)
        self._owner.outcome(self, token, stage, reply, recipients)

    def on_trouble(self, stage: str, reply: Reply | None, reason: str, transactions: list[tuple[object, bool]]) -> None:
        if self._problem is not None:
            stage = "CERTIFICATE" if isinstance(self._problem, ssl.CertificateError) else "TLS"
            reason = complaint(self._problem)
        self.failed_at, self.failed_code = stage, 0 if reply is None else reply.code
        self._owner.trouble(self, stage, reply, reason, transactions)


def shown(ip: str, port: int) -> str:
    """``192.0.2.1:25`` or ``[2001:db8::1]:25``, as events have it."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
