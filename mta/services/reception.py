"""Reception: decides for the SMTP server session, makes the message, and answers after its commit.

Owns: the envelope of the open transaction of each connection, admission by limits. Never does: parse SMTP, touch a
socket, or store; it gives the spool a ticket and the scheduler what was committed. Loop thread only.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import NamedTuple

from mta.clock import Clock
from mta.errors import StorageError
from mta.log import Event, EventLog, PeerAddress, Response
from mta.metrics.layout import ACCEPTED_IN, CONNECTIONS_IN, OCTETS_IN, RECEIVED, REJECTED
from mta.model.message import Message, Recipient
from mta.model.received import protocol_name, received_field
from mta.model.spoolid import IdSource, format_id
from mta.net.server import ServerConnection
from mta.policy.relay import RelayPolicy, within
from mta.queue.scheduler import Scheduler
from mta.services.access import Access
from mta.services.enqueue import enqueue
from mta.services.guard import TOO_MANY, Guard
from mta.services.inquiries import Inquiries
from mta.services.local import NO_LOCAL_MAIL, LocalMail
from mta.services.visitor import Visitor
from mta.spool.protocol import ContentStream, Spool, SpoolFull, Ticket
from mta_ext.content import Content
from mta_ext.counters import Counters
from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.headers import field_value
from mta_ext.session import PENDING, _Pending
from mta_ext.smtp_server import SmtpServerSession
from mta_ext.throttle import UNCOUNTED

_log = logging.getLogger("mta.reception")

DRAINING = b"421 4.3.2 shutting down, try again later\r\n"
FAILING = b"421 4.3.2 storage trouble, try again later\r\n"
FAILED = b"451 4.3.0 the message could not be stored, try again later\r\n"
DISK_LOW = b"452 4.3.1 out of disk space, try again later\r\n"
NO_RELAY = b"550 5.7.1 relaying denied\r\n"
NOT_A_PROXY = b"550 5.7.0 not authorized\r\n"

#: Octets of a stream that may wait for the disk before its connection is not read any more.
STREAM_HIGH = 4 * 1_048_576
#: Octets of a Message-ID that the event log keeps (RFC 5322 §2.1.1 has no longer line).
MESSAGE_ID_LIMIT = 998
#: Seconds for which the look at the disk's free space is trusted.
SPACE_CHECK = 1.0


class ReceptionSettings(NamedTuple):
    """From the configuration: ``limits`` go to each session as they are (octets and counts)."""

    hostname: str
    message_size: int
    recipients: int
    command_line: int
    content_line: int
    header_section: int
    errors: int
    hops: int
    connections: int
    connections_per_client: int
    in_step: bool = True  # who does not wait where RFC 2920 has it wait is sent away


Opened = Callable[[ServerConnection, tuple[str, int]], "SmtpServerSession | bytes"]


class Reception:
    """One per worker: what all its incoming connections share."""

    def __init__(
        self,
        settings: ReceptionSettings,
        relay: RelayPolicy,
        spool: Spool,
        scheduler: Scheduler,
        ids: IdSource,
        events: EventLog,
        counters: Counters,
        clock: Clock,
        local: LocalMail = NO_LOCAL_MAIL,
        guard: Guard | None = None,
    ) -> None:
        self.settings = settings
        self.guard = guard
        self.inquiries = Inquiries(local)
        self.relay = relay
        self.local = local
        self.spool = spool
        self.scheduler = scheduler
        self.ids = ids
        self.events = events
        self.counters = counters
        self.clock = clock
        self.sessions: dict[ServerConnection, ReceptionSession] = {}
        self.clients: Counter[str] = Counter()
        #: The 421 for new connections and transactions: draining, spool failed. None: all is well.
        self.refusal: bytes | None = None
        self._space_until = 0.0
        self._space = True

    def listener(self, access: Access) -> Opened:
        """``opened`` for the connections of one listener."""
        return partial(self.open, access, ReceptionSession)

    def opened(self, connection: ServerConnection, peer: tuple[str, int]) -> SmtpServerSession | bytes:
        """As ``listener(Access())`` has it."""
        return self.open(Access(), ReceptionSession, connection, peer)

    def open(
        self, access: Access, make: "Make", connection: ServerConnection, peer: tuple[str, int]
    ) -> SmtpServerSession | bytes:
        """A connection came in: its session, or the reply that turns it away."""
        address = peer[0]
        settings = self.settings
        if self.refusal is not None:
            return self.refusal
        if len(self.sessions) >= settings.connections:
            return TOO_MANY
        handler = make(self, connection, address, access)
        handler.session = SmtpServerSession(
            handler,
            settings.hostname,
            message_size=settings.message_size,
            recipients=settings.recipients,
            command_line=settings.command_line,
            content_line=settings.content_line,
            header_section=settings.header_section,
            errors=settings.errors,
            hops=settings.hops,
            in_step=settings.in_step and access.in_step,
            **access.options(self.clock.now_ms()),
        )
        if self.guard is not None:
            refusal = self.guard.enter(connection, handler, len(self.sessions) / settings.connections)
            if refusal is not None:
                return handler.turn_away(refusal)
        if self.clients[address] >= settings.connections_per_client:  # over all workers the guard has counted
            return handler.turn_away(TOO_MANY)
        self.clients[address] += 1
        self.counters.add(CONNECTIONS_IN, 1)
        self.counters.add(ACCEPTED_IN, 1)
        self.sessions[connection] = handler
        return handler.session

    def closed(self, connection: ServerConnection) -> None:
        handler = self.sessions.pop(connection, None)
        if handler is not None:
            handler.leave()
            handler.left()
            self.counters.add(CONNECTIONS_IN, -1)
            left = self.clients[handler.peer] - 1
            if left:
                self.clients[handler.peer] = left
            else:
                del self.clients[handler.peer]

    def refusal_now(self) -> bytes | None:
        """Whether a transaction may begin: not while draining, after a failed commit, or with the disk low."""
        if self.refusal is not None:
            return self.refusal
        now = self.clock.monotonic()
        if now > self._space_until:
            self._space_until = now + SPACE_CHECK
            self._space = self.spool.free_octets() > 0
        return None if self._space else DISK_LOW

    def busy(self) -> int:
        """Connections that have not heard our last word yet."""
        return sum(not connection.leaving for connection in self.sessions)

    def drain(self, reply: bytes = DRAINING) -> None:
        """Takes nothing new; idle connections are closed now, the others after their transaction."""
        self.refusal = reply
        for connection, handler in list(self.sessions.items()):
            if handler.session.idle and not connection.leaving:
                connection.shut(reply)

    def cut_off(self) -> None:
        """Whoever is still here after the drain hears it, in the middle of a transaction or not."""
        for connection in list(self.sessions):
            connection.shut(self.refusal or DRAINING)


class ReceptionSession:
    """Policy of one connection: the call-backs of its session (see ``mta_ext.smtp_server.SmtpServerHandler``)."""

    __slots__ = (
        "_access",
        "_began",
        "_connection",
        "_eight_bit",
        "_forwarded",
        "_label",
        "_message_id",
        "_parameters",
        "_reception",
        "_recipients",
        "_reverse_path",
        "_stream",
        "_trace_id",
        "_transactions",
        "added",
        "address",
        "peer",
        "row",
        "session",
        "submitter",
        "trusted",
        "visitor",
    )

    def __init__(self, reception: Reception, connection: ServerConnection, address: str, access: Access) -> None:
        self._reception = reception
        self._connection = connection
        self._access = access
        #: Whom the connection is from; ``address`` is another one behind a client that may say XCLIENT.
        self.peer = address
        self.address = address
        #: Who has logged in; "": nobody.
        self.submitter = ""
        self._forwarded: dict[str, str] = {}
        self._parameters: MailParameters | None = None
        self.session: SmtpServerSession
        #: What policy asks and counts about this client; None: nothing.
        self.visitor: Visitor | None = None
        #: Of a known client, in the table of connections over all workers.
        self.row = UNCOUNTED
        #: Fields that hooks want at the top of the open transaction's message.
        self.added = b""
        self.trusted: bool = reception.relay.trusts(address)
        self._label = ""
        self._message_id = b""
        self._transactions = 0
        self._reverse_path = ""
        self._eight_bit = False
        self._recipients: list[Recipient] = []
        self._stream: ContentStream | None = None
        self._trace_id = 0
        self._began = 0.0

    def left(self) -> None:
        """Policy counts the client no more."""
        guard = self._reception.guard
        if guard is not None:
            guard.leave(self)

    def turn_away(self, reply: bytes) -> bytes:
        """Before the connection is anything to us: what was made for it goes at once."""
        self.left()
        self.session.eof()
        return reply

    @property
    def label(self) -> str:
        """The session's id in events and records."""
        if not self._label:
            self._label = format_id(self._reception.ids.next())
        return self._label

    def on_hello(self, verb: str, name: str) -> bytes | _Pending | None:
        return self.visitor.hello(verb, name) if self.visitor is not None else None

    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> bytes | _Pending | None:
        reception = self._reception
        refusal = reception.refusal_now()
        if refusal is not None:
            return refusal  # the session closes after a 421
        if self.visitor is not None:
            verdict = self.visitor.mail(reverse_path, domain, size, eight_bit, parameters)
            if verdict is not None:
                return verdict
        self._reverse_path = reverse_path
        self._eight_bit = eight_bit
        self._parameters = parameters
        self._recipients = []
        self._began = reception.clock.monotonic()
        return None

    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> bytes | _Pending | None:
        local = self._reception.local
        if "@" not in forward_path:  # postmaster, the only one who may come without a domain
            forward_path = local.postmaster or f"{forward_path}@{domain}"
            domain = forward_path.rpartition("@")[2].lower()
        refusal = None
        if domain in local.domains:
            refusal = local.refusal(forward_path)
        elif not self.trusted and not self._reception.relay.admits(domain, trusted=False, forward_path=forward_path):
            refusal = NO_RELAY
        if refusal is not None:
            self._rejected(forward_path, refusal, "RCPT")
            return refusal
        if self.visitor is not None:
            verdict = self.visitor.rcpt(forward_path, domain, parameters)
            if verdict is not None:
                return verdict
        recipient = Recipient(forward_path, domain)
        if parameters is not None:
            recipient.notify, recipient.orcpt = parameters.notify or None, parameters.orcpt or None
        self._recipients.append(recipient)
        return None

    # What policy does to the open transaction.

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(recipient.forward_path for recipient in self._recipients)

    def redirect(self, address: str, *, all_of_them: bool) -> None:
        """Takes a recipient that nobody asked for, in place of all others or beside them."""
        recipient = Recipient(address, address.rpartition("@")[2].lower())
        self._recipients = [recipient] if all_of_them else [*self._recipients, recipient]

    def on_data(self) -> bytes | _Pending | None:
        return None

    def on_piece(self, data: bytes) -> None:
        """Large content: it goes to the spool as it comes, behind the trace field."""
        if self._stream is None:
            reception = self._reception
            self._trace_id = reception.ids.next()
            self._stream = reception.spool.open_stream(self._trace_id)
            self._stream.on_drained = self._connection.release
            self._message_id = field_value(data, b"message-id") or b""
            self._begin(self._stream, data)
        self._write(self._stream, data)
        if self._stream.backlog > STREAM_HIGH:
            self._connection.hold()

    def on_content(self, content: Content) -> bytes | _Pending | None:
        """An acceptable message is complete: to the spool with it. The reply comes from ``_settled``."""
        if self.visitor is not None:
            verdict = self.visitor.content(content)
            if verdict is not None:
                return verdict
        reception = self._reception
        now = reception.clock.now_ms()
        stream = self._stream
        if stream is None:
            spool_id = reception.ids.next()
            self._message_id = content.message_id
            octets: bytes | None = self._whole(content, spool_id, now)
            size = len(octets)  # type: ignore[arg-type]
        else:
            self._stream = None
            spool_id = self._trace_id
            self._write(stream, content.joined(b""), last=True)
            octets, size = None, stream.octets
            self._connection.unhold()  # all of it has come; a refused ticket drains no stream
        recipients = self._recipients
        message = Message(
            spool_id,
            self._reverse_path,
            recipients,
            size,
            now,
            self.label,
            self.session.hello_name,
            self.address,
            self._protocol(),
            self._eight_bit or content.eight_bit,
            content.dotted,
        )
        if self._forwarded:
            message.client_name = self._client("HELO", message.client_name)
            message.client_address = self._client("ADDR", message.client_address)
        if self.submitter:
            message.submitter = self.submitter
        due = now
        if self._parameters is not None:
            due = self._asked(message, self._parameters, now)
        reception.spool.accept(Ticket(message, octets, enqueue(message, due), self._settled, stream))
        self._recipients = []
        self._forwarded = {}
        return PENDING

    def _whole(self, content: Content, spool_id: int, now: int) -> bytes:
        """Content that fits into memory, as it is stored."""
        return content.joined(self._trace(spool_id, now))

    def _begin(self, stream: ContentStream, data: bytes) -> None:
        """Large content begins, with ``data``."""
        stream.append(self._trace(self._trace_id, self._reception.clock.now_ms()))

    def _write(self, stream: ContentStream, data: bytes, *, last: bool = False) -> None:
        """More of a large content."""
        stream.append(data)

    def _asked(self, message: Message, parameters: MailParameters, now: int) -> int:
        """What the client asked of this message goes into its record; gives when it is due first (ms)."""
        message.envid, message.ret = parameters.envid or None, parameters.ret or None
        message.smtputf8, message.binary = parameters.smtputf8, parameters.binary
        message.requiretls = parameters.requiretls
        message.priority = parameters.priority or 0
        if parameters.by is not None:
            message.deliver_by = now + parameters.by * 1000
            message.by_mode = parameters.by_mode + ("T" if parameters.by_trace else "")
        due = held_until(parameters, now)
        message.held_until = due if due > now else 0
        return due

    def _settled(self, ticket: Ticket, error: StorageError | None) -> None:
        """After commit point A: only here does a 250 leave."""
        reception = self._reception
        message = ticket.message
        if error is not None:
            reply = DISK_LOW if isinstance(error, SpoolFull) else FAILED
            self._connection.answer(reply)
            return
        text = format_id(message.id)
        self._connection.answer(b"250 2.0.0 %b queued\r\n" % text.encode())
        reception.counters.add(RECEIVED, 1)
        reception.counters.add(OCTETS_IN, message.size)
        took = reception.clock.monotonic() - self._began
        self._log_reception(message, text, took)
        if message.recipients[0].due <= message.arrival:  # what is held is found when it is due
            reception.scheduler.admit(message, ticket.content, ticket.entries, took)

    def on_refused_content(self) -> None:
        self.on_reset()

    def on_reset(self) -> None:
        self._recipients = []
        self._forwarded = {}
        if self._stream is not None:
            self._stream.abandon()
            self._stream = None
            self._connection.unhold()

    def on_error(self, exception: BaseException) -> None:
        """A bug in one of the call-backs: the session says 451, we say where."""
        _log.error("reception: %r", exception, exc_info=exception)

    def _trace(self, spool_id: int, now: int) -> bytes:
        session = self.session
        recipients = self._recipients
        field = received_field(
            session.hello_name,
            self.address,
            self._reception.settings.hostname,
            self._protocol(),
            format_id(spool_id),
            recipients[0].forward_path if len(recipients) == 1 else None,
            now,
            self._connection.tls and self._connection.tls[:2],
        )
        return field + self.added

    # Questions, and clients that speak for others.

    def on_verify(self, text: str) -> bytes | _Pending | None:
        return self._reception.inquiries.verify(text) if self._access.verify and self.trusted else None

    def on_expand(self, text: str) -> bytes | _Pending | None:
        return self._reception.inquiries.expand(text) if self._access.verify and self.trusted else None

    def on_etrn(self, text: str) -> bytes | _Pending | None:
        if not self.trusted:
            return None  # 459
        self._reception.inquiries.flush(text, self._connection.answer)
        return PENDING

    def on_xclient(self, attributes: dict[str, str]) -> bytes | _Pending | None:
        """The client stands for another one, which is the client from now on."""
        if not within(self.peer, self._access.xclient) or "LOGIN" in attributes:
            return NOT_A_PROXY
        address = _known(attributes, "ADDR")
        if address is not None:
            self.address = address
            self.trusted = self._reception.relay.trusts(address)
        self.submitter = ""
        guard = self._reception.guard
        return guard.enter_as_another(self._connection, self) if guard is not None and address is not None else None

    def on_xforward(self, attributes: dict[str, str]) -> bytes | _Pending | None:
        """Whom the next message is from, for records and events; rights stay those of the client."""
        if not within(self.peer, self._access.xclient):
            return NOT_A_PROXY
        self._forwarded |= attributes
        return None

    def leave(self) -> None:
        """The connection is gone: nobody waits for what is being decided."""

    def _client(self, attribute: str, own: str) -> str:
        """HELO or ADDR: what XFORWARD said, else our own knowledge."""
        return (_known(self._forwarded, attribute) or own) if self._forwarded else own

    # What is written down.

    def _log_reception(self, message: Message, text: str, took: float) -> None:
        events = self._reception.events
        peer = PeerAddress(message.client_name, message.client_address)
        arrival = message.arrival / 1000
        delays = (took, 0.0, 0.0, 0.0)
        message_id = self._message_id[:MESSAGE_ID_LIMIT].decode("utf-8", "replace")
        marked = self.submitter or self._connection.tls is not None
        for recipient in message.recipients:
            event = Event(
                type="Reception",
                id=text,
                sender=message.reverse_path,
                recipient=recipient.forward_path,
                queue=recipient.domain,
                size=message.size,
                peer_address=peer,
                timestamp=arrival,
                created=arrival,
                session_id=message.session_id,
                reception_protocol=message.protocol,
                delays=delays,
                message_id=message_id,
            )
            events.write(self._marked(event) if marked else event)

    def _rejected(self, forward_path: str, reply: bytes, command: str) -> None:
        reception = self._reception
        now = reception.clock.now_ms() / 1000
        code, status, text = reply.decode().rstrip().split(" ", 2)
        reception.counters.add(REJECTED, 1)
        event = Event(
            type="Rejection",
            sender=self._reverse_path,
            recipient=forward_path,
            timestamp=now,
            created=now,
            session_id=self.label,
            peer_address=PeerAddress(self._client("HELO", self.session.hello_name), self._client("ADDR", self.address)),
            response=Response(int(code), status, text, command),
            reception_protocol=self._protocol(),
        )
        reception.events.write(self._marked(event))

    def _marked(self, event: Event) -> Event:
        """With who had logged in, and what TLS came to."""
        event.submitter = self.submitter
        tls = self._connection.tls
        if tls is not None:
            event.tls_protocol_version, event.tls_cipher, event.tls_peer = tls.version, tls.cipher, tls.peer
        return event

    def _protocol(self) -> str:
        parameters, tls = self._parameters, self._connection.tls
        if parameters is None and tls is None and not self.submitter:  # most of the time, and quicker
            return "ESMTP" if self.session.esmtp else "SMTP"
        return protocol_name(
            extended=self.session.esmtp,
            utf8=parameters is not None and parameters.smtputf8,
            tls=tls is not None,
            login=bool(self.submitter),
        )


Make = Callable[[Reception, ServerConnection, str, Access], ReceptionSession]


def held_until(parameters: MailParameters, now: int) -> int:
    """When a message is due first (ms), by FUTURERELEASE (RFC 4865)."""
    if parameters.hold_for:
        return now + parameters.hold_for * 1000
    if parameters.hold_until:
        return max(now, round(datetime.fromisoformat(parameters.hold_until).timestamp() * 1000))
    return now


def _known(attributes: dict[str, str], name: str) -> str | None:
    """The value of an attribute of XCLIENT or XFORWARD; None where the proxy knows none."""
    value = attributes.get(name)
    return None if value is None or value.startswith("[") else value
