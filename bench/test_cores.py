"""What each core costs by itself: nanoseconds a command, gigabytes a second, microseconds a message.

Run by ``python -m pytest bench``; needs pytest-benchmark (``pip install '.[bench]'``). No socket and, but for the event
log, no disk. Each case first checks that the core did the work, so that a figure is never that of a refusal.
"""

import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark", reason="pip install '.[bench]'")

from bench.conftest import Measured
from bench.probe_source import body
from mta.log import Event, EventLog, PeerAddress, Response
from mta.model.message import Message, Recipient
from mta.model.received import received_field
from mta.spool.tables import decode_message, encode_message
from mta_ext.content import Content
from mta_ext.counters import Counters, define_bounds
from mta_ext.dots import Stuffer, Unstuffer, stuff
from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.headers import scan_headers
from mta_ext.params import parse_params
from mta_ext.path import parse_path
from mta_ext.pop3_server import Pop3ServerSession
from mta_ext.reply import Reply, ReplyParser
from mta_ext.session import PENDING, _Pending
from mta_ext.smtp_client import SmtpClientSession
from mta_ext.smtp_server import SmtpServerSession

KIB = 1024
SIZES = pytest.mark.parametrize("size", [4 * KIB, 100 * KIB], ids=["4KiB", "100KiB"])
_HEAD = b"From: <a@src.test>\r\nTo: <b@dst.test>\r\nSubject: core\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n"
_NOW = 1_800_000_000_000


