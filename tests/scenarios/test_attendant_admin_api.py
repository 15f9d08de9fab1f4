"""The admin API and the commands against a running server (a real attendant, fake workers)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.attendant_process import ROOT, AttendantProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttendantProcess]:
    attendant = AttendantProcess(tmp_path_factory.mktemp("server"))
    try:
        attendant.await_line("ready")
        yield attendant
    finally:
        attendant.close()


def mta(server: AttendantProcess, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mta", "--config", str(server.config), *args],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
    )


def lines(text: str | bytes) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_probes_and_metrics_answer(server: AttendantProcess) -> None:
    assert server.request("GET", "/healthz") == (200, b"ok\n")
    assert server.request("GET", "/readyz") == (200, b"ready\n")
    status, text = server.request("GET", "/metrics")
    assert status == 200
    assert b'mta_worker_up{worker="worker-1"} 1.0' in text
    assert b"mta_messages_received_total 0.0" in text


def test_the_admin_socket_is_for_its_owner_alone(server: AttendantProcess) -> None:
    assert (server.data / "admin.sock").stat().st_mode & 0o777 == 0o600


def test_a_listing_comes_from_all_workers_in_order(server: AttendantProcess) -> None:
    status, body = server.request("GET", "/api/v1/queue")
    rows = lines(body)
    assert status == 200
    assert {row["shard"] for row in rows} == {0, 1}
    assert rows == sorted(rows, key=lambda row: row["queue_id"])


@pytest.mark.parametrize(
    ("method", "path", "status", "exit_code", "text"),
    [
        ("GET", "/api/v1/queue?colour=red", 400, 64, "colour"),
        ("GET", "/api/v1/queue?limit=-1", 400, 64, "limit=-1"),
        ("GET", "/api/v1/queue/nonsense", 404, 65, "not a queue id"),
        ("GET", "/api/v1/why/06H0PNA5B4000", 404, 65, "not in the queue"),
        ("GET", "/api/v1/nothing", 404, 64, "Not Found"),
        ("POST", "/api/v1/services/worker-9/stop", 400, 64, "no service 'worker-9'"),
        ("POST", "/api/v1/services/worker-0/start", 400, 64, "running already"),
        ("POST", "/api/v1/services/attendant/restart", 400, 64, "service manager"),
    ],
)
def test_problems_say_what_is_wrong_and_carry_the_exit_code(
    server: AttendantProcess, method: str, path: str, status: int, exit_code: int, text: str
) -> None:
    got, body = server.request(method, path)
    problem = json.loads(body)
    assert (got, problem["status"], problem["exit"]) == (status, status, exit_code)
    assert text in problem["title"]


def test_a_service_can_be_stopped_started_and_restarted(server: AttendantProcess) -> None:
    before = server.pids()["worker-1"]
    [row] = lines(mta(server, "status", "stop", "worker-1", "--json").stdout)
    assert (row["state"], row["pid"]) == ("stopped", None)
    stopped = mta(server, "queue", "list")
    assert stopped.returncode == os.EX_TEMPFAIL
    assert stopped.stderr.startswith("mta: worker-1 is not running")
    assert mta(server, "status", "start", "worker-1").returncode == 0
    [row] = lines(mta(server, "status", "restart", "worker-1", "--json").stdout)
    assert row["state"] == "running"
    assert row["pid"] not in (before, None)


def test_status_shows_every_service(server: AttendantProcess) -> None:
    done = mta(server, "status")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "attendant", "worker-0", "worker-1"]


def test_the_queue_s_content_passes_through_unchanged(server: AttendantProcess) -> None:
    queue_id = lines(mta(server, "queue", "list", "--json").stdout)[0]["queue_id"]
    done = subprocess.run(
        [sys.executable, "-m", "mta", "queue", "cat", queue_id, "--config", str(server.config)],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
    )
    assert done.stdout == b"Subject: hi\r\n\r\nhi\r\n"


def test_audit_adds_the_workers_books_up(server: AttendantProcess) -> None:
    done = mta(server, "audit", "--json")
    assert done.returncode == 0
    [row] = lines(done.stdout)
    assert (row["accepted"], row["delivered"], row["queued"], row["drift"]) == (6, 2, 4, 0)


def test_an_admin_api_on_tcp_wants_its_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret of forty characters, or so\n")
    settings = f'[admin]\naddress = "127.0.0.1:0"\ntoken_file = "{tmp_path}/token"\n[log]\nlevel = "info"'
    attendant = AttendantProcess(tmp_path, workers=1, settings=settings)
    try:
        import http.client

        line = attendant.await_line("admin API at")
        port = int(line.rpartition(":")[2])
        attendant.await_line("ready")

        def status(path: str, **headers: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", path, headers=headers)
            code = connection.getresponse().status
            connection.close()
            return code

        assert status("/healthz") == 200
        assert status("/api/v1/status") == 401
        assert status("/api/v1/status", Authorization="Bearer wrong") == 401
        assert status("/api/v1/status", Authorization="Bearer secret of forty characters, or so") == 200
    finally:
        attendant.close()
