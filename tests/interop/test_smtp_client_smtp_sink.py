"""The client session against Postfix's smtp-sink over a plain blocking socket."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.harness.client_driver import Driver, Job

SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
MESSAGES = 50


@pytest.fixture
def start_sink() -> Iterator[object]:
    """Starts smtp-sink with the options given; returns a connected socket. Ends it by its process."""
    if SINK is None:
        if os.environ.get("MTA_REQUIRE_PEERS"):
            pytest.fail("smtp-sink (Debian: postfix) is not installed, and MTA_REQUIRE_PEERS is set")
        pytest.skip("smtp-sink (Debian: postfix) is not installed")
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> socket.socket:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        running.append(subprocess.Popen([SINK, *user, *options, f"127.0.0.1:{port}", "100"]))
        while running[-1].poll() is None:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=30)
            except ConnectionRefusedError:
                continue  # not listening yet
        raise AssertionError("smtp-sink ended at once")

    yield start
    for process in running:
        process.terminate()
        process.wait()


def talk(driver: Driver, connection: socket.socket) -> int:
    """Reads, feeds and writes until the session closes; returns how many reads had something in them."""
    reads = 0
    with connection:
        while not driver.session.closing:
            octets = connection.recv(65_536)
            reads += bool(octets)
            if not octets:
                driver.session.eof()
                break
            driver.session.feed(octets)
            while driver.session.has_output:
                connection.sendall(driver.session.take_output())
    return reads


def make_jobs() -> list[Job]:
    return [Job(n, [f"user{n}@x.example"], b"Subject: %d\r\n\r\n.dot\r\n" % n + b"x" * 4000) for n in range(MESSAGES)]


def test_fifty_messages_over_one_connection_cost_one_read_each(start_sink) -> None:
    driver = Driver(make_jobs(), quit_when_done=True)
    reads = talk(driver, start_sink())
    assert [(token, stage, reply[:3]) for token, stage, reply, _ in driver.outcomes] == [
        (n, "DOT", "250") for n in range(MESSAGES)
    ]
    assert driver.trouble is None
    # Greeting, EHLO, the first 354, one read a message; smtp-sink may split some answers.
    assert reads <= 2 * MESSAGES + 5


def test_without_pipelining_the_same_messages_arrive(start_sink) -> None:
    driver = Driver(make_jobs(), quit_when_done=True)
    talk(driver, start_sink("-p"))
    assert "PIPELINING" not in driver.session.extensions
    assert [outcome[1] for outcome in driver.outcomes] == ["DOT"] * MESSAGES


def test_a_sink_without_esmtp_gets_helo(start_sink) -> None:
    driver = Driver(make_jobs()[:2], quit_when_done=True)
    talk(driver, start_sink("-e", "-f", "EHLO"))
    assert [outcome[1] for outcome in driver.outcomes] == ["DOT"] * 2


@pytest.mark.parametrize(
    ("options", "stage"),
    [(["-f", "MAIL"], "MAIL"), (["-f", "RCPT"], "RCPT"), (["-r", "DATA"], "DATA"), (["-r", "."], "DOT")],
)
def test_refusals_of_a_real_peer_stay_in_step(start_sink, options: list[str], stage: str) -> None:
    driver = Driver(make_jobs()[:5], quit_when_done=True)
    talk(driver, start_sink(*options))
    assert [outcome[1] for outcome in driver.outcomes] == [stage] * 5
    assert driver.trouble is None


def test_a_sink_that_hangs_up_on_the_dot_leaves_one_message_uncertain(start_sink) -> None:
    driver = Driver(make_jobs()[:5])
    talk(driver, start_sink("-q", "."))
    assert driver.outcomes == []
    assert driver.trouble[0] == "DOT"
    assert driver.trouble[3] == [(0, True), (1, False)]