def dotted_text(octets: int) -> bytes:
    """Lines of 78 octets, every tenth beginning with a dot."""
    lines = [(b"." if n % 10 == 0 else b"x") + b"y" * 75 + b"\r\n" for n in range(octets // 78)]
    return b"".join(lines)


# Server session.


class Acceptor:
    """Says yes to everything, like a policy without work; content is joined with a trace field as reception does."""

    def __init__(self) -> None:
        self.contents = 0
        self.octets = 0

    def on_hello(self, verb: str, name: str) -> None:
        return None

    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> None:
        return None

    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> None:
        return None

    def on_data(self) -> None:
        return None

    def on_piece(self, data: bytes) -> None:
        self.octets += len(data)

    def on_content(self, content: Content) -> _Pending:
        self.contents += 1
        self.octets += len(content.joined(b"Received: by core\r\n"))
        return PENDING

    def on_refused_content(self) -> None:
        raise AssertionError("the session refused the content")

    def on_reset(self) -> None:
        return None


def greeted(handler: Acceptor) -> SmtpServerSession:
    session = SmtpServerSession(handler, "core.test", stream_above=16 << 20)
    session.greet()
    session.feed(b"EHLO src.test\r\n")
    session.take_output()
    return session


def test_a_command_through_the_server_session(measured: Measured) -> None:
    """MAIL, RCPT, RSET over and over: parsed, decided by a Python call-back and answered."""
    session = greeted(Acceptor())
    block = b"MAIL FROM:<a@src.test> SIZE=4096\r\nRCPT TO:<b@dst.test>\r\nRSET\r\n" * 10

    def commands() -> bytes:
        session.feed(block)
        return session.take_output()

    assert commands().count(b"250 ") == 30
    measured(commands, 30, "command")


@SIZES
def test_a_whole_transaction_through_the_server_session(measured: Measured, size: int) -> None:
    """As a pipelining client sends it: two reads, two writes, one decision outstanding."""
    handler = Acceptor()
    session = greeted(handler)
    envelope = b"MAIL FROM:<a@src.test> SIZE=4096\r\nRCPT TO:<b@dst.test>\r\nDATA\r\n"
    content = _HEAD + body(size) + b".\r\n"

    def transaction() -> bytes:
        session.feed(envelope)
        replies = session.take_output()
        session.feed(content)
        session.answer(b"250 2.0.0 queued\r\n")
        return replies + session.take_output()

    assert transaction().endswith(b"250 2.0.0 queued\r\n")
    assert handler.contents == 1
    measured(transaction, 1, "transaction")
    assert handler.octets == handler.contents * (len(content) - len(b".\r\n") + len(b"Received: by core\r\n"))


# POP3.


class OneMaildrop:
    """Lets everybody in to ``messages`` messages, each ``content`` in one piece."""

    def __init__(self, messages: int, content: bytes) -> None:
        self.sizes = array("Q", [len(content)]) * messages
        self.uids = array("Q", range(messages))
        self.content = content

    def on_login(self, user: str, password: str) -> None:
        self.session.open_maildrop(self.sizes, self.uids)

    def on_sasl(self, mechanism: str, response: bytes | None) -> bytes:
        return b"-ERR\r\n"

    def on_retrieve(self, index: int) -> Iterator[bytes]:
        return iter((self.content,))

    def on_quit(self, deleted: list[int]) -> None:
        return None

    def start(self) -> Pop3ServerSession:
        self.session = Pop3ServerSession(self, "core.test", plaintext_login=True)
        self.session.greet()
        self.session.feed(b"USER a\r\nPASS b\r\n")
        self.session.take_output()
        return self.session


def all_of(session: Pop3ServerSession) -> int:
    octets = len(session.take_output())
    while session.go_on():
        octets += len(session.take_output())
    return octets


def test_a_unique_id_of_a_large_maildrop(measured: Measured) -> None:
    """UIDL of 100,000 messages, in parts as they are written."""
    session = OneMaildrop(100_000, b"").start()

    def listing() -> int:
        session.feed(b"UIDL\r\n")
        return all_of(session)

    assert listing() == len(b"+OK\r\n") + 2_088_895 + len(b".\r\n")
    measured(listing, 100_000, "unique-id")


@SIZES
def test_a_message_by_retr(measured: Measured, size: int) -> None:
    """Ten messages in one read; a tenth of their lines get a dot."""
    content = _HEAD + dotted_text(size)
    session = OneMaildrop(10, content).start()
    block = b"".join(b"RETR %d\r\n" % number for number in range(1, 11))

    def messages() -> int:
        session.feed(block)
        return all_of(session)

    assert messages() > 10 * len(content)
    measured(messages, 10, "message")


# Client session.


class Deliverer:
    """The shell of one connection, without a socket."""

    def __init__(self) -> None:
        self.delivered = 0

    def on_ready(self) -> None:
        return None

    def on_room(self) -> None:
        return None

    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        assert stage == "DOT"
        assert reply.positive
        self.delivered += 1

    def on_trouble(self, stage: str, reply: Reply | None, reason: str, transactions: list[Any]) -> None:
        raise AssertionError(f"{stage}: {reason}")


@SIZES
def test_a_whole_transaction_through_the_client_session(measured: Measured, size: int) -> None:
    """Envelope in one write, content in another, four replies."""
    handler = Deliverer()
    session = SmtpClientSession(handler, "core.test")
    session.feed(b"220 sink ESMTP\r\n")
    session.take_output()
    session.feed(b"250-sink\r\n250-PIPELINING\r\n250-SIZE 0\r\n250 8BITMIME\r\n")
    content = _HEAD + body(size)

    def transaction() -> None:
        session.deliver(None, "a@src.test", ["b@dst.test"], content, size=len(content), dotted=False)
        session.take_output()
        session.feed(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n")
        while session.has_output:
            session.take_output()
        session.feed(b"250 2.0.0 ok: queued as 12345\r\n")

    transaction()
    assert handler.delivered == 1
    measured(transaction, 1, "transaction")


# Octets.


@pytest.mark.parametrize("dots", [False, True], ids=["plain", "dotted"])
def test_content_through_the_unstuffer(measured: Measured, dots: bool) -> None:
    text = dotted_text(1 << 20) if dots else body(1 << 20)
    octets = stuff(text) + b".\r\n"

    def unstuff() -> bytes:
        return Unstuffer().feed(octets)[0]

    assert unstuff() == text
    measured(unstuff, len(octets), "octets")


@pytest.mark.parametrize("dots", [False, True], ids=["plain", "dotted"])
def test_content_through_stuff(measured: Measured, dots: bool) -> None:
    text = dotted_text(1 << 20) if dots else body(1 << 20)
    assert Unstuffer().feed(stuff(text) + b".\r\n")[0] == text
    measured(lambda: stuff(text), len(text), "octets")


def test_content_through_the_stuffer_in_pieces(measured: Measured) -> None:
    """Pieces of 64 KiB, as the spool hands them out."""
    text = dotted_text(1 << 20)
    pieces = [text[start : start + 65_536] for start in range(0, len(text), 65_536)]

    def through() -> bytes:
        stuffer = Stuffer()
        return b"".join([*map(stuffer.feed, pieces), stuffer.finish()])

    assert through() == stuff(text) + b".\r\n"
    measured(through, len(text), "octets")


def test_a_path(measured: Measured) -> None:
    path = parse_path(b"<some.person+tag@mail.customer.example>")
    assert path is not None
    assert path.domain == "mail.customer.example"
    measured(lambda: parse_path(b"<some.person+tag@mail.customer.example>"), 1, "path")


def test_parameters(measured: Measured) -> None:
    assert parse_params(b"SIZE=4096 BODY=8BITMIME") == {"SIZE": "4096", "BODY": "8BITMIME"}
    measured(lambda: parse_params(b"SIZE=4096 BODY=8BITMIME"), 1, "argument list")


def test_a_reply(measured: Measured) -> None:
    parser = ReplyParser()
    octets = b"250 2.0.0 ok: queued as 12345\r\n" * 10
    assert len(parser.feed(octets)) == 10
    measured(lambda: parser.feed(octets), 10, "reply")


def test_a_header_section(measured: Measured) -> None:
    head = b"Received: from a by b; Thu, 01 Jan 2026 00:00:00 +0000\r\n" * 5 + _HEAD
    assert scan_headers(head).hops == 5
    measured(lambda: scan_headers(head), 1, "header section")


# Records.


def test_a_message_record(measured: Measured) -> None:
    """Encoded for the spool and decoded again."""
    recipients = [Recipient("b@dst.test", "dst.test", due=_NOW)]
    message = Message(1, "a@src.test", recipients, 4096, _NOW, "s1", "src.test", "127.0.0.1")
    assert decode_message(encode_message(message)) == message
    measured(lambda: decode_message(encode_message(message)), 1, "record, both ways")


def test_an_event(measured: Measured, tmp_path: Path) -> None:
    """Made, encoded and handed over; the log's thread writes it meanwhile."""
    log = EventLog(str(tmp_path / "events.jsonl"))
    response = Response(code=250, enhanced_code="2.0.0", content="ok: queued", command="DOT")
    peer = PeerAddress(name="sink.test", addr="127.0.0.1")

    def write() -> None:
        log.write(
            Event(
                type="Delivery",
                id="01JABCDEFGHJK",
                sender="a@src.test",
                recipient="b@dst.test",
                queue="dst.test",
                site="dst.test",
                size=4096,
                response=response,
                peer_address=peer,
                timestamp=_NOW / 1000,
                created=_NOW / 1000,
                num_attempts=1,
                reception_protocol="ESMTP",
                delivery_protocol="ESMTP",
                delays=(0.0, 0.001, 0.0, 0.002),
            )
        )

    measured(write, 1, "event")
    log.close()
    assert not log.lost
    assert (tmp_path / "events.jsonl").stat().st_size > 0


def test_a_trace_field(measured: Measured) -> None:
    def field() -> bytes:
        return received_field("src.test", "127.0.0.1", "core.test", "ESMTP", "01JABCDEFGHJK", "b@dst.test", _NOW)

    assert field().startswith(b"Received: from src.test")
    measured(field, 1, "field")


def test_a_counter(measured: Measured) -> None:
    counters = Counters(mmap.mmap(-1, 4096), 0, 64)

    def increments() -> None:
        for _ in range(100):
            counters.add(3)

    measured(increments, 100, "increment")
    assert counters.get(3) > 0


def test_a_histogram(measured: Measured) -> None:
    counters = Counters(mmap.mmap(-1, 4096), 0, 64)
    bounds = define_bounds((0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1.0))

    def observations() -> None:
        for _ in range(100):
            counters.observe(0, bounds, 0.004)

    measured(observations, 100, "observation")
    assert sum(counters.snapshot()[:8]) > 0
