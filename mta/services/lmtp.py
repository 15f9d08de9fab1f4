"""LMTP reception: takes mail for mailboxes, and answers each recipient after the commit (RFC 2033).

Owns: the open transaction of each connection, who its recipients are, and the fields that the store adds. Never does:
parse, touch a socket, or write; it gives the store a delivery. Loop thread only.

What is kept is ``Return-Path`` and ``Delivered-To``, then the content as it came. A Return-Path that it has already
stays where it is, below ours: RFC 5321 §4.4 lets the final delivery remove it (MAY), readers take the first one, and
what came in goes out unchanged. An address that leads to several mailboxes here (an alias, a list) is one recipient
of the transaction: it is stored only when all of them take it, else the answer is that of the first that did not.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import NamedTuple

from mta.clock import Clock
from mta.directory.expand import expand
from mta.directory.protocol import Directory, DirectoryUnreadable
from mta.errors import StorageError
from mta.log import Event, EventLog, PeerAddress, Response
from mta.metrics.layout import REJECTED
from mta.model.spoolid import IdSource, format_id
from mta.net.server import ServerConnection
from mta.services.connections import Connections
from mta.services.idn import in_ascii
from mta.store.protocol import ContentStream, Copy, Delivery, Outcome, QuotaExceeded, Store, StoreFull
from mta_ext.content import Content
from mta_ext.counters import Counters
from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.session import PENDING, _Pending
from mta_ext.smtp_server import SmtpServerSession

_log = logging.getLogger("mta.lmtp")

TOO_MANY = b"421 4.3.2 too many connections, try again later\r\n"
DRAINING = b"421 4.3.2 shutting down, try again later\r\n"
FAILING = b"421 4.3.2 storage trouble, try again later\r\n"
STRANGER = b"554 5.7.1 LMTP is for hosts in relay.networks\r\n"
FAILED = b"451 4.3.0 the message could not be stored, try again later\r\n"
UNREADABLE = b"451 4.3.0 the directory cannot be read, try again later\r\n"
DISK_LOW = b"452 4.3.1 out of disk space, try again later\r\n"
UNKNOWN = b"550 5.1.1 no such mailbox here\r\n"
FULL = b"552 5.2.2 the mailbox is full\r\n"

#: Octets of a stream that may wait for the disk before its connection is not read any more.
STREAM_HIGH = 4 * 1_048_576
PROTOCOL = "LMTP"
#: Not BINARYMIME: mail is fetched in lines, so it is the client that converts. Not DSN: here its way ends, and the
#: client, who has the envelope, reports what was delivered (RFC 3461 §5.2.2); nor what would go with mail any further.
EXTENSIONS = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES")
EXTENSIONS_TLS = (*EXTENSIONS, "STARTTLS")
#: Seconds between two lines in the log about a directory or store that stays unreadable.
REMIND = 60.0


Opened = Callable[[ServerConnection, tuple[str, int]], SmtpServerSession | bytes]


class LmtpSettings(NamedTuple):
    """From the configuration; octets and counts. ``local``: the domains in which an address that the directory does
    not know is nobody's."""

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
    local: tuple[str, ...] = ()
    in_step: bool = True  # who does not wait where RFC 2920 has it wait is sent away


