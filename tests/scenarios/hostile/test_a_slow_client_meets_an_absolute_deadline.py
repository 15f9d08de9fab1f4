"""A slow client meets an absolute deadline: octets alone buy no time for a command, and for content only at a rate.

Limits of seconds here stand for the minutes of the defaults. A deadline is late by at most an eighth and one second.
"""

import threading

import pytest

from mta.clock import SystemClock
from tests.harness.hostile import ENVELOPE, Footprint, Raw, good_client

TOO_SLOW = "421 4.4.2 too slow, closing the connection"
COMMAND, CONTENT, RATE = 1.0, 2.0, 10_000
LATE = 2.0


@pytest.fixture
def strict(mta):
    server = mta(
        route=[{"domain": "*", "to": "discard:"}],
        limits={"command_timeout": COMMAND, "content_timeout": CONTENT, "minimum_rate": f"{RATE}/s"},
    )
    good_client(server)
    server.wait_for_event("Delivery")
    return server


def drip(client: Raw, octets: bytes, every: float, over: threading.Event) -> None:
    """One piece every ``every`` seconds until the server has had enough."""
    while not over.wait(every):
        client.say(octets)


def seconds_until_the_end(clients: dict[str, tuple[Raw, bytes, float]]) -> dict[str, float]:
    """Each drips its octets, all at once; the seconds until each has heard that it is too slow."""
    clock = SystemClock()
    began = clock.monotonic()
    ended: dict[str, float] = {}

    def run(name: str, client: Raw, octets: bytes, every: float) -> None:
        over = threading.Event()
        sender = threading.Thread(target=drip, args=(client, octets, every, over))
        sender.start()
        replies = client.rest()
        over.set()
        ended[name] = clock.monotonic() - began
        sender.join()
        client.sock.close()
        assert replies == [TOO_SLOW], (name, replies)

    threads = [threading.Thread(target=run, args=(name, *how)) for name, how in clients.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def in_content(port: int) -> Raw:
    client = Raw(port).hello()
    client.say(ENVELOPE)
    assert [reply[:3] for reply in client.replies(3)] == ["250", "250", "354"]
    return client


def test_a_slow_client_meets_an_absolute_deadline(strict) -> None:
    before = Footprint(strict)
    port = strict.port
    burst = in_content(port)
    burst.say(b"x: y\r\n\r\n" + (b"x" * 998 + b"\r\n") * 500)  # 500 kB at once: a minute nearly at the minimum rate
    ended = seconds_until_the_end(
        {
            "says nothing": (Raw(port), b"", 0.2),
            "says nothing after EHLO": (Raw(port).hello(), b"", 0.2),
            "one octet of a command now and then": (Raw(port).hello(), b"N", 0.2),
            "one octet of content now and then": (in_content(port), b"x", 0.1),
            "content below the minimum rate": (in_content(port), b"x" * 98 + b"\r\n", 0.05),
            "a fast beginning and a slow end": (burst, b"x", 0.2),
        }
    )
    for name, seconds in ended.items():
        allowed = CONTENT if "content" in name or "end" in name else COMMAND
        assert allowed * 0.8 <= seconds <= allowed * 1.7 + LATE, (name, ended)
    good_client(strict)
    before.back()


def test_steady_clients_take_longer_than_any_deadline(strict) -> None:
    """Commands at any pace below the deadline, and content above the minimum rate, go on for as long as they like."""
    clock = SystemClock()
    began = clock.monotonic()
    talker, writer = Raw(strict.port).hello(), in_content(strict.port)
    pause = threading.Event()
    while clock.monotonic() - began < CONTENT + COMMAND + LATE:
        pause.wait(0.1)
        assert talker.alive()
        writer.say((b"x" * 998 + b"\r\n") * 3)
    with talker, writer:
        assert writer.ask(b".\r\n").startswith("250 2.0.0 ")
        assert talker.transaction().startswith("250 2.0.0 ")


def test_a_client_that_neither_reads_nor_goes_is_cut_off(strict) -> None:
    before = Footprint(strict)
    with Raw(strict.port, receive_buffer=4096).hello() as client:
        client.sock.settimeout(0.3)
        try:
            while True:
                client.sock.send(b"VRFY bob\r\n" * 10_000)
        except TimeoutError:
            pass  # the server takes nothing any more
        good_client(strict)
        before.back()  # while our end is still open
