"""Content on its way into an environment while it still arrives.

Owns: cutting what arrives into runs of whole pieces, and how much of it is not on disk yet. Never does: write; its
owner puts runs into batches in the order they came, so that of the ticket or delivery is never before the content's.

A content may have a *front* that grows until the last moment: it stays in memory, the first pieces are kept free for
it, and those that it does not need are empty.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from mta.disk.pieces import FRONT_PIECES, PIECE, PIECES_PER_CHUNK

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
        read: "Callable[[DiskStream], Iterator[bytes]] | None" = None,
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
        self._read = read
        self._tail = bytearray()
        self._front: bytes | None = None
        self._then: Callable[[], None] | None = None
        #: The number of the first piece behind the front.
        self.start = 0
        #: Those that were handed over, and those in front.
        self.pieces = 0

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

    def keep_front(self) -> None:
        """What was given so far is the front."""
        if self.pieces:
            raise RuntimeError("the front has been handed over already")
        self._front = bytes(self._tail)
        self._tail.clear()
        self.start = self.pieces = FRONT_PIECES

    def extend_front(self, data: bytes) -> None:
        """RuntimeError where no front was kept, or it is full."""
        if self._front is None or len(self._front) + len(data) > FRONT_PIECES * PIECE:
            raise RuntimeError("there is no room in front of the content")
        self._front += data
        self.octets += len(data)
        self.backlog += len(data)

    def all_written(self, then: Callable[[], None]) -> bool:
        """Whether all behind the front can be read; if not, ``then`` is called once when it can, or never can. The
        last piece is handed over as it is."""
        if self._tail:
            self._cut(len(self._tail))
        if self.backlog > len(self._front or b""):
            self._then = then
            return False
        return True

    def read(self) -> Iterator[bytes]:
        """What was written behind the front, in chunks of at most 64 KiB, each its own short read; also when the
        ticket has settled. Raises StorageError when it is gone, or never came there."""
        assert self._read is not None
        return self._read(self)

    def finish(self) -> None:
        """Hands over what is left; the ticket follows at once."""
        self.finished = True
        if self._tail:
            self._cut(len(self._tail))
        if self._front is not None:
            self._hand_over(self, 0, self._front)

    def _cut(self, octets: int) -> None:
        run = bytes(self._tail[:octets])
        del self._tail[:octets]
        first = self.pieces
        self.pieces += -(-octets // PIECE)
        self._hand_over(self, first, run)

    def abandon(self) -> None:
        """Idempotent; too late after the ticket. What was written leaves the disk with one of the next batches."""
        if self.abandoned or self.finished:
            return
        self.discard()

    def discard(self) -> None:
        """As ``abandon``, also for a stream whose ticket was refused."""
        self.abandoned = True
        self._then = None
        self.backlog -= len(self._tail)
        self._tail.clear()
        if self.pieces > self.start:
            self._give_up(self)

    def written(self, octets: int) -> None:
        """A commit took this much."""
        before = self.backlog
        self.backlog -= octets
        if before >= DRAINED > self.backlog and self.on_drained is not None and not self.abandoned:
            self.on_drained()
        if self._then is not None and self.backlog <= len(self._front or b""):
            then, self._then = self._then, None
            then()


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
