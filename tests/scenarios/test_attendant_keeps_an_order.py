"""A real attendant with directory, store and workers: the order of start and drain, and what one does without another.

Directory and store are processes that do what the test demands; the workers are fake ones.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.attendant_process import ROOT, AttendantProcess, greeted
from tests.harness.mta_server import wait_until

Start = Callable[..., AttendantProcess]

SETTINGS = """
[local]
domains = ["minasi.example"]
[[listener]]
address = "127.0.0.1:0"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
"""
QUICK_PROBES = "from mta.attendant import prober; prober.PROBE_EVERY = 0.1; prober.PROBE_LIMIT = 0.5"
QUICK_RESTARTS = "from mta.attendant import restart; restart.FIRST_DELAY = 0.01"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[AttendantProcess] = []

    def begin(*demands: str, **options: object) -> AttendantProcess:
        for demand in demands:
            (tmp_path / "data").mkdir(mode=0o700, exist_ok=True)
            (tmp_path / "data" / demand).touch()
        running.append(AttendantProcess(tmp_path, settings=SETTINGS, **options))  # type: ignore[arg-type]
        return running[-1]

    yield begin
    for attendant in running:
        attendant.close()


def states(attendant: AttendantProcess) -> dict[str, str]:
    return {row["name"]: row["state"] for row in attendant.status()["services"]}


def pop3_port(attendant: AttendantProcess) -> int:
    rows = attendant.status()["listeners"]
    return int(next(row["address"] for row in rows if row["protocol"] == "pop3").rpartition(":")[2])


def mta(attendant: AttendantProcess, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mta", "--config", str(attendant.config), *args]
    environ = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30)


def test_each_stage_starts_when_the_one_before_is_ready(start: Start) -> None:
    attendant = start("directory.slow", "store.slow", workers=1)
    wait_until((attendant.data / "admin.sock").exists, "the admin API")
    assert states(attendant) == {
        "attendant": "starting",
        "directory": "starting",
        "store": "stopped",
        "worker-0": "stopped",
    }
    assert attendant.request("GET", "/readyz")[0] == 503
    attendant.demand("directory.slow", False)
    wait_until(lambda: states(attendant)["store"] == "starting", "the store starts")
    assert states(attendant)["worker-0"] == "stopped"
    attendant.demand("store.slow", False)
    attendant.await_line("^mta: ready$")
    assert set(states(attendant).values()) == {"running"}
    since = [attendant.service(name)["since"] for name in ("directory", "store", "worker-0")]
    assert since == sorted(since)


def test_a_directory_that_cannot_start_keeps_no_mail_out_and_says_why(start: Start) -> None:
    attendant = start("directory.refuse", workers=1, before=QUICK_RESTARTS)
    attendant.await_line("mta: directory: directory/data.mdb cannot be opened")
    attendant.await_line(r"directory ended: exit 74 \(input or output error\); restarting now")
    attendant.await_line(
        "directory does not run: exit 74.*cannot be opened: restore it from a backup; see `mta status`"
    )
    attendant.await_line("^mta: ready$")
    assert attendant.request("GET", "/readyz")[0] == 200
    sock, greeting = greeted(attendant.port())
    sock.close()
    assert greeting.startswith("220 worker-0")
    attendant.await_line("directory is in quarantine, .*restore it from a backup.*`mta status start directory`")
    row = attendant.service("directory")
    assert row["state"] == "quarantined"
    assert row["reason"].endswith("directory/data.mdb cannot be opened: restore it from a backup")
    assert row["retry_at"] > row["since"]
    shown = mta(attendant, "status").stdout
    assert "restore it from a backup" in shown
    assert "mta status start directory" in shown
    assert b'mta_service_up{service="directory"} 0.0' in attendant.request("GET", "/metrics")[1]
    attendant.demand("directory.refuse", False)
    [row] = [json.loads(line) for line in mta(attendant, "status", "start", "directory", "--json").stdout.splitlines()]
    assert row["state"] in ("starting", "running")
    wait_until(lambda: attendant.service("directory")["state"] == "running", "the directory runs")
    assert attendant.service("directory")["reason"] == ""


def test_a_bug_at_the_start_is_told_as_one(start: Start) -> None:
    attendant = start("store.bug", workers=1)
    attendant.await_line("ZeroDivisionError: one by nothing")
    attendant.await_line("store ended: exit 1; restarting now")
    wait_until(lambda: "a bug: ZeroDivisionError" in attendant.service("store")["reason"], "the status says so")


def test_a_killed_directory_takes_nobody_along(start: Start) -> None:
    attendant = start()
    attendant.await_line("^mta: ready$")
    before = attendant.pids()
    os.kill(before["directory"], signal.SIGKILL)
    attendant.await_line("directory ended: SIGKILL; restarting now")
    wait_until(lambda: states(attendant)["directory"] == "running", "the directory is back")
    after = attendant.pids()
    assert after.pop("directory") != before.pop("directory")
    assert after == before


def test_the_drain_ends_the_workers_before_the_store_and_the_directory(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("^mta: ready$")
    pids = attendant.pids()
    sock, _ = greeted(attendant.port())
    with sock:
        sock.sendall(b"stay\r\n")
        assert sock.recv(100) == b"250 ok\r\n"
        attendant.signal(signal.SIGTERM)
        attendant.await_line("worker-0 .* did not drain within 3 s; killing it")
        os.kill(pids["store"], 0)  # it is still there when the last worker goes
        os.kill(pids["directory"], 0)
        attendant.await_line("stopped")
    assert attendant.wait() == 0


def test_nothing_of_its_sockets_is_left_after_a_stop_or_a_start_that_fails(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("^mta: ready$")
    assert sorted(path.name for path in attendant.data.glob("*.sock")) == ["admin.sock", "lmtp.sock"]
    attendant.signal(signal.SIGTERM)
    assert attendant.wait() == 0
    assert list(attendant.data.glob("*.sock")) == []
    done = mta(attendant, "status")
    assert (done.returncode, "start it with `mta run`" in done.stderr) == (69, True)
    with attendant.config.open("a") as config:
        config.write('[[hook]]\nmodule = "nowhere:Policy"\n')
    done = mta(attendant, "run")
    assert (done.returncode, "nowhere" in done.stderr) == (78, True), done.stderr
    assert list(attendant.data.glob("*.sock")) == [], "nor of a start that fails when they are bound"


def test_a_stopped_store_has_its_clients_told_and_its_socket_as_well(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("^mta: ready$")
    port = pop3_port(attendant)
    assert mta(attendant, "status", "stop", "store").returncode == 0
    row = attendant.service("store")
    assert (row["state"], row["reason"]) == ("stopped", "stopped by an operator")
    sock, greeting = greeted(port)
    sock.close()
    assert greeting.startswith("-ERR [SYS/TEMP] ")
    with socket.socket(socket.AF_UNIX) as lmtp:
        lmtp.settimeout(20)
        lmtp.connect(str(attendant.data / "lmtp.sock"))
        assert lmtp.recv(100).startswith(b"421 4.3.2 ")
    assert "mta status start store" in mta(attendant, "status").stdout
    assert mta(attendant, "status", "start", "store").returncode == 0
    wait_until(lambda: states(attendant)["store"] == "running", "the store is back")
    sock, greeting = greeted(port)
    sock.close()
    assert greeting.startswith("+OK store")


@pytest.mark.parametrize(
    ("demand", "reason"),
    [("store.sick", "a read of the environment failed"), ("store.silent", "no greeting within")],
)
def test_a_service_that_fails_its_probes_is_replaced(start: Start, demand: str, reason: str) -> None:
    attendant = start(workers=1, before=QUICK_PROBES)
    attendant.await_line("^mta: ready$")
    before = attendant.pids()
    attendant.demand(demand)
    attendant.await_line(rf"store \(pid {before['store']}\) is ill and is replaced: .*{reason}.*3 probes in a row")
    attendant.demand(demand, False)
    attendant.await_line("store ended: .*; restarting now")
    wait_until(lambda: states(attendant)["store"] == "running", "the store is back")
    assert attendant.pids()["worker-0"] == before["worker-0"]
    metrics = attendant.request("GET", "/metrics")[1].decode()
    assert 'mta_service_restarts_total{service="store"} 1.0' in metrics
    failures = next(
        line for line in metrics.splitlines() if line.startswith('mta_probe_failures_total{service="store"')
    )
    assert float(failures.split()[1]) >= 3


def test_a_hanging_event_loop_shows_where_before_it_is_killed(start: Start) -> None:
    attendant = start(workers=1)
    attendant.await_line("^mta: ready$")
    assert attendant.request("POST", "/api/v1/store/block", {"seconds": 60})[0] == 200
    attendant.await_line("mta: store: the event loop has not run for [4-6].* s; it is here:")
    attendant.await_line("in hold_the_loop")
    attendant.await_line("store .* is stuck: no sign of life; killing it")
    attendant.await_line("store ended: SIGKILL; restarting now")
    wait_until(lambda: states(attendant)["store"] == "running", "the store is back")
