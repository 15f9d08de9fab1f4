"""A real attendant process with fake workers, for scenario tests: started, watched, asked, killed by its pid.

Directory and store, where the settings need them, are services that do what a test demands (``demanding_service``).
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.harness.said import Said

ROOT = Path(__file__).parents[2]
FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
DEMANDING = "tests.harness.demanding_service"
PATIENCE = 20.0

_SERVE = """
import os, sys
from mta.attendant.run import serve
from mta.config import load
from mta.errors import MtaError
exec(sys.argv[4])
def command(role):
    return [sys.executable, sys.argv[2]] if role.name == "worker" else [sys.executable, "-m", sys.argv[3]]
try:
    serve(lambda: load(sys.argv[1], {}), os.environ, command)
except MtaError as e:
    print("mta:", e, file=sys.stderr)
    sys.exit(e.exit_code)
"""


class UnixHttp(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


class AttendantProcess:
    """``stderr`` lines are collected; ``await_line`` waits for the next one that matches. ``before``: Python that the
    attendant runs first, to shorten its times."""

    def __init__(
        self, directory: Path, *, workers: int = 2, settings: str = "", before: str = "", **environ: str
    ) -> None:
        self.directory = directory
        self.config = directory / "mta.toml"
        self.data = directory / "data"
        self.write_config(workers, settings)
        self.seen: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(self.config), str(FAKE_WORKER), DEMANDING, before],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said = Said(self._process, self.seen)

    def write_config(self, workers: int = 2, settings: str = "", hostname: str = "hermes.example") -> None:
        head = f'hostname = "{hostname}"\ndata_dir = "{self.data}"\nworkers = {workers}\ndrain_timeout = "3s"\n'
        self.config.write_text(
            f"{head}{settings}\n" + ("" if "[[listener]]" in settings else '[[listener]]\naddress = "127.0.0.1:0"\n')
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_line(self, pattern: str) -> str:
        """The next line of stderr that matches."""
        return self._said.await_line(pattern)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._said.end()

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = UnixHttp(self.data / "admin.sock")
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def status(self) -> dict:
        code, body = self.request("GET", "/api/v1/status")
        assert code == 200, body
        return json.loads(body)

    def pids(self) -> dict[str, int]:
        return {service["name"]: service["pid"] for service in self.status()["services"]}

    def port(self) -> int:
        return int(self.status()["listeners"][0]["address"].rpartition(":")[2])

    def service(self, name: str) -> dict:
        """Its row of the status."""
        return next(row for row in self.status()["services"] if row["name"] == name)

    def demand(self, what: str, wanted: bool = True) -> None:
        """``<service>.<demand>``, see ``demanding_service``; may be said before the start."""
        path = self.data / what
        path.parent.mkdir(parents=True, exist_ok=True)
        if wanted:
            path.touch()
        else:
            path.unlink(missing_ok=True)


def greeted(port: int) -> tuple[socket.socket, str]:
    """Connects; the connection and the greeting."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    return sock, sock.makefile().readline().strip()


def say(sock: socket.socket, word: str) -> None:
    sock.sendall(f"{word}\r\n".encode())
