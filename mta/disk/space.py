"""How much may still be stored: the file system's free blocks and the room in the map, less a reserve.

Owns: the low-water mark and the second for which an answer holds. Never does: refuse anything.
Room inside the file counts as free, up to half the mark: the file never shrinks, so without it a backlog that once took
the disk to the mark would have mail refused for ever, however empty the queue; and half the mark is left for others.
The reserve is what keeps the queue moving when the disk is nearly full: LMDB copies before it writes, so also a
removal needs free pages. There is no ballast file beside it: what the file has grown to stays allocated, so pages
that messages have left are there for removals even when somebody else has filled the disk.
"""

import os
from collections.abc import Callable
from pathlib import Path

from mta.clock import Clock

#: Octets of free space below which nothing more is accepted.
FREE_SPACE = 256 << 20
_HOLDS = 1.0
#: What st_blocks counts in, whatever the file system's own blocks are.
_BLOCK = 512


class FreeSpace:
    """Loop thread only. ``path``: the shard's data file. ``used``: octets of it that hold something."""

    def __init__(self, path: Path, clock: Clock, mark: int, map_size: int, used: Callable[[], int]) -> None:
        self._path = path
        self._clock = clock
        self._mark = mark
        # a map that had to be small keeps a smaller reserve
        self._map_room = map_size - min(mark, map_size // 8)
        self._used = used
        self._octets = 0
        self._until = float("-inf")

    def octets(self) -> int:
        """What may still be stored; ≤ 0: nothing. Looked up at most once a second, and reckoned down in between."""
        now = self._clock.monotonic()
        if now >= self._until:
            self._until = now + _HOLDS
            disk = os.statvfs(self._path)
            used = self._used()
            inside = os.stat(self._path).st_blocks * _BLOCK - used
            credit = max(0, min(inside, self._mark // 2))
            self._octets = min(disk.f_bavail * disk.f_frsize + credit - self._mark, self._map_room - used)
        return self._octets

    def take(self, octets: int) -> None:
        """So much was just accepted."""
        self._octets -= octets
