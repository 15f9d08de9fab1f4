"""One incoming connection: decides for its session, makes the messages, and answers after their commit.

Owns: the envelope of the open transaction, who the client is, and what is recorded of a message. Never does: parse
SMTP, touch a socket, or store; it gives the spool a ticket and the scheduler what was committed. What all connections
share, and whether a transaction may begin at all, is in ``services/reception.py``. Loop thread only.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from mta.errors import StorageError
from mta.log import PeerAddress
from mta.metrics.layout import OCTETS_IN, RECEIVED, REJECTED
from mta.model.forwarding import stand_in
from mta.model.message import Message, Recipient
from mta.model.received import protocol_name, received_field
from mta.model.spoolid import format_id
from mta.policy.proxy import UNKNOWN
from mta.policy.relay import within
from mta.services.access import Access
from mta.services.enqueue import enqueue
from mta.services.idn import in_ascii
from mta.services.incoming import LargeContent
from mta.services.records import record_reception, record_rejection, rejection
from mta.services.visitor import Visitor
from mta.spool.protocol import ContentStream, SpoolFull, Ticket
from mta_ext.content import Content
from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.headers import field_value
from mta_ext.session import PENDING, _Pending
from mta_ext.smtp_server import SmtpServerSession
from mta_ext.throttle import UNCOUNTED

if TYPE_CHECKING:
    from mta.net.server import ServerConnection
    from mta.services.reception import Reception

_log = logging.getLogger("mta.reception")

FAILED = b"451 4.3.0 the message could not be stored, try again later\r\n"
DISK_LOW = b"452 4.3.1 out of disk space, try again later\r\n"
NO_RELAY = b"550 5.7.1 relaying denied\r\n"
NOT_A_PROXY = b"550 5.7.0 not authorized\r\n"
BAD_MOMENT = b"501 5.5.4 HOLDUNTIL is no moment, or too far away\r\n"


class ReceptionSession:
    """Policy of one connection: the call-backs of its session (see ``mta_ext.smtp_server.SmtpServerHandler``)."""

    #: Whether people can log in here, by themselves or through a proxy.
    logs_in: bool = False

    __slots__ = (
        "_access",
        "_began",
        "_connection",
        "_eight_bit",
        "_forwarded",
        "_label",
        "_large",
        "_message_id",
        "_parameters",
        "_reception",
        "_recipients",
        "_reverse_path",
        "added",
        "address",
        "counted",
        "peer",
        "row",
        "session",
        "submitter",
        "trusted",
        "visitor",
    )

    def __init__(self, reception: "Reception", connection: "ServerConnection", address: str, access: Access) -> None:
        self._reception = reception
        self._connection = connection
        self._access = access
        #: Whom the connection is from; ``address`` is another one behind a client that may say XCLIENT.
        self.peer = address
        self.address = address
        #: As whose the connection is counted; "": it is not yet.
        self.counted = ""
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
        self._reverse_path = ""
        self._eight_bit = False
        self._recipients: list[Recipient] = []
        #: Content that is streamed, while it comes.
        self._large: LargeContent | None = None
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
        if parameters is not None and parameters.hold_until:
            moment, now = moment_of(parameters.hold_until), reception.clock.now_ms()
            if moment is None or moment > now + self._access.max_hold * 1000:
                return BAD_MOMENT
        if not domain.isascii():
            reverse_path, domain = self._as_ours(reverse_path, domain)  # reports find home
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
        if not domain.isascii():
            forward_path, domain = self._as_ours(forward_path, domain)
        refusal = None
        if domain in local.domains:
            refusal = local.refusal(forward_path)
        elif not (self.trusted or self._may_relay(forward_path, domain)):
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
            _note(recipient, parameters)
        self._recipients.append(recipient)
        return None

    def _as_ours(self, path: str, domain: str) -> tuple[str, str]:
        """Domains of ours have two spellings and are known by one; others stay as they came."""
        spelled = in_ascii(path)
        name = spelled.rpartition("@")[2]
        ours = name in self._reception.local.domains or self._reception.relay.admits(name, trusted=False)
        return (spelled, name) if ours else (path, domain)

    def _may_relay(self, forward_path: str, domain: str) -> bool:
        """Whether somebody untrusted may. Our postmaster is for everybody, wherever the mail is read (RFC 5321
        §4.5.1)."""
        reception = self._reception
        postmaster = forward_path == reception.local.postmaster
        return postmaster or reception.relay.admits(domain, trusted=False, forward_path=forward_path)

    # What policy does to the open transaction.

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(recipient.forward_path for recipient in self._recipients)

    def redirect(self, address: str, forward_path: str, domain: str, parameters: RcptParameters | None) -> None:
        """Takes another recipient in place of the one that the client asked for."""
        asked_for = Recipient(forward_path, domain)
        if parameters is not None:
            _note(asked_for, parameters)
        self._recipients.append(stand_in(address, [asked_for]))

    def redirect_all(self, address: str) -> None:
        """Takes another recipient in place of all."""
        self._recipients = [stand_in(address, self._recipients)]

    # Large content.

    def readable(self, content: Content, then: Callable[[], None]) -> bool:
        """Whether all octets of the content can be read; if not, ``then`` is called when they can."""
        return self._large is None or self._large.readable(content, then)

    @property
    def reader(self) -> Callable[[], Iterator[bytes]]:
        """For a content that is streamed."""
        assert self._large is not None
        return self._large.reader

    @property
    def mends(self) -> bool:
        return False

    @property
    def grows(self) -> bool:
        return self.visitor is not None and self.visitor.inspects

    def mended(self, head: bytes, spool_id: int, now: int) -> bytes:
        return head

    def on_data(self) -> bytes | _Pending | None:
        return None

    def on_piece(self, data: bytes) -> None:
        """Large content: it goes to the spool as it comes, behind the trace field."""
        large = self._large
        if large is None:
            reception = self._reception
            spool_id = reception.ids.next()
            self._message_id = field_value(data, b"message-id") or b""
            stream = reception.spool.open_stream(spool_id)
            self._large = large = LargeContent(self, stream, spool_id, self._connection, reception.clock.now_ms)
        large.take(data)

    def on_content(self, content: Content) -> bytes | _Pending | None:
        """An acceptable message is complete: to the spool with it. The reply comes from ``_settled``."""
        if self.visitor is not None:
            verdict = self.visitor.content(content)
            if verdict is not None:
                return verdict
        reception = self._reception
        now = reception.clock.now_ms()
        large = self._large
        stream: ContentStream | None = None
        if large is None:
            spool_id = reception.ids.next()
            self._message_id = content.message_id
            octets: bytes | None = self._whole(content, spool_id, now)
            size = len(octets)  # type: ignore[arg-type]
        else:
            self._large = None
            spool_id, stream = large.id, large.finish(content)
            octets, size = None, stream.octets
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
        return content.joined(self.trace(spool_id, now))

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
        record_reception(reception.events, message, text, took, self._message_id, self._connection.tls)
        if message.recipients[0].due <= message.arrival:  # what is held is found when it is due
            reception.scheduler.admit(message, ticket.content, ticket.entries, took)

    def on_refused_content(self) -> None:
        self.on_reset()

    def on_reset(self) -> None:
        self._recipients = []
        self._forwarded = {}
        if self._large is not None:
            self._large.abandon()
            self._large = None

    def on_error(self, exception: BaseException) -> None:
        """A bug in one of the call-backs: the session says 451, we say where."""
        _log.error("reception: %r", exception, exc_info=exception)

    def trace(self, spool_id: int, now: int) -> bytes:
        """The trace field, and what hooks have added so far."""
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

    @property
    def may_stand_for_others(self) -> bool:
        """It is a proxy of ours (``xclient_networks``)."""
        return within(self.peer, self._access.xclient)

    def on_xclient(self, attributes: dict[str, str]) -> bytes | _Pending | None:
        """The client stands for another one, which is the client from now on."""
        if not self.may_stand_for_others or (known(attributes, "LOGIN") is not None and not self.logs_in):
            return NOT_A_PROXY
        self.submitter = ""
        self._forwarded = {}
        if "ADDR" not in attributes:
            return None
        self.address = known(attributes, "ADDR") or UNKNOWN
        self.trusted = self._reception.relay.trusts(self.address)
        self._reception.count_as(self, self.address)
        guard = self._reception.guard
        refused = guard.enter_as_another(self._connection, self) if guard is not None else None
        if isinstance(refused, bytes):
            self.session.shut(refused)  # as whoever connects by himself
        return refused

    def on_xforward(self, attributes: dict[str, str]) -> bytes | _Pending | None:
        """Whom the next message is from, for records and events; rights stay those of the client."""
        if not self.may_stand_for_others:
            return NOT_A_PROXY
        self._forwarded |= attributes
        return None

    def leave(self) -> None:
        """The connection is gone: nobody waits for what is being decided."""

    def _client(self, attribute: str, own: str) -> str:
        """HELO or ADDR: what XFORWARD said, else our own knowledge."""
        return (known(self._forwarded, attribute) or own) if self._forwarded else own

    # What is written down.

    def _rejected(self, forward_path: str, reply: bytes, command: str) -> None:
        reception = self._reception
        now = reception.clock.now_ms() / 1000
        peer = PeerAddress(self._client("HELO", self.session.hello_name), self._client("ADDR", self.address))
        reception.counters.add(REJECTED, 1)
        event = rejection(self._reverse_path, forward_path, reply, command, self.label, peer, self._protocol(), now)
        record_rejection(reception.events, event, self.submitter, self._connection.tls)

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


def _note(recipient: Recipient, parameters: RcptParameters) -> None:
    """What the client asked about him."""
    recipient.notify, recipient.orcpt = parameters.notify or None, parameters.orcpt or None


def held_until(parameters: MailParameters, now: int) -> int:
    """When a message is due first (ms), by FUTURERELEASE (RFC 4865)."""
    if parameters.hold_for:
        return now + parameters.hold_for * 1000
    if parameters.hold_until:
        return max(now, moment_of(parameters.hold_until) or now)
    return now


def moment_of(text: str) -> int | None:
    """A date and time of RFC 3339 (ms), the second before for a leap second; None: there is none in the calendar."""
    try:
        return round(datetime.fromisoformat(text.replace(":60", ":59")).timestamp() * 1000)
    except ValueError:
        return None


def known(attributes: dict[str, str], name: str) -> str | None:
    """The value of an attribute of XCLIENT or XFORWARD; None where the proxy knows none."""
    value = attributes.get(name)
    return None if value is None or value.startswith("[") else value
