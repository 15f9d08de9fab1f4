"""A client that never reads costs bounded memory: its commands wait, and so does it."""

import socket

import pytest

from tests.harness.hostile import ENVELOPE, Footprint, Raw, good_client

#: Octets that one such client may cost the worker: some replies, and what one read has brought.
EACH = 1 << 20
CLIENTS = 10


def say_until_full(client: Raw, octets: bytes, limit: int) -> int:
    """Sends until the server does not take any more, or ``limit`` octets are out."""
    client.sock.settimeout(0.3)
    sent = 0
    try:
        while sent < limit:
            sent += client.sock.send(octets)
    except TimeoutError:
        pass  # this is what we wait for
    return sent


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"VRFY bob\r\n", b"WHAT\r\n"])
def test_a_client_that_never_reads_costs_bounded_memory(server, command: bytes) -> None:
    before = Footprint(server)
    clients = [Raw(server.port, receive_buffer=4096).hello() for _ in range(CLIENTS)]
    for client in clients:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        sent = say_until_full(client, command * 10_000, 100_000 * len(command))
        assert sent
    good_client(server)
    assert before.worker.anonymous() - before.anonymous < CLIENTS * EACH
    clients[0].sock.settimeout(20)
    if command != b"WHAT\r\n":
        for _ in range(5000):  # it reads at last, and everything is there in order
            assert clients[0].reply()[:3] in ("250", "252")
    for client in clients:
        client.sock.close()


def test_content_from_a_client_that_does_not_read_waits_as_well(server) -> None:
    before = Footprint(server)
    with Raw(server.port, receive_buffer=4096).hello() as client:
        client.say(b"VRFY bob\r\n" * 6000)
        message = ENVELOPE + b"x" * 60_000 + b"\r\n.\r\n"
        say_until_full(client, message, 400 * len(message))
        good_client(server)
        assert before.worker.anonymous() - before.anonymous < 8 << 20
