"""Where the event log's lines go: a file that several processes append to and that rotates, or stdout.

Owns: the descriptor, the rotation, and what happens to lines when the disk says no. Never does: encode or buffer;
its one caller is the log's writer thread, or ``close``.

Several processes write one file without a lock: the descriptor is O_APPEND and every write holds whole lines, so the
kernel puts each behind the last. Rotation renames under a lock file that nobody waits for: whoever gets it looks
again whether the file is still the one that has grown too large, shifts ``events.jsonl.1 … .keep`` by one, renames.
Everybody else sees before their next write that the name leads to another file, and opens that. Lines that were on
their way end up at the end of ``.1``: none is lost. An outside logrotate is noticed in the same way.
"""

import contextlib
import fcntl
import os
import select

#: One write: enough to be few, small enough not to hold up the other processes' appends.
FILE_CHUNK = 64 * 1024
#: A pipe keeps writes apart only up to this length (POSIX PIPE_BUF).
PIPE_CHUNK = select.PIPE_BUF
STDOUT = "-"


class Output:
    """Appends lines; what cannot be written raises ShortWrite."""

    def __init__(self, path: str, rotate_size: int, keep: int) -> None:
        self._path = path
        self._rotate_size = rotate_size
        self._keep = keep
        self._fd = -1
        self._torn = False
        self._written = 0

    def write(self, lines: list[bytes]) -> None:
        """Appends the lines (no line ends in them). ShortWrite tells how many got there before the trouble."""
        self._written = 0
        try:
            if self._path == STDOUT:
                fd, limit = 1, PIPE_CHUNK
            else:
                fd, limit = self._current(), FILE_CHUNK
            for chunk in chunks(lines, limit):
                self._append(fd, b"\n".join(chunk) + b"\n")
            if self._path != STDOUT and os.fstat(fd).st_size >= self._rotate_size > 0:
                self._rotate()
        except OSError as error:
            raise ShortWrite(self._written, error) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, fd: int, octets: bytes) -> None:
        """One write, normally. A full disk may take a part: the line it breaks off in is ended and comes again."""
        if self._torn:
            octets = b"\n" + octets
        sent = 0
        try:
            while sent < len(octets):
                sent += os.write(fd, memoryview(octets)[sent:])
        finally:
            if sent:
                self._written += octets.count(b"\n", 0, sent) - self._torn
                self._torn = octets[sent - 1 : sent] != b"\n"

    def _current(self) -> int:
        """The descriptor of the file that bears the name now."""
        if self._fd >= 0 and not self._is_named(self._fd):
            self.close()
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._torn = False
        return self._fd

    def _is_named(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(fd))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        lock = os.open(f"{self._path}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody else is at it; the next write finds the new file
            if self._is_named(self._fd):
                self._shift()
                self.close()
        finally:
            os.close(lock)

    def _shift(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):  # there are fewer than ``keep`` yet
                os.rename(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        os.rename(self._path, f"{self._path}.1")


class ShortWrite(OSError):
    """The disk or pipe refused; ``written`` lines had been written before."""

    def __init__(self, written: int, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.written = written


def chunks(lines: list[bytes], limit: int) -> list[list[bytes]]:
    """Groups whole lines so that each group, line ends included, has at most ``limit`` octets (or is one line)."""
    groups: list[list[bytes]] = []
    room = 0
    for line in lines:
        if room < len(line) + 1:
            groups.append([])
            room = limit
        groups[-1].append(line)
        room -= len(line) + 1
    return groups
