"""The probes and what is made of their files, and the configurations of the peers."""

import array
import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.exim import configure
from bench.haraka import write_files
from bench.hermes import audit_finding
from bench.measure import RunFailed, latencies
from bench.peers import master_cf
from bench.probe_sink import CPU, MARK, Arrivals, SinkSession, sequence_of
from bench.probe_source import body
from bench.process import FIRST_PORT, LAST_PORT, Child, await_first, await_listener, free_port
from bench.relay import kind_of, present
from bench.rounds import workplace
from mta.errors import UnavailableError, UsageError

DIALOGUE = (
    b"EHLO src.test\r\nMAIL FROM:<a@src.test>\r\nRCPT TO:<b@dst.test>\r\nDATA\r\n"
    b"Received: by relay\r\nX-Bench-Sequence: 0000042\r\n\r\n..hello\r\n.\r\n"
    b"MAIL FROM:<a@src.test>\r\nRCPT TO:<b@dst.test>\r\nDATA\r\n.\r\nNOPE\r\nQUIT\r\n"
)
CODES = [220, 250, 250, 250, 354, 250, 250, 250, 354, 250, 500, 221]


class Wire:
    """What a transport does, into memory."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, octets: bytes) -> None:
        self.written += octets

    def close(self) -> None:
        self.closed = True


def codes_of(octets: bytes) -> list[int]:
    return [int(line[:3]) for line in octets.splitlines() if line[3:4] == b" "]


@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
async def test_the_sink_takes_pipelined_messages_however_they_are_cut(step: int) -> None:
    arrivals, wire = Arrivals(2), Wire()
    session = SinkSession(arrivals, set())
    session.connection_made(wire)  # type: ignore[arg-type]
    for start in range(0, len(DIALOGUE), step):
        session.data_received(DIALOGUE[start : start + step])
    assert codes_of(wire.written) == CODES
    assert wire.closed
    assert arrivals.pairs[::2].tolist() == [42, -1, CPU]
    assert arrivals.complete.is_set()


def test_a_sequence_number_is_found_behind_what_a_relay_put_before_it() -> None:
    content = b"Received: x\r\n" * 9 + MARK + b"0000007\r\nrest"
    assert sequence_of(content, len(content)) == 7
    assert sequence_of(b"Subject: none\r\n", 15) == -1
    assert sequence_of(MARK + b"many\r\n", 30) == -1


@pytest.mark.parametrize("size", [2, 77, 78, 79, 80, 156, 157, 4096, 102_400])
def test_a_body_has_exactly_the_octets_that_were_asked_for_in_whole_lines(size: int) -> None:
    octets = body(size)
    assert len(octets) == size
    assert octets.endswith(b"\r\n")
    assert b"\n." not in octets
    assert max(map(len, octets.split(b"\r\n"))) <= 998


def test_latency_is_arrival_less_beginning_and_duplicates_are_told() -> None:
    starts = [0, 1_000_000, 2_000_000, 999]  # the last is the CPU of the source
    pairs = [(1, 3_000_000), (0, 4_000_000), (1, 90_000_000), (-1, 5), (CPU, 77)]
    figures = latencies(starts, pairs, 3)
    assert (figures.p50, figures.p99) == (2.0, 4.0)
    assert figures.probe_rate == pytest.approx(2 / 0.004)
    assert figures.notes == ("latency: 1 duplicates", "latency: 1 messages missing")


def test_latency_without_any_numbered_message_is_a_failed_run() -> None:
    with pytest.raises(RunFailed, match="sequence number"):
        latencies([0, 0], [(-1, 5)], 1)


@pytest.mark.parametrize("policy", ["kept", "each"])
def test_the_probes_speak_to_each_other_and_every_message_has_both_its_times(tmp_path: Path, policy: str) -> None:
    port, arrivals, began = free_port(), tmp_path / "arrivals", tmp_path / "began"
    sink = Child([sys.executable, "-m", "bench.probe_sink", str(port), "30", str(arrivals)])
    try:
        await_listener(port, time.monotonic() + 20, sink)
        words = [str(port), "30", "4", "4096", policy, str(began)]
        source = Child([sys.executable, "-m", "bench.probe_source", *words])
        assert source.wait(time.monotonic() + 20)
        assert sink.wait(time.monotonic() + 20)
        assert (source.status, sink.status) == (0, 0)
    finally:
        sink.stop()
    starts = array.array("q", began.read_bytes())
    numbers = array.array("q", arrivals.read_bytes())
    figures = latencies(starts, list(zip(numbers[::2], numbers[1::2], strict=True)), 30)
    assert figures.probe_messages == 30
    assert figures.notes == ()
    assert figures.p50 is not None
    assert 0 < figures.p50 < 20_000


async def test_the_source_ends_with_the_reply_that_refused_it(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 5.7.1 not today\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = str(server.sockets[0].getsockname()[1])
    words = ["-m", "bench.probe_source", port, "5", "1", "100", "kept", str(tmp_path / "began")]
    source = await asyncio.create_subprocess_exec(sys.executable, *words, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(source.communicate(), 20)
    server.close()
    assert source.returncode == 1
    assert errors == b"probe source: greeting: 554 5.7.1 not today\n"


def test_a_child_tells_what_it_cost_and_a_stubborn_one_is_killed() -> None:
    quick = Child([sys.executable, "-c", "sum(range(10**6)); raise SystemExit(3)"])
    stubborn = Child([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
    assert await_first([quick, stubborn], time.monotonic() + 20) is quick
    assert quick.status == 3
    assert quick.cpu > 0
    assert await_first([stubborn], time.monotonic()) is None
    stubborn.stop(grace=0.05)
    assert stubborn.status is not None
    assert stubborn.status < 0
    stubborn.stop()


def test_a_child_that_an_interrupt_left_behind_is_stopped_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), workplace(tmp_path) as place:  # noqa: PT012
        (place / "file").write_text("x")
        left = Child([sys.executable, "-c", "import signal; signal.pause()"])
        raise KeyboardInterrupt
    assert left.status is not None
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_listen_is_said_with_its_port() -> None:
    with pytest.raises(UnavailableError, match=r"nothing answers on 127\.0\.0\.1:"):
        await_listener(free_port(), time.monotonic() + 0.05)
    with pytest.raises(UnavailableError, match="ended at once with status 4"):
        await_listener(free_port(), time.monotonic() + 20, Child([sys.executable, "-c", "raise SystemExit(4)"]))


def test_ports_are_free_and_no_two_processes_get_the_same() -> None:
    ask = "from bench.process import free_port; print(*(free_port() for _ in range(300)), flush=True); input()"
    words = [sys.executable, "-c", ask]
    asked = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ports = [free_port() for _ in range(3)]
    for process in asked:
        assert process.stdout is not None
        ports += map(int, process.stdout.readline().split())
    for process in asked:
        process.communicate("\n")
    assert len(ports) == len(set(ports)) == 603
    assert FIRST_PORT <= min(ports) <= max(ports) <= LAST_PORT


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_a_port_that_somebody_has_bound_is_passed_over(kind: socket.SocketKind) -> None:
    port = free_port()
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", port + 1))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        assert free_port() != port + 1


@pytest.mark.parametrize("name", ["hermes", "hermes-0", "postfix-2", "sendmail", ""])
def test_a_peer_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no peer"):
        kind_of(name)


def test_a_peer_that_is_not_installed_is_left_out_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.haraka.program", lambda name: None)
    names, absent = present(["straight", "haraka"], insist=False)
    assert names == ["straight"]
    assert absent["haraka"].startswith("not installed")
    with pytest.raises(UnavailableError, match="haraka: not installed"):
        present(["straight", "haraka"], insist=True)


def test_every_line_of_the_postfix_service_table_has_its_eight_columns() -> None:
    lines = master_cf(2525).splitlines()
    assert lines[0].split() == ["127.0.0.1:2525", "inet", "n", "-", "n", "-", "200", "smtpd"]
    assert {len(line.split()) for line in lines} == {8}


def test_the_configurations_of_exim_and_haraka_are_filled_in(tmp_path: Path) -> None:
    text = configure(tmp_path, 8, 9, 2525, 2600)
    assert f"spool_directory = {tmp_path}/spool\n" in text
    assert "daemon_smtp_ports = 2525\n" in text
    assert "  port = 2600\n" in text
    assert "{" not in text
    write_files(tmp_path, 2525, 2600)
    assert (tmp_path / "config/smtp.ini").read_text() == "listen=127.0.0.1:2525\nnodes=2\n"
    assert "port: 2600 })" in (tmp_path / "plugins/to_sink.js").read_text()
    assert os.listdir(tmp_path / "queue") == []


@pytest.mark.parametrize(
    ("status", "output", "finding"),
    [
        (0, '{"accepted":5,"delivered":4,"queued":1,"drift":0}', ""),
        (1, '{"accepted":5,"delivered":3,"queued":1,"drift":1}', "the ledger does not balance: drift 1, status 1"),
        (0, '{"accepted":5,"failed":1,"queued":0,"drift":0}', "1 recipients failed"),
        (75, "", "mta audit gave no figures (status 75): locked"),
    ],
)
def test_the_audit_of_a_row_says_what_is_wrong(status: int, output: str, finding: str) -> None:
    assert audit_finding(status, output, "mta: trying\nlocked\n") == finding
