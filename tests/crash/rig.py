"""What all crash tests stand on: a real ``mta run`` to kill, a sink and clients with ledgers, and probes for 220.

Owns: processes (each by its pid, each dies with us), their files below one directory, and what is measured of them.
Never does: judge; ``tests.harness.ledger`` does.
"""

import ctypes
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.process import free_port
from tests.harness.attendant_process import UnixHttp
from tests.harness.ledger_client import Load

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE = 60.0
#: Connections that probe at once: with two workers the chance that all of them miss one of the two is 1 in 128.
PROBES = 8


def die_with_us() -> None:
    """In a child, before exec: SIGKILL when we die, so that a run that is killed leaves nothing behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def wait_until(true: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Polls; gives the first true value."""
    deadline = time.monotonic() + patience
    while not (value := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:g} s: {what}")
        time.sleep(0.01)
    return value


class Server:
    """``mta run`` on a fixed port. ``data`` is its data_dir, ``settings`` go to the end of its configuration."""

    def __init__(
        self, directory: Path, sink: int, *, data: Path | None = None, workers: int = 2, settings: str = ""
    ) -> None:
        self.port = free_port()
        self.data = data or directory / "data"
        self.config = directory / "mta.toml"
        self.stderr = directory / "mta.stderr"
        self.workers = workers
        self.environment = ENVIRONMENT
        self._sink = sink
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(settings)

    def configure(self, settings: str = "") -> None:
        """Writes the configuration; ``settings`` may hold sections of their own."""
        route = f'[[route]]\ndomain = "*.ledger.example"\nto = "smtp://127.0.0.1:{self._sink}"\n' if self._sink else ""
        retry = "" if "[delivery]" in settings else '[delivery]\nretry_after = ["1s"]\n'
        self.config.write_text(
            f'hostname = "hermes.example"\ndata_dir = "{self.data}"\nworkers = {self.workers}\nuser = "{_user()}"\n'
            f'[[listener]]\naddress = "127.0.0.1:{self.port}"\n{route}{retry}{settings}\n'
        )

    def start(self) -> None:
        """Does not wait."""
        with self.stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mta", "--config", str(self.config), "run"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=die_with_us,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def family(self) -> list[int]:
        """The pids of the attendant and of its workers, also when it is dead and they are not yet."""
        return sorted(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if session_of(pid) == self.pid)

    def worker_pids(self) -> list[int]:
        return [pid for pid in self.family() if pid != self.pid]

    def kill(self) -> None:
        """SIGKILL for the attendant; its workers must die with it by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def kill_everything(self) -> None:
        """The attendant, then workers, then waits until all are gone: nothing holds the data directory any more."""
        self.kill()
        for pid in self.worker_pids():
            kill_pid(pid)
        wait_until(lambda: not self.family(), "the server's processes are gone")

    def stop(self) -> int:
        """Drains; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        if self._process is not None:
            self.kill_everything()

    def log(self) -> str:
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    # What it says about itself.

    def get(self, path: str) -> dict[str, Any]:
        """One object of the admin API. Raises OSError or HTTPException when nobody answers."""
        connection = UnixHttp(self.data / "admin.sock")
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise http.client.HTTPException(body.decode(errors="replace"))
            return json.loads(body.splitlines()[0])
        finally:
            connection.close()

    def all_running(self) -> bool:
        try:
            services = self.get("/api/v1/status")["services"]
        except (OSError, http.client.HTTPException):
            return False
        return all(service["state"] == "running" for service in services)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mta", "--config", str(self.config), *words],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def audit(self) -> dict[str, Any]:
        """What ``mta audit --json`` prints, asked again while it says to (75: a worker is on its way)."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = self.command("audit", "--json")
            if done.returncode in (0, 1) and done.stdout:
                return json.loads(done.stdout) | {"exit": done.returncode}
            if time.monotonic() > deadline or done.returncode not in (os.EX_TEMPFAIL, os.EX_UNAVAILABLE):
                raise AssertionError(f"mta audit: exit {done.returncode}: {done.stderr}")

    def drained(self) -> bool:
        try:
            return self.get("/api/v1/audit")["queued"] == 0
        except (OSError, http.client.HTTPException):
            return False


def _user() -> str:
    """Whoever we are: files of the run belong to us."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def session_of(pid: int) -> int:
    """The session that a process belongs to; 0 when all its threads have ended, also while it waits for its parent."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = len(os.listdir(f"/proc/{pid}/task"))  # the first may be gone while another still waits for the disk
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if words[0] in "ZX" and threads == 1 else int(words[3])


def kill_pid(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Helper:
    """A ledger process: sink or clients. Words go to its stdin, lines come from its stdout."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.harness.{module}", *arguments],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_us,
        )

    def say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def number(self, patience: float = PATIENCE) -> int:
        """The number at the end of its next line."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience)[0]:
            raise AssertionError(f"{self._process.args}: silent for {patience:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"{self._process.args}: ended with {self._process.wait()}")
        return int(line.split()[-1])

    def acknowledged(self) -> int:
        self.say("?")
        return self.number()

    def finish(self) -> None:
        """Closes its stdin and waits for its end."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._close_output()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # what was said last found nobody
        self._close_output()

    def _close_output(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def sink(ledger: Path) -> Iterator[tuple[Helper, int]]:
    """A sink and its port."""
    helper = Helper("ledger_sink", str(ledger))
    try:
        yield helper, helper.number()
    finally:
        helper.close()


@contextmanager
def clients(ledger: Path, port: int, load: Load) -> Iterator[Helper]:
    helper = Helper("ledger_client", str(ledger), str(port), json.dumps(load.__dict__))
    try:
        yield helper
    finally:
        helper.close()


def seconds_to_220(port: int, since: float, limit: float, probes: int = PROBES) -> float:
    """From ``since`` until every one of several connections has read a 220; one that is refused, reset or told 421 is
    made again. Raises AssertionError after ``limit`` seconds."""
    waiting: dict[socket.socket, None] = {}
    greeted = 0
    while greeted < probes:
        if time.monotonic() - since > limit:
            raise AssertionError(f"no 220 within {limit:g} s on {probes - greeted} of {probes} connections")
        while len(waiting) + greeted < probes:
            try:
                waiting[socket.create_connection(("127.0.0.1", port), 1.0)] = None
            except OSError:
                time.sleep(0.005)
                break
        for sock in select.select(list(waiting), [], [], 0.01)[0]:
            greeted += _greeting(sock) == b"220"
            del waiting[sock]
            sock.close()
    return time.monotonic() - since


def _greeting(sock: socket.socket) -> bytes:
    try:
        return sock.recv(200)[:3]
    except OSError:
        return b""


def percentiles(values: list[float]) -> str:
    """``p50 p99 max`` in seconds."""
    if not values:
        return "none"
    ordered = sorted(values)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99)]
    return f"p50 {at[0]:.2f} s, p99 {at[1]:.2f} s, max {ordered[-1]:.2f} s"


def machine() -> str:
    """What else goes on: figures mean nothing without it."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load {load}"


@contextmanager
def told_to_end() -> Iterator[None]:
    """SIGTERM ends a run the way ^C does, so that everything is cleaned up."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
