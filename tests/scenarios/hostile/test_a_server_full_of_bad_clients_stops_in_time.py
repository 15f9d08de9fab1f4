"""A server full of bad clients stops in time: those who idle hear 421 at once, those who hang do not hold it up."""

from mta.clock import SystemClock
from tests.harness.hostile import ENVELOPE, HELLO, Raw, close_all, good_client


def test_a_server_full_of_bad_clients_stops_in_time(mta) -> None:
    server = mta(route=[{"domain": "*", "to": "discard:"}], drain_timeout="3s")
    good_client(server)
    idle = [Raw(server.port).hello() for _ in range(50)]
    deaf = [Raw(server.port, receive_buffer=4096).hello() for _ in range(5)]
    for client in deaf:
        client.say(b"VRFY bob\r\n" * 10_000)
    half = [Raw(server.port) for _ in range(5)]
    for client in half:
        client.advance(HELLO + ENVELOPE + b"Subject: never ends\r\n")
    clock = SystemClock()
    began = clock.monotonic()
    server.stop()
    assert clock.monotonic() - began < 8
    for client in idle:
        assert client.rest() == ["421 4.3.2 shutting down, try again later"]
    close_all([*deaf, *half, *idle])


def test_a_server_with_idle_clients_only_stops_at_once(mta) -> None:
    server = mta(route=[{"domain": "*", "to": "discard:"}], drain_timeout="20s")
    idle = [Raw(server.port).hello() for _ in range(200)]
    clock = SystemClock()
    began = clock.monotonic()
    server.stop()
    assert clock.monotonic() - began < 5
    close_all(idle)
