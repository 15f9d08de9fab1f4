"""Content on its way into an environment while it still arrives.

Owns: cutting what arrives into runs of whole pieces, and how much of it is not on disk yet. Never does: write; its
owner puts runs into batches in the order they came, so that of the ticket or delivery is never before the content's.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from mta.disk.pieces import PIECE, PIECES_PER_CHUNK

_RUN = PIECE * PIECES_PER_CHUNK
#: A stream's backlog (octets) below which ``on_drained`` is called.
DRAINED = 1 << 20


class DiskStream:
    """A ``ContentStream`` of spool or store; ``number``: the number of the content. Loop thread only."""

    def __init__(
        self,
        number: int,
        hand_over: "Callable[[DiskStream, int, bytes], None]",
        give_up: "Callable[[DiskStream], None]",
    ) -> None:
        self.number: Final = number
        self.octets = 0
        self.backlog = 0
        #: The last two octets, or as many as there are.
        self.ending = b""
        self.on_drained: Callable[[], None] | None = None
        self.abandoned = False
        self.finished = False
        self._hand_over = hand_over
        self._give_up = give_up
        self._tail = bytearray()
        self._pieces = 0

    def append(self, data: bytes) -> None:
        """More content, of any length. Nothing happens after ``abandon``."""
        if self.abandoned:
            return
        self.octets += len(data)
        self.backlog += len(data)
        self._tail += data
        self.ending = data[-2:] if len(data) > 1 else (self.ending + data)[-2:]
        if len(self._tail) >= _RUN:
            self._cut(len(self._tail) // PIECE * PIECE)

    def finish(self) -> None:
        """Hands over what is left; the ticket follows at once."""
        self.finished = True
        if self._tail:
            self._cut(len(self._tail))

    def _cut(self, octets: int) -> None:
        run = bytes(self._tail[:octets])
        del self._tail[:octets]
        first = self._pieces
        self._pieces += -(-octets // PIECE)
        self._hand_over(self, first, run)

    def abandon(self) -> None:
        """Idempotent; too late after the ticket. What was written leaves the disk with one of the next batches."""
        if self.abandoned or self.finished:
            return
        self.discard()

    def discard(self) -> None:
        """As ``abandon``, also for a stream whose ticket was refused."""
        self.abandoned = True
        self.backlog -= len(self._tail)
        self._tail.clear()
        if self._pieces:
            self._give_up(self)

    def written(self, octets: int) -> None:
        """A commit took this much."""
        before = self.backlog
        self.backlog -= octets
        if before >= DRAINED > self.backlog and self.on_drained is not None and not self.abandoned:
            self.on_drained()


class MemoryStream:
    """The like for spool and store in memory: never behind for longer than a turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.octets = 0
        self.backlog = 0
        self.on_drained: Callable[[], None] | None = None
        self.content = bytearray()
        self._loop = loop

    def append(self, data: bytes) -> None:
        self.content += data
        self.octets += len(data)
        self.backlog += len(data)
        self._loop.call_soon(self._written, len(data))

    def _written(self, octets: int) -> None:
        before = self.backlog
        self.backlog -= octets
        if before >= DRAINED > self.backlog and self.on_drained is not None:
            self.on_drained()

    def abandon(self) -> None:
        self.content.clear()
