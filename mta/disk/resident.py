"""Keeps the memory that a shard's map takes within bounds, however much of the spool has been read.

Owns: the look at our resident file pages, and giving the map's pages back. Never does: touch their content.
The map of a large spool fills with pages as messages are read, and all of them would count as memory of this process
(and of its cgroup's limit) until the system runs short. Given back, they stay in the page cache: reading one again
costs a minor fault of less than a microsecond. Linux only; elsewhere nothing happens.
"""

import ctypes
import mmap
import os
from pathlib import Path

#: Octets of file pages that may be resident beyond those that were when the shard was opened.
BOUND = 32 << 20
#: Seconds between two looks: what a worker at full speed reads meanwhile is some 10 MB.
INTERVAL = 0.25

_MADV_DONTNEED = getattr(mmap, "MADV_DONTNEED", 4)


class ResidentMap:
    """The map of one environment whose data file is ``path``; make it right after opening. Loop thread only."""

    def __init__(self, path: Path, bound: int = BOUND) -> None:
        self._start, self._length = _mapped_at(path)
        self._bound = resident_file_octets() + bound
        self._advise = ctypes.CDLL(None).madvise
        self._advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def trim(self) -> bool:
        """Gives the pages back when there are too many. The map is only read through (no WRITEMAP), so nothing is lost,
        and pages that are being read at this moment come back by themselves."""
        if not self._length or resident_file_octets() <= self._bound:
            return False
        self._advise(self._start, self._length, _MADV_DONTNEED)
        return True


def resident_file_octets() -> int:
    """File pages in the memory of this process, in octets; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[2]) * mmap.PAGESIZE
    except OSError:
        return 0


def _mapped_at(path: Path) -> tuple[int, int]:
    """(address, length) of the map of a file in this process; (0, 0) where /proc does not tell."""
    inode = str(os.stat(path).st_ino)
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return 0, 0
    for line in lines:
        words = line.split(maxsplit=5)
        if words[4] == inode and words[5].endswith(path.name):
            first, _, end = words[0].partition("-")
            return int(first, 16), int(end, 16) - int(first, 16)
    return 0, 0
