"""A process that writes, says on its standard output what it promises, and is killed.

Owns: its start, the lines that it said, its end. Never does: know what the lines mean.
"""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class WritingProcess:
    """``module``: of ``tests.crash``; it says ``ready`` first. A line that was cut off was never said."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.crash.{module}", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        assert self._output.readline() == b"ready\n"

    def hear(self, line: bytes) -> None:
        """Each test's own."""
        raise AssertionError(f"nobody listens to {line!r}")

    def read(self, count: int | None, until: bytes = b"") -> None:
        """Takes in so many lines, or up to one that begins with ``until``; None: all up to the end."""
        for line in itertools.islice(self._output, count):
            if line.endswith(b"\n"):
                self.hear(line)
                if until and line.startswith(until):
                    return

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self.read(None)
        self._output.close()
        self._process.wait()
