"""A whole ``mta run`` in a directory of its own: started, spoken to, watched, ended by its pid.

Owns: the TOML made from keyword arguments, the process, its event log and its command line. Its end is part of every
story: ``stop`` drains it, wants exit code 0 and a ledger that balances. Waiting means looking again until a deadline.
"""

import json
import os
import poplib
import smtplib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, TypeVar

from click.testing import CliRunner

from mta.cli import root
from mta.clock import SystemClock
from tests.harness.attendant_process import ROOT, UnixHttp
from tests.harness.said import Said

Row = dict[str, Any]
T = TypeVar("T")

PATIENCE = 30.0
#: Seconds between two looks at what is waited for.
LOOK = 0.01
#: What every server here has unless the test says otherwise, section by section and key by key.
DEFAULTS: dict[str, Any] = {
    "hostname": "hermes.example",
    "user": "",
    "workers": 1,
    "drain_timeout": "5s",
    "listener": [{"address": "127.0.0.1:0"}],
    "delivery": {"retry_after": ["200ms"], "warn_after": "0s"},
    "dns": {"servers": ["127.0.0.1:9"], "timeout": "300ms"},
    "spool": {"free_space": "1MiB"},
}
MESSAGE = (
    b"From: <alice@athena.example>\r\nTo: <bob@arlington.example>\r\nSubject: a story\r\n\r\nOnce upon a time.\r\n"
)


def wait_until(look: Callable[[], T], what: str | Callable[[], str], patience: float = PATIENCE) -> T:
    """The first true answer of ``look``; fails after ``patience`` seconds with ``what`` was missing."""
    clock = SystemClock()
    deadline = clock.monotonic() + patience
    pause = threading.Event()
    while not (found := look()):
        if clock.monotonic() > deadline:
            raise AssertionError(f"not within {patience:g} s: {what() if callable(what) else what}")
        pause.wait(LOOK)
    return found


