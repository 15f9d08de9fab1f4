"""A real attendant with fake workers: deaths, stuck workers, drains, reloads, and the attendant's own violent end."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mta.clock import SystemClock
from tests.harness.attendant_process import AttendantProcess, greeted, say

Start = Callable[..., AttendantProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[AttendantProcess] = []

    def begin(directory: Path = tmp_path, **options: object) -> AttendantProcess:
        running.append(AttendantProcess(directory, **options))  # type: ignore[arg-type]
        return running[-1]

    yield begin
    for attendant in running:
        attendant.close()


def connect_to(attendant: AttendantProcess, worker: str) -> socket.socket:
    """A connection that this worker has accepted."""
    while True:
        sock, greeting = greeted(attendant.port())
        if worker in greeting:
            return sock
        sock.close()


def gone(pid: int) -> None:
    """Waits until the process is no more (pidfd: no polling of the process table)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    readable, _, _ = select.select([fd], [], [], 10)
    os.close(fd)
    assert readable, f"process {pid} lives on"


def test_a_dead_worker_is_back_at_once_and_the_second_death_in_a_row_waits(start: Start) -> None:
    attendant = start()
    attendant.await_line("ready")
    for expected in ("restarting now", r"restarting in 0.1 s \(2 deaths", r"restarting in 0.2 s \(3 deaths"):
        with connect_to(attendant, "worker-0") as sock:
            say(sock, "die")
            attendant.await_line(f"worker-0 ended: exit 3; {expected}")
    service = attendant.status()["services"][1]
    assert (service["name"], service["restarts"]) == ("worker-0", 3)


def test_connections_made_while_the_worker_is_dead_wait_for_its_successor(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("ready")
    port = attendant.port()
    os.kill(attendant.pids()["worker-0"], signal.SIGKILL)
    sock, greeting = greeted(port)
    with sock:
        assert greeting.startswith("220 worker-0")


def test_a_worker_that_always_dies_leaves_the_other_answering_and_its_callers_a_421(start: Start) -> None:
    attendant = start(FAKE_WORKER="die")
    attendant.await_line(r"restarting in 1.6 s")
    answers = set()
    while len(answers) < 2:
        sock, greeting = greeted(attendant.port())
        sock.close()
        answers.add(greeting[:12])
    assert answers == {"220 worker-1", "421 4.3.2 he"}
    assert attendant.request("GET", "/readyz")[0] == 503
    states = {s["name"]: s["state"] for s in attendant.status()["services"]}
    assert states["worker-1"] == "running"


def test_a_worker_whose_spool_failed_gets_its_restart(start: Start) -> None:
    attendant = start()
    attendant.await_line("ready")
    with connect_to(attendant, "worker-1") as sock:
        say(sock, "fail")
        attendant.await_line("worker-1 .* asks for a restart: commit failed: Input/output error")
        attendant.await_line("worker-1 ended: exit 0; restarting now")


def test_a_stuck_worker_is_killed_and_replaced(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("ready")
    with connect_to(attendant, "worker-0") as sock:
        say(sock, "mute")
        attendant.await_line("worker-0 .* is stuck")
        attendant.await_line("worker-0 ended: SIGKILL; restarting now")


def test_sigterm_drains_and_ends_with_exit_0(start: Start) -> None:
    attendant = start()
    attendant.await_line("ready")
    pids = attendant.pids()
    attendant.signal(signal.SIGTERM)
    attendant.await_line("draining")
    attendant.await_line("stopped")
    assert attendant.wait() == 0
    for pid in pids.values():
        gone(pid)


def test_a_worker_that_does_not_drain_is_killed_after_the_drain_timeout(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("ready")
    with connect_to(attendant, "worker-0") as sock:
        say(sock, "stay")
        assert sock.recv(100) == b"250 ok\r\n"
        attendant.signal(signal.SIGINT)
        attendant.await_line("worker-0 .* did not drain within 3 s; killing it")
        assert attendant.wait() == 0


def test_a_killed_attendant_takes_its_workers_along_and_the_next_starts_at_once(start: Start) -> None:
    clock = SystemClock()
    first = start()
    first.await_line("ready")
    pids = first.pids()
    begin = clock.monotonic()
    first.signal(signal.SIGKILL)
    second = start()
    second.await_line("ready")
    assert clock.monotonic() - begin < 2.0
    for name in ("worker-0", "worker-1"):
        gone(pids[name])
    assert second.pids()["worker-0"] != pids["worker-0"]


def test_the_lock_on_the_data_lives_as_long_as_any_worker(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("ready")
    pid = attendant.pids()["worker-0"]
    open_files = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert str(attendant.data / "mta.lock") in open_files


def test_a_second_server_on_the_same_data_is_refused_in_one_line(start: Start, tmp_path: Path) -> None:
    first = start()
    first.await_line("ready")
    second = start()
    second.await_line(rf"another `mta run` \(pid {first.pid}\) uses .*/data")
    assert second.wait() == os.EX_TEMPFAIL


def test_a_reload_restarts_the_workers_one_after_the_other_with_the_new_file(start: Start) -> None:
    attendant = start()
    attendant.await_line("ready")
    before = attendant.pids()
    attendant.write_config(hostname="renamed.example")
    attendant.signal(signal.SIGHUP)
    attendant.await_line("reload: done")
    after = attendant.pids()
    assert before["attendant"] == after["attendant"]
    assert before["worker-0"] != after["worker-0"]
    sock, greeting = greeted(attendant.port())
    sock.close()
    assert greeting.endswith("renamed.example")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("workerz = 3", "workerz"),
        ("[[listener]]\naddress = '127.0.0.1:1'", "listener: changing it takes a restart"),
    ],
)
def test_a_reload_that_cannot_be_applied_says_so_and_changes_nothing(start: Start, settings: str, said: str) -> None:
    attendant = start()
    attendant.await_line("ready")
    before = attendant.pids()
    attendant.write_config(settings=settings)
    attendant.signal(signal.SIGHUP)
    attendant.await_line(f"reload: .*{said}")
    attendant.await_line("reload: nothing was changed")
    assert attendant.pids() == before


def test_shards_of_workers_that_are_no_more_are_handed_to_those_left(start: Start, tmp_path: Path) -> None:
    for shard in range(3):
        directory = tmp_path / "data/spool" / str(shard)
        directory.mkdir(parents=True)
        (directory / "data.mdb").write_bytes(b"")
    attendant = start(workers=1)
    attendant.await_line("ready")
    rows = [json.loads(line) for line in attendant.request("GET", "/api/v1/queue")[1].splitlines()]
    assert {row["shard"] for row in rows} == {0, 1, 2}


def test_the_service_manager_hears_ready_and_stopping(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(str(tmp_path / "notify"))
        attendant = start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
        attendant.signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
