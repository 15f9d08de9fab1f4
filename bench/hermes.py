"""Hermes as a user starts it: a generated TOML file, ``python -m mta run``, and the audit of its books afterwards.

Owns: the configuration of the row (everything is at its default but the ports, the route and the number of workers)
and the process. Never does: look into the server.
"""

import os
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import msgspec

from bench.process import Child, free_port
from mta.errors import UnavailableError

START_LIMIT = 20.0
STOP_LIMIT = 40.0
_READY = "mta: ready"
_ROOT = Path(__file__).resolve().parents[1]

_TOML = """\
hostname = "hermes.test"
data_dir = "{directory}/data"
workers = {workers}

[[listener]]
protocol = "smtp"
address = "127.0.0.1:{port}"

[[route]]
domain = "*"
to = "smtp://127.0.0.1:{sink}"
"""


class Hermes:
    """``hermes-N``: N workers. ``messages`` accepted so far must agree with what its ledger says."""

    def __init__(self, name: str, directory: Path, sink_port: int, template: str = _TOML) -> None:
        self.name = name
        self._template = template
        self._directory = directory
        self._config = directory / "mta.toml"
        self._stderr = directory / "stderr"
        self._sink_port = sink_port
        self._workers = int(name.rpartition("-")[2])
        self._port = 0
        self._child: Child | None = None

    @staticmethod
    def missing() -> str:
        try:
            done = _mta("--help")
        except subprocess.TimeoutExpired:
            return "`mta --help` does not end"
        lines = done.stderr.strip().splitlines()
        if done.returncode == 0:
            return ""
        return f"`mta --help` fails ({lines[-1] if lines else 'silently'}): run `pip install .` first"

    def version(self) -> str:
        workers = f"{self._workers} worker{'s' * (self._workers > 1)}"
        try:
            return f"Hermes {version('hermes-mta')}, {workers}"
        except PackageNotFoundError:
            return f"Hermes from this checkout, {workers}"

    def start(self) -> int:
        if not self._port:
            self._port = free_port()
            self._directory.mkdir(parents=True, exist_ok=True)
            values = {"directory": self._directory, "workers": self._workers, "port": self._port}
            self._config.write_text(self._template.format(**values, sink=self._sink_port))
        with open(self._stderr, "wb") as log:
            self._child = self._spawn(log)
        self._await_ready(self._child, time.monotonic() + START_LIMIT)
        return self._port

    def _spawn(self, log: BinaryIO) -> Child:
        argv = [sys.executable, "-m", "mta", "--config", str(self._config), "run"]
        # No other configuration than the file: variables of the caller would override it.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MTA_")}
        return Child(argv, output=log.fileno(), cwd=_ROOT, env=environ)

    def _await_ready(self, child: Child, deadline: float) -> None:
        while _READY not in self._said():
            if child.wait(time.monotonic() + 0.02):
                raise UnavailableError(f"mta run ended with status {child.status}: {self._last_line()}")
            if time.monotonic() > deadline:
                raise UnavailableError(f"mta run was not ready after {START_LIMIT:.0f} s: {self._last_line()}")

    def _said(self) -> str:
        return self._stderr.read_text(errors="replace")

    def _last_line(self) -> str:
        lines = self._said().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def mta(self, *words: str, stdin: str = "") -> str:
        """What a command with this server's configuration prints. Raises UnavailableError when it fails."""
        done = _mta("--config", str(self._config), *words, stdin=stdin)
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise UnavailableError(f"mta {' '.join(words)}: {lines[-1]}")
        return done.stdout

    def worker_pid(self) -> int:
        """Of the first worker. Raises UnavailableError."""
        said = self.mta("status", "--json")
        found = re.search(r'"name":\s*"worker-0".*?"pid":\s*(\d+)', said)
        if found is None:
            raise UnavailableError(f"mta status names no worker-0: {said}")
        return int(found[1])

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(STOP_LIMIT)

    def check(self) -> str:
        if self._child is None:
            return ""
        if self._child.status != 0:
            return f"mta run ended with status {self._child.status}: {self._last_line()}"
        try:
            done = _mta("--config", str(self._config), "audit", "--json")
        except subprocess.TimeoutExpired:
            return "mta audit took more than 60 s"
        finding = audit_finding(done.returncode, done.stdout, done.stderr)
        # smtp-sink -M leaves without answering the last message. Its retry would fall into a moment without a sink, in
        # which the site pauses: the other peers are emptied at their end as well.
        _mta("--config", str(self._config), "queue", "remove", "--all", "--reason", "end of a measurement")
        return finding


class Audit(msgspec.Struct):
    """The ledger's columns that matter here, in recipients."""

    queued: int
    drift: int
    failed: int = 0
    expired: int = 0
    generated: int = 0


def audit_finding(status: int, output: str, errors: str) -> str:
    """What is wrong according to ``mta audit --json``; "" when the books balance and nothing failed."""
    try:
        audit = msgspec.json.decode(output, type=Audit)
    except msgspec.MsgspecError:
        lines = (errors or output).strip().splitlines()
        return f"mta audit gave no figures (status {status}): {lines[-1] if lines else 'it said nothing'}"
    if status != 0 or audit.drift:
        return f"the ledger does not balance: drift {audit.drift}, status {status}"
    if audit.failed or audit.expired:
        return f"{audit.failed + audit.expired} recipients failed"
    return ""


def _mta(*words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "mta", *words]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False, cwd=_ROOT)
