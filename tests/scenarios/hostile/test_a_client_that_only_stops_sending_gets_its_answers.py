"""A client that only stops sending gets the answers to what it sent; ``printf … | nc``, which waits for nothing, is told
that it has to."""

import socket

from tests.harness.hostile import CONTENT, ENVELOPE, HELLO, Raw


def test_a_client_that_only_stops_sending_gets_its_answers(server) -> None:
    for end in (b"", b"QUIT\r\n", b"NOOP\r\n" * 20_000):
        with Raw(server.port) as client:
            client.advance(HELLO + ENVELOPE + CONTENT + b".\r\n" + end)
            client.sock.shutdown(socket.SHUT_WR)
            codes = [reply[:3] for reply in client.rest()]
            assert codes[0] == "250"
            assert len(codes) == 1 + end.count(b"\r\n")


def test_a_client_that_waits_for_nothing_is_told_so(server) -> None:
    for said in (HELLO + ENVELOPE + CONTENT + b".\r\n", HELLO + b"NOOP\r\n" * 20_000):
        with Raw(server.port) as client:
            client.say(said)
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest() == ["554 5.5.0 improper command pipelining"]


def test_content_behind_a_data_that_is_refused_is_not_read_as_commands(server) -> None:
    with Raw(server.port) as client:
        client.hello()
        client.say(ENVELOPE.replace(b"RCPT TO:<bob@arlington.example>", b"RCPT TO:<>") + ENVELOPE + CONTENT + b".\r\n")
        assert [reply[:3] for reply in client.replies(2)] == ["250", "501"]
        assert client.rest() == ["554 5.5.0 improper command pipelining"]