class Lmtp:
    """One per store process: what all its LMTP connections share. ``trusts``: whether a client may deliver here."""

    def __init__(
        self,
        settings: LmtpSettings,
        trusts: Callable[[str], bool],
        directory: Directory,
        store: Store,
        ids: IdSource,
        events: EventLog,
        counters: Counters,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.store = store
        self.ids = ids
        self.events = events
        self.counters = counters
        self.clock = clock
        self.connections: Connections[ServerConnection] = Connections(
            settings.connections, settings.connections_per_client, counters
        )
        #: The 421 for new connections and transactions: draining, store failed. None: all is well.
        self.refusal: bytes | None = None
        self._trusts = trusts
        self._remind_at = 0.0

    def listener(self, tls: str, off: Collection[str] = ()) -> "Opened":
        """``opened`` for the connections of one listener; ``tls`` and extensions that are ``off`` as the configuration
        has them."""
        offered = EXTENSIONS_TLS if tls in ("starttls", "required") else EXTENSIONS
        return partial(self._opened, tls, tuple(name for name in offered if name not in off))

    def opened(self, connection: ServerConnection, peer: tuple[str, int]) -> SmtpServerSession | bytes:
        """As ``listener("none")`` has it."""
        return self._opened("none", EXTENSIONS, connection, peer)

    def _opened(
        self, tls: str, extensions: tuple[str, ...], connection: ServerConnection, peer: tuple[str, int]
    ) -> SmtpServerSession | bytes:
        """A connection came in: its session, or the reply that turns it away."""
        address = peer[0]
        settings = self.settings
        if self.refusal is not None:
            return self.refusal
        if not self._trusts(address):
            return STRANGER
        if not self.connections.room_for(address):
            return TOO_MANY
        self.connections.add(connection, address)
        handler = LmtpSession(self, connection, address)
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
            lmtp=True,
            extensions=extensions,
            secure=tls == "implicit",
            tls_required=tls == "required",
            in_step=settings.in_step,
        )
        return handler.session

    def closed(self, connection: ServerConnection) -> None:
        self.connections.remove(connection)

    def drain(self, reply: bytes = DRAINING) -> None:
        """Takes nothing new; idle connections are closed now, the others after their transaction."""
        self.refusal = reply
        self.connections.shut_idle(reply)

    def complain(self, error: StorageError) -> None:
        """One line now and then: with every recipient it would fill the disk that is in trouble already."""
        now = self.clock.monotonic()
        if now >= self._remind_at:
            self._remind_at = now + REMIND
            _log.error("%s: recipients get 451 until it can be read again", error)

    def mailboxes(self, address: str, domain: str) -> list[int]:
        """Those that the address leads to; none when it leads nowhere, or also elsewhere: for elsewhere is the
        worker's business. Raises DirectoryUnreadable."""
        if "@" not in address:  # a bare postmaster
            home = self.settings.local[0] if self.settings.local else domain
            address = f"{address}@{home}"
        address = in_ascii(address)
        met = self.directory.resolve(address)
        if met is None or met.kind == "mailbox":
            return [] if met is None else [met.mailbox]
        recipients = expand(address, self.directory.resolve, self.settings.local.__contains__).recipients
        found = [recipient.mailbox for recipient in recipients]
        return found if all(found) else []


class _Recipient:
    """One accepted RCPT: the address given, where its copies are in the delivery, and what it is answered."""

    __slots__ = ("address", "copies", "domain", "mailboxes")

    def __init__(self, address: str, domain: str, mailboxes: list[int]) -> None:
        self.address = address
        self.domain = domain
        self.mailboxes = mailboxes
        self.copies: list[int] = []


class _Transaction(NamedTuple):
    """What was handed to the store, for the answers."""

    reverse_path: str
    recipients: list[_Recipient]
    size: int
    began: float


