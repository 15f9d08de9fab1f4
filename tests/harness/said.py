"""What a process says on stderr, line by line, collected beside the test so that its pipe never fills.

Owns: the thread, and the lines. Never does: start or stop the process.
"""

import re
import subprocess
import threading
from queue import Empty, Queue

#: Seconds for a line, or for the end.
PATIENCE = 30.0


class Said:
    """``seen``: lines that were waited for or passed over are added here."""

    def __init__(self, process: "subprocess.Popen[str]", seen: list[str]) -> None:
        self.seen = seen
        self._process = process
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._collect)
        self._reader.start()

    def _collect(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            for line in stderr:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def await_line(self, pattern: str) -> str:
        """The next line that matches."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except Empty:
                raise AssertionError(f"no line {pattern!r} in time; stderr: {self.seen}") from None
            if line is None:
                raise AssertionError(f"ended without a line {pattern!r}; stderr: {self.seen}")
            self.seen.append(line)
            if re.search(pattern, line):
                return line

    def all_so_far(self) -> list[str]:
        """Those that wait too; they go on waiting."""
        return [*self.seen, *(line for line in list(self._lines.queue) if line is not None)]

    def end(self) -> None:
        """The process has ended: what is left has been seen."""
        self._reader.join(PATIENCE)
        while not self._lines.empty():
            line = self._lines.get_nowait()
            self.seen += [] if line is None else [line]
