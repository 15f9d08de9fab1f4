"""Haraka from a private directory, two processes.

Owns: its configuration, a plugin of three hooks, and its process. Never does: install it; ``haraka`` must be on PATH.
"""

import subprocess
import time
from pathlib import Path

from bench.machine import program, said
from bench.process import Child, await_listener, free_port
from mta.errors import UnavailableError

START_LIMIT = 30.0
PROCESSES = 2

_FILES = {
    "config/smtp.ini": "listen=127.0.0.1:{port}\nnodes={processes}\n",
    "config/plugins": "to_sink\n",
    "config/host_list": "",
    "config/me": "peer.test\n",
    "config/loglevel": "WARN\n",
    "config/log.ini": "[main]\nlevel=warn\n",
    "config/outbound.ini": "concurrency_max=50\nlocal_mx_ok=true\nenable_tls=false\nalways_split=false\n",
    "plugins/to_sink.js": """\
'use strict'

// Everyone may relay, everything goes to the sink.
exports.hook_connect = (next, connection) => {{
  connection.relaying = true
  next()
}}
exports.hook_rcpt = (next) => next(OK)
exports.hook_get_mx = (next) => next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink} }})
""",
}


class Haraka:
    """A master and two workers; mail that is queued lies in ``queue``."""

    def __init__(self, name: str, directory: Path, sink_port: int) -> None:
        self.name = name
        self._directory = directory
        self._sink_port = sink_port
        self._port = 0
        self._child: Child | None = None

    @staticmethod
    def missing() -> str:
        return "" if program("haraka") else "not installed (npm install -g Haraka)"

    def version(self) -> str:
        words = said(program("haraka") or "haraka", "-v").split()
        return f"Haraka {words[-1]}, {PROCESSES} processes" if words else "Haraka"

    def start(self) -> int:
        if not self._port:
            self._port = free_port()
            self._install()
            write_files(self._directory, self._port, self._sink_port)
        with open(self._directory / "log", "wb") as log:
            self._child = Child([program("haraka") or "haraka", "-c", str(self._directory)], output=log.fileno())
        await_listener(self._port, time.monotonic() + START_LIMIT, self._child)
        return self._port

    def _install(self) -> None:
        """What ``haraka -i`` makes: the files that a user starts from. Ours go over them."""
        argv = [program("haraka") or "haraka", "-i", str(self._directory)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"haraka -i failed with status {done.returncode}: {done.stderr.strip()[-200:]}")

    def stop(self) -> None:
        """What is left in its queue goes: smtp-sink leaves one message unanswered a run."""
        if self._child is not None:
            self._child.stop()
            for file in (self._directory / "queue").glob("*"):
                file.unlink(missing_ok=True)

    def check(self) -> str:
        text = (self._directory / "log").read_text(errors="replace")
        lines = [line for line in text.splitlines() if "[CRIT]" in line]
        return f"{len(lines)} critical lines in its log, first: {lines[0]}" if lines else ""


def write_files(directory: Path, port: int, sink: int) -> None:
    """The directory for ``haraka -c``."""
    for name, text in _FILES.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(port=port, sink=sink, processes=PROCESSES))
    (directory / "queue").mkdir(exist_ok=True)