class LmtpSession:
    """Policy of one connection: the call-backs of its session (see ``mta_ext.smtp_server.SmtpServerHandler``)."""

    __slots__ = (
        "_began",
        "_connection",
        "_label",
        "_lmtp",
        "_recipients",
        "_reverse_path",
        "_size",
        "_stream",
        "address",
        "session",
    )

    def __init__(self, lmtp: Lmtp, connection: ServerConnection, address: str) -> None:
        self._lmtp = lmtp
        self._connection = connection
        self.address = address
        self.session: SmtpServerSession
        self._label = ""
        self._reverse_path = ""
        self._size = 0
        self._recipients: list[_Recipient] = []
        self._stream: ContentStream | None = None
        self._began = 0.0

    @property
    def label(self) -> str:
        """The session's id in events."""
        if not self._label:
            self._label = format_id(self._lmtp.ids.next())
        return self._label

    def on_hello(self, verb: str, name: str) -> bytes | _Pending | None:
        return None

    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> bytes | _Pending | None:
        if self._lmtp.refusal is not None:
            return self._lmtp.refusal  # the session closes after a 421
        self._reverse_path = reverse_path
        self._size = size
        self._recipients = []
        self._began = self._lmtp.clock.monotonic()
        return None

    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> bytes | _Pending | None:
        try:
            mailboxes = self._lmtp.mailboxes(forward_path, domain)
            refusal = self._refusal(mailboxes)
        except DirectoryUnreadable as error:
            self._lmtp.complain(error)
            refusal = UNREADABLE
        except StorageError as error:
            self._lmtp.complain(error)
            refusal = FAILED
        if refusal is not None:
            self._rejected(forward_path, refusal, "RCPT")
            return refusal
        self._recipients.append(_Recipient(forward_path, domain, mailboxes))
        return None

    def _refusal(self, mailboxes: list[int]) -> bytes | None:
        if not mailboxes:
            return UNKNOWN
        for mailbox in mailboxes:
            error = self._lmtp.store.refusal(mailbox, self._size)
            if error is not None:
                return reply_to(error)
        return None

    def on_data(self) -> bytes | _Pending | None:
        return None

    def on_piece(self, data: bytes) -> None:
        """Large content: it goes to the disk as it comes."""
        if self._stream is None:
            self._stream = self._lmtp.store.open_stream()
            self._stream.on_drained = self._connection.release
        self._stream.append(data)
        if self._stream.backlog > STREAM_HIGH:
            self._connection.hold()

    def on_content(self, content: Content) -> bytes | _Pending | None:
        """An acceptable message is complete: to the store with it. The replies come from ``_settled``."""
        stream, self._stream = self._stream, None
        octets: bytes | None = content.joined(b"")
        if stream is not None:
            stream.append(octets or b"")
            octets = None
            self._connection.unhold()  # all of it has come; who drains the stream of a refused one tells nobody
        recipients, self._recipients = self._recipients, []
        transaction = _Transaction(self._reverse_path, recipients, content.size, self._began)

        def settled(delivery: Delivery, outcomes: list[Outcome]) -> None:
            self._settled(transaction, outcomes)

        copies = list(copies_for(recipients, self._reverse_path))
        self._lmtp.store.deliver(Delivery(copies, octets, settled, stream))
        return PENDING

    def _settled(self, transaction: _Transaction, outcomes: list[Outcome]) -> None:
        """After commit point C: only here does a 250 leave."""
        replies = []
        for recipient in transaction.recipients:
            results = [outcomes[at] for at in recipient.copies]
            error = next((outcome for outcome in results if isinstance(outcome, StorageError)), None)
            if error is not None:
                replies.append(reply_to(error))
                continue
            text = format_id(results[0])  # type: ignore[arg-type]
            replies.append(b"250 2.0.0 %b stored\r\n" % text.encode())
        self._connection.answer(b"".join(replies))
        for recipient, reply in zip(transaction.recipients, replies, strict=True):
            self._log(transaction, recipient, reply)

    def on_refused_content(self) -> None:
        self.on_reset()

    def on_reset(self) -> None:
        self._recipients = []
        if self._stream is not None:
            self._stream.abandon()
            self._stream = None
            self._connection.unhold()

    def on_error(self, exception: BaseException) -> None:
        """A bug in one of the call-backs: the session says 451, we say where."""
        _log.error("LMTP: %r", exception, exc_info=exception)

    def _log(self, transaction: _Transaction, recipient: _Recipient, reply: bytes) -> None:
        """A Reception names the copy as the reply did: by that word the relay's Delivery and this belong together."""
        if not reply.startswith(b"250"):
            self._rejected(recipient.address, reply, "DATA", transaction.reverse_path)
            return
        lmtp = self._lmtp
        now = lmtp.clock.now_ms() / 1000
        lmtp.events.write(
            Event(
                type="Reception",
                id=reply.split(b" ")[2].decode(),
                sender=transaction.reverse_path,
                recipient=recipient.address,
                queue=recipient.domain,
                size=transaction.size,
                peer_address=PeerAddress(self.session.hello_name, self.address),
                timestamp=now,
                created=now,
                session_id=self.label,
                reception_protocol=PROTOCOL if self._connection.tls is None else f"{PROTOCOL}S",
                delays=(lmtp.clock.monotonic() - transaction.began, 0.0, 0.0, 0.0),
            )
        )

    def _rejected(self, forward_path: str, reply: bytes, command: str, sender: str | None = None) -> None:
        lmtp = self._lmtp
        now = lmtp.clock.now_ms() / 1000
        code, status, text = reply.decode().rstrip().split(" ", 2)
        lmtp.counters.add(REJECTED, 1)
        lmtp.events.write(
            Event(
                type="Rejection",
                sender=self._reverse_path if sender is None else sender,
                recipient=forward_path,
                timestamp=now,
                created=now,
                session_id=self.label,
                peer_address=PeerAddress(self.session.hello_name, self.address),
                response=Response(int(code), status, text, command),
                reception_protocol=PROTOCOL if self._connection.tls is None else f"{PROTOCOL}S",
            )
        )


def copies_for(recipients: Iterable[_Recipient], reverse_path: str) -> Iterable[Copy]:
    """One for each mailbox, however many of the addresses lead to it; the first of them is the one that is named."""
    places: dict[int, int] = {}
    for recipient in recipients:
        for mailbox in recipient.mailboxes:
            known = mailbox in places
            recipient.copies.append(places.setdefault(mailbox, len(places)))
            if not known:
                yield Copy(mailbox, head(reverse_path, recipient.address))


def head(reverse_path: str, address: str) -> bytes:
    """The fields that the store adds, where RFC 5321 §4.4 wants them: in front of everything."""
    return f"Return-Path: <{reverse_path}>\r\nDelivered-To: {address}\r\n".encode("utf-8", "surrogateescape")


def reply_to(error: StorageError) -> bytes:
    """What a client hears of it."""
    if isinstance(error, QuotaExceeded):
        return FULL
    return DISK_LOW if isinstance(error, StoreFull) else FAILED
