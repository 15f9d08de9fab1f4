"""The POP3 client of the tests shows octets as they came, wherever the reads fall, and strips what the store adds."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.harness.corpora import crlf
from tests.harness.mail_house import below_trace
from tests.harness.pop3_wire import Pop3Wire, unstuffed

TRANSCRIPT = (
    b"+OK hello\r\n"
    b"+OK\r\n.\r\n"
    b"+OK\r\none\r\n.\r\n"
    b"+OK here\r\n..\r\n...x\r\n\r\n.\r\n"
    b"-ERR no\r\n"
    b"+OK bye\r\n"
)  # fmt: skip


@pytest.fixture(params=[1, 2, 3, 7, 1000])
def wire(request: pytest.FixtureRequest) -> Iterator[Pop3Wire]:
    """A server that says the transcript in pieces of that size, whatever it is asked."""
    listener = socket.create_server(("127.0.0.1", 0))

    def say() -> None:
        connection, _ = listener.accept()
        with connection:
            for start in range(0, len(TRANSCRIPT), request.param):
                connection.sendall(TRANSCRIPT[start : start + request.param])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    thread = threading.Thread(target=say)
    thread.start()
    session = Pop3Wire(listener.getsockname()[1])
    yield session
    session.cut()
    thread.join(30)
    listener.close()


def test_every_reply_is_read_to_its_end_and_no_further(wire: Pop3Wire) -> None:
    assert wire.greeting == b"+OK hello"
    assert wire.listing("LIST") == []
    assert wire.listing("LIST") == [b"one"]
    assert wire.content("RETR 1") == b".\r\n..x\r\n\r\n"
    assert wire.say("RETR 2") == b"-ERR no"
    assert wire.say("QUIT") == b"+OK bye"
    with pytest.raises(ConnectionError):
        wire.line()


def test_dots_are_unstuffed_at_the_beginning_of_lines_only() -> None:
    assert unstuffed(b"..\r\n.x.y\r\nx.\r\n") == b".\r\nx.y\r\nx.\r\n"
    assert unstuffed(b"") == b""


def test_what_the_store_adds_is_taken_away_and_what_the_sender_wrote_is_not() -> None:
    added = b"Return-Path: <>\r\nDelivered-To: mark@minasi.example\r\n"
    received = b"Received: from a\r\n\tby b;\r\n\tnow\r\n"
    assert below_trace(added + b"Subject: x\r\n\r\n") == b"Subject: x\r\n\r\n"
    assert below_trace(added + received + received + b"\r\n") == received + b"\r\n"
    with pytest.raises(AssertionError):
        below_trace(b"Subject: x\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "wire"), [(b"", b""), (b"a\nb", b"a\r\nb\r\n"), (b"a\r\n\n", b"a\r\n\r\n"), (b"\rx\n", b"\rx\r\n")]
)
def test_line_ends_become_those_of_the_wire(text: bytes, wire: bytes) -> None:
    assert crlf(text) == wire
