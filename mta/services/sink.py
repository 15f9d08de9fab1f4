"""A server that takes mail and keeps none: the end of the line for the demo, for tests and for load.

Owns: one SMTP listener with the same session and shell as the real server, the recipients it knows, and recordings of
its sessions when asked for. Never does: store or relay; what arrives is handed to one function, and 250 follows.
Loop thread only. The listener may be stopped and started again, which is how a server that is down looks.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, cast

from mta.clock import Clock
from mta.errors import UnavailableError
from mta.net.deadlines import Wheel
from mta.net.server import Deadlines, ServerConnection
from mta.services.dialogue import Dialogue
from mta_ext.content import Content
from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.session import _Pending
from mta_ext.smtp_server import SmtpServerSession

UNKNOWN = b"550 5.1.1 no such mailbox here\r\n"
CLOSING = b"421 4.3.2 going down, try again later\r\n"
#: Seconds that a client may take for a command, for content, and octets a second beyond that.
DEADLINES = Deadlines(60.0, 60.0, 1000.0)
BACKLOG = 1024


class Arrival(NamedTuple):
    """One message as it came. ``at``: monotonic seconds at the end of its content."""

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes
    at: float


class Sink:
    """``recipients``: who is known, None for everybody. ``arrived`` is called for each message before its 250."""

    def __init__(
        self,
        hostname: str,
        clock: Clock,
        arrived: Callable[[Arrival], None],
        *,
        recipients: Collection[str] | None = None,
    ) -> None:
        self.hostname = hostname
        self.clock = clock
        self.arrived = arrived
        self.recipients = recipients
        #: Sessions that began while ``recording`` was on.
        self.dialogues: list[Dialogue] = []
        self.recording = False
        self._connections: set[ServerConnection] = set()
        self._server: asyncio.AbstractServer | None = None

    async def start(self, host: str, port: int) -> None:
        """Listens. Raises UnavailableError when the address is taken."""
        loop = asyncio.get_running_loop()
        self._wheel = Wheel(loop)
        try:
            self._server = await loop.create_server(self._make, host, port, backlog=BACKLOG)
        except OSError as e:
            raise UnavailableError(f"{host}:{port}: cannot listen: {e.strerror or e}") from e
        self._wheel.start()

    async def stop(self) -> None:
        """Listens no more and says 421 to who is connected. Idempotent; ``start`` again is fine."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._wheel.stop()
        for connection in list(self._connections):
            connection.shut(CLOSING)
        while self._connections:
            await asyncio.sleep(0.001)

    def _make(self) -> ServerConnection:
        if not self.recording:
            return ServerConnection(self._opened, self._connections.discard, self._wheel, DEADLINES)
        dialogue = Dialogue(self.clock)
        self.dialogues.append(dialogue)
        return _Recorded(self._opened, self._connections.discard, self._wheel, dialogue)

    def _opened(self, connection: ServerConnection, peer: tuple[str, int]) -> SmtpServerSession:
        self._connections.add(connection)
        return SmtpServerSession(_Reception(self), self.hostname, message_size=1 << 30, in_step=False)


class _Reception:
    """The policy of one session (SmtpServerHandler): who is known is welcome."""

    __slots__ = ("_pieces", "_recipients", "_reverse_path", "_sink")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._reverse_path = ""
        self._recipients: list[str] = []
        self._pieces: list[bytes] = []

    def on_hello(self, verb: str, name: str) -> bytes | _Pending | None:
        return None

    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> bytes | _Pending | None:
        self._reverse_path = reverse_path
        return None

    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> bytes | _Pending | None:
        known = self._sink.recipients
        if known is not None and forward_path.lower() not in known:
            return UNKNOWN
        self._recipients.append(forward_path)
        return None

    def on_data(self) -> bytes | _Pending | None:
        return None

    def on_piece(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_content(self, content: Content) -> bytes | _Pending | None:
        sink = self._sink
        octets = content.joined(b"".join(self._pieces))
        arrival = Arrival(self._reverse_path, tuple(self._recipients), octets, sink.clock.monotonic())
        self.on_reset()
        sink.arrived(arrival)
        return None

    def on_refused_content(self) -> None:
        self.on_reset()

    def on_reset(self) -> None:
        self._recipients = []
        self._pieces = []


class _Recorded(ServerConnection):
    """A connection whose octets are noted on their way."""

    __slots__ = ("_dialogue",)

    def __init__(self, opened: Any, closed: Any, wheel: Wheel, dialogue: Dialogue) -> None:
        super().__init__(opened, closed, wheel, DEADLINES)
        self._dialogue = dialogue

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        noted = _NotedTransport(cast(asyncio.Transport, transport), self._dialogue)
        super().connection_made(cast(asyncio.Transport, noted))

    def data_received(self, data: bytes) -> None:
        self._dialogue.client(data)
        super().data_received(data)


class _NotedTransport:
    """A transport that notes what is written; all else is the real one's."""

    def __init__(self, transport: asyncio.Transport, dialogue: Dialogue) -> None:
        self._transport = transport
        self._dialogue = dialogue

    def write(self, data: bytes) -> None:
        self._dialogue.server(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
