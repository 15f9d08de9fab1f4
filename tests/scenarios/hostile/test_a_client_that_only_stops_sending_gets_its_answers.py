"""A client that only stops sending, as ``printf … | nc`` does, gets the answers to what it sent."""

import socket

from tests.harness.hostile import CONTENT, ENVELOPE, HELLO, Raw


def test_a_client_that_only_stops_sending_gets_its_answers(server) -> None:
    for end in (b"", b"QUIT\r\n", b"NOOP\r\n" * 20_000):
        with Raw(server.port) as client:
            client.say(HELLO + (ENVELOPE + CONTENT + b".\r\n") * 3 + end)
            client.sock.shutdown(socket.SHUT_WR)
            codes = [reply[:3] for reply in client.rest()]
            assert codes[:13] == ["250", *["250", "250", "354", "250"] * 3]
            assert len(codes) == 13 + end.count(b"\r\n")