def toml(settings: Row) -> str:
    """A configuration file: plain values first, then tables, then arrays of tables."""

    def shown(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {shown(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(shown, value)) + "]"
        return json.dumps(value, ensure_ascii=False)

    def lines(table: Row) -> list[str]:
        return [f"{key} = {shown(value)}" for key, value in table.items()]

    plain = {k: v for k, v in settings.items() if not isinstance(v, dict) and not _is_tables(v)}
    text = lines(plain)
    for name, value in settings.items():
        for table in [value] if isinstance(value, dict) else value if _is_tables(value) else []:
            text += ["", f"[{name}]" if isinstance(value, dict) else f"[[{name}]]", *lines(table)]
    return "\n".join(text) + "\n"


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


class MtaServer:
    """``MtaServer(tmp_path, route=[{...}], delivery={...}).start()``; keyword arguments are sections or plain keys."""

    def __init__(self, directory: Path, /, **settings: Any) -> None:
        self.directory = directory
        self.config = directory / "mta.toml"
        self.data = directory / "data"
        self.settings: Row = {}
        self.configure(**settings)
        self._process: subprocess.Popen[str] | None = None
        self._told_to_stop = False
        self._said: Said | None = None
        self.stderr: list[str] = []
        self._read = 0
        self._events: list[Row] = []
        self.listeners: list[str] = []
        self._protocols: list[str] = []

    # The process.

    def configure(self, **settings: Any) -> None:
        """Writes the file anew: the defaults, with these sections and keys over them."""
        self.settings = {"data_dir": str(self.data), **DEFAULTS}
        for name, value in settings.items():
            base = DEFAULTS.get(name)
            self.settings[name] = base | value if isinstance(base, dict) and isinstance(value, dict) else value
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(toml(self.settings))

    def start(self) -> "MtaServer":
        """Returns when it has said ``mta: ready``."""
        self.begin()
        return self.await_ready()

    def await_ready(self) -> "MtaServer":
        """After ``begin``."""
        self.await_line("^mta: ready$")
        rows = self.status()["listeners"]
        self.listeners, self._protocols = [row["address"] for row in rows], [row["protocol"] for row in rows]
        return self

    def begin(self) -> None:
        """Starts the process and waits for nothing."""
        self._told_to_stop = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mta", "--config", str(self.config), "run"],
            env=self._environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said = Said(self._process, self.stderr)

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def await_line(self, pattern: str) -> str:
        """The next line of stderr that matches."""
        assert self._said is not None
        return self._said.await_line(pattern)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._told_to_stop |= number == SIGTERM
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        assert self._process is not None
        assert self._said is not None
        code = self._process.wait(PATIENCE)
        self._said.end()
        return code

    def stop(self) -> None:
        """Drains; wants exit 0, no traceback on stderr, and books that balance. A second SIGTERM would kill."""
        if self._process is None:
            return
        if self.running and not self._told_to_stop:
            self.signal(SIGTERM)
        code = self.wait()
        self._process = None
        assert code == 0, f"exit {code}; stderr: {self.stderr}"
        assert not any("Traceback" in line for line in self.stderr), "\n".join(self.stderr)
        assert not any("before it had drained" in line for line in self.stderr), self.stderr
        self.audit()

    def kill(self) -> None:
        """SIGKILL, as ``kill -9`` or the kernel does it; the workers go with it. Their end is waited for."""
        if self._process is None:
            return
        pids = [row["pid"] for row in self.status()["services"]] if self.running else []
        self.signal(SIGKILL)
        self.wait()
        self._process = None
        for pid in pids:
            wait_until(lambda pid=pid: not alive(pid), f"process {pid} is gone")

    def close(self) -> None:
        """For fixtures: no process stays, whatever happened."""
        if self._process is not None and self.running:
            self._process.kill()
            self.wait()
        self._process = None

    def restart(self, **settings: Any) -> "MtaServer":
        """Stops if it runs, and starts with these settings, or with the same when there are none."""
        self.stop()
        if settings:
            self.configure(**settings)
        return self.start()

    # Asking it.

    def places(self, *protocols: str) -> list[tuple[str, int]]:
        """Host and port of all TCP listeners of these protocols."""
        rows = zip(self._protocols, self.listeners, strict=True)
        found = [address.rpartition(":") for protocol, address in rows if protocol in protocols]
        return [(host.strip("[]"), int(port)) for host, _, port in found if host != "unix"]

    @property
    def port(self) -> int:
        """Of the first TCP listener that takes mail from clients."""
        return self.places("smtp", "submission")[0][1]

    @property
    def host(self) -> str:
        """The address of the same listener."""
        return self.places("smtp", "submission")[0][0]

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = UnixHttp(self.data / "admin.sock")
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def request_rows(self, verb: str, **args: object) -> list[Row]:
        """What ``directory/VERB`` or ``store/VERB`` answers; it must succeed."""
        status, body = self.request("POST", f"/api/v1/{verb}", args)
        assert status == 200, body
        return [json.loads(line) for line in body.splitlines()]

    def status(self) -> Row:
        return json.loads(self.request("GET", "/api/v1/status")[1])

    def metrics(self) -> dict[str, float]:
        """Sample with labels as in the text → value."""
        lines = self.request("GET", "/metrics")[1].decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def mta(self, *args: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[str]":
        """Runs a command with this server's configuration."""
        done = subprocess.run(
            [sys.executable, "-m", "mta", *args, "--config", str(self.config)],
            env=self._environment(),
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            timeout=PATIENCE,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def rows(self, *args: str) -> list[Row]:
        """What a command prints with ``--json``; it must succeed."""
        done = self.mta(*args, "--json")
        assert done.returncode == 0, f"mta {' '.join(args)}: {done.stderr}{done.stdout}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def queue(self) -> list[Row]:
        """Messages in the queue; over the admin socket, and quicker than the command."""
        status, body = self.request("GET", "/api/v1/queue")
        assert status == 200, body
        return [json.loads(line) for line in body.splitlines()]

    def why(self, queue_id: str) -> list[Row]:
        """As ``mta why``, over the admin socket; [] when it is not in the queue."""
        status, body = self.request("GET", f"/api/v1/why/{queue_id}")
        return [json.loads(line) for line in body.splitlines()] if status == 200 else []

    def audit(self) -> Row:
        """``mta audit``: the ledger must balance, exactly. Works up and down. The command runs in this process: every
        story ends with it, and to start an interpreter takes longer than to count."""
        done = CliRunner().invoke(root, ["audit", "--config", str(self.config), "--json"], standalone_mode=False)
        assert done.exception is None, f"mta audit: {done.exception!r}"
        assert done.return_value == 0, done.output
        [row] = [json.loads(line) for line in done.stdout.splitlines()]
        gone = ("delivered", "failed", "expired", "expanded", "discarded", "removed", "queued")
        assert row["drift"] == 0, row
        assert row["accepted"] + row["generated"] == sum(row[name] for name in gone), row
        return row

    def wait_for_empty_queue(self, patience: float = PATIENCE) -> None:
        """Until nothing is queued any more, DSNs included."""
        wait_until(lambda: self.running and not self.queue(), lambda: f"an empty queue; {self.queue()}", patience)

    # Its people.

    def add_person(self, address: str, password: str, *options: str) -> None:
        """As an operator does it; the server must know them afterwards."""
        done = self.mta(
            "directory", "user", "add", address, "--password-stdin", *options, stdin=f"{password}\n".encode()
        )
        assert done.returncode == 0, done.stderr

    def pop3(self, address: str, password: str) -> poplib.POP3:
        """A session of the standard library's client that is logged in."""
        host, port = self.places("pop3")[0]
        session = poplib.POP3(host, port, timeout=PATIENCE)
        try:
            session.user(address)
            session.pass_(password)
        except poplib.error_proto:
            session.close()
            raise
        return session

    def fetch(self, address: str, password: str) -> list[bytes]:
        """All messages in the mailbox, which is empty then; line ends are CRLF."""
        session = self.pop3(address, password)
        count, _ = session.stat()
        messages = []
        for number in range(1, count + 1):
            _, lines, _ = session.retr(number)
            messages.append(b"".join(line + b"\r\n" for line in lines))
            session.dele(number)
        session.quit()
        return messages

    # Its event log.

    def events(self, kind: str = "", **fields: Any) -> list[Row]:
        """All events so far of that type and with these fields; works after its end as well."""
        path = self.data / "events.jsonl"
        if path.exists():
            with path.open("rb") as log:
                log.seek(self._read)
                octets = log.read()
            whole = octets[: octets.rfind(b"\n") + 1]
            self._read += len(whole)
            self._events += [json.loads(line) for line in whole.splitlines()]
        wanted = fields | ({"type": kind} if kind else {})
        return [row for row in self._events if all(row.get(name) == value for name, value in wanted.items())]

    def wait_for_events(self, count: int, kind: str, *, patience: float = PATIENCE, **fields: Any) -> list[Row]:
        """At least ``count`` such events, old ones included."""

        def look() -> list[Row]:
            found = self.events(kind, **fields)
            return found if len(found) >= count else []

        def missing() -> str:
            seen = [(row["type"], row.get("recipient"), row.get("response")) for row in self.events()[-20:]]
            return f"{count} × {kind} {fields or ''}; the last events: {seen}; stderr: {self._peek()}"

        return wait_until(look, missing, patience)

    def wait_for_event(self, kind: str, *, patience: float = PATIENCE, **fields: Any) -> Row:
        """The first such event, an old one included."""
        return self.wait_for_events(1, kind, patience=patience, **fields)[0]

    def _peek(self) -> list[str]:
        return self._said.all_so_far() if self._said is not None else []

    # Speaking to it.

    def connect(self, source: str = "127.0.0.1") -> smtplib.SMTP:
        """A session that has said EHLO."""
        session = smtplib.SMTP(self.host, self.port, "client.example", PATIENCE, (source, 0))
        session.ehlo()
        return session

    def send(
        self,
        recipients: str | Iterable[str] = "bob@arlington.example",
        content: bytes = MESSAGE,
        sender: str = "alice@athena.example",
        source: str = "127.0.0.1",
    ) -> str:
        """Hands over a message whose every recipient must be taken; its queue id."""
        with self.connect(source) as session:
            return submit(session, recipients, content, sender)


def submit(
    session: smtplib.SMTP,
    recipients: str | Iterable[str] = "bob@arlington.example",
    content: bytes = MESSAGE,
    sender: str = "alice@athena.example",
) -> str:
    """One transaction on an open session, content as it is but for its dots; its queue id. Fails on any refusal."""
    code, text = session.docmd("MAIL", f"FROM:<{sender}>")
    assert code == 250, (code, text)
    for recipient in [recipients] if isinstance(recipients, str) else recipients:
        code, text = session.docmd("RCPT", f"TO:<{recipient}>")
        assert code == 250, (recipient, code, text)
    code, text = session.data(content)
    assert code == 250, (code, text)
    return text.split()[1].decode()


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
