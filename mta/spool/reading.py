"""Reads of a shard: the last committed snapshot with the uncommitted changes laid over it.

Owns: the overlays, and what is read through them and the snapshot. Never does: write, or wait for a commit.

Why no reader table is needed. The snapshot is renewed on the loop thread between two commits, never during one: when
a batch is built, the snapshot is of the last commit, N. The commit of N+1 writes only to pages that were freed by
transactions up to N-1 (without a reader table ``mdb_find_oldest`` says txnid - 1, and a free-list entry must be older
than that), and these are in neither snapshot N-1 nor N. Pages that N+1 frees are written to by N+3 at the earliest,
and by then the snapshot has been renewed twice. The meta page that the commit overwrites is that of N-1, which nobody
reads: a snapshot copies its roots when it begins, and none begins during a commit, so none sees half a meta page.
So the one rule is: *nothing outlives a renewal*. All that leaves this module is copied out, and ``content`` asks for
the snapshot anew for every chunk.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import lmdb

from mta.disk.pieces import PIECE, PIECES_PER_CHUNK, id_key, piece_key
from mta.disk.snapshot import SnapshotReader
from mta.errors import StorageError
from mta.model.message import Message
from mta.model.spoolid import format_id
from mta.spool.overlay import Overlay
from mta.spool.protocol import Change, Ledger
from mta.spool.shard import Shard
from mta.spool.tables import (
    LEDGER_KEY,
    decode_ledger,
    decode_message,
    due_bound,
)

if TYPE_CHECKING:
    from lmdb import _Database

    from mta.disk.stream import DiskStream


class Reader(SnapshotReader):
    """Loop thread only. ``gathering`` lies over ``flying``, which lies over the snapshot."""

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        self._shard = shard
        self.gathering = Overlay()
        self.flying = Overlay()

    def take_off(self, rest: Iterable[tuple[Change, bytes | None, list[bytes]]]) -> None:
        """A batch was built of what had gathered, except for ``rest``."""
        self.flying, self.gathering = self.gathering, Overlay()
        for change, record, generated in rest:
            self.gathering.note(change, record, generated)

    def renew(self) -> None:
        """After a commit: the snapshot moves on, and what flew is in it."""
        super().renew()
        self.flying = Overlay()

    def forget_changes(self) -> None:
        """After a failed commit: nothing that was applied since the snapshot will be written."""
        self.gathering = Overlay()
        self.flying = Overlay()

    def due(self, after: bytes, until: int, limit: int) -> list[tuple[bytes, str]]:
        """See ``Spool.due``."""
        bound = due_bound(until)
        over = {**self.flying.due, **self.gathering.due}
        found = [(key, domain) for key, domain in over.items() if domain is not None and after < key < bound]
        found += [
            (key, str(value, "utf-8"))
            for key, value in self._scan(self._shard.due, after, limit, over.__contains__, bound)
        ]
        found.sort()
        return found[:limit]

    def messages(self, after: int, limit: int) -> list[Message]:
        """See ``Spool.messages``."""
        over = {**self.flying.messages, **self.gathering.messages}
        hidden = {id_key(spool_id) for spool_id in over}
        found = [(id_key(spool_id), record) for spool_id, record in over.items() if record and spool_id > after]
        found += self._scan(self._shard.message, id_key(after), limit, hidden.__contains__)
        found.sort()
        return [decode_message(record) for _key, record in found[:limit]]

    def _scan(
        self,
        table: "_Database",
        after: bytes,
        limit: int,
        hidden: Callable[[bytes], bool],
        bound: bytes | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` rows of the snapshot with after < key < bound that are not hidden."""
        rows: list[tuple[bytes, bytes]] = []
        try:
            with self.snapshot.cursor(table) as cursor:
                there = cursor.set_range(after) if after else cursor.first()
                if there and cursor.key() == after:
                    there = cursor.next()
                while there and len(rows) < limit:
                    key, value = cursor.item()
                    if bound is not None and key >= bound:
                        break
                    if not hidden(key):
                        rows.append((key, value))
                    there = cursor.next()
        except lmdb.Error as error:
            raise self.unreadable(error) from error
        return rows

    def load(self, spool_id: int) -> Message | None:
        """See ``Spool.load``: a fresh object each time."""
        for overlay in (self.gathering, self.flying):
            if spool_id in overlay.messages:
                record = overlay.messages[spool_id]
                return None if record is None else decode_message(record)
        record = self.get(self._shard.message, id_key(spool_id))
        return None if record is None else decode_message(record)

    def content(self, message: Message) -> Iterator[bytes]:
        """See ``Spool.content``. Raises StorageError when a piece is missing."""
        for first in range(0, message.pieces, PIECES_PER_CHUNK):
            overlaid = self.gathering.content.get(message.id) or self.flying.content.get(message.id)
            if overlaid is not None:
                yield overlaid[first * PIECE : (first + PIECES_PER_CHUNK) * PIECE]
            else:
                yield self._chunk(message.id, first, message.pieces)

    def stream(self, stream: "DiskStream") -> Iterator[bytes]:
        """See ``DiskStream.read``."""
        for first in range(stream.start, stream.pieces, PIECES_PER_CHUNK):
            yield self._chunk(stream.number, first, stream.pieces)

    def _chunk(self, spool_id: int, first: int, end: int) -> bytes:
        pieces = []
        for number in range(first, min(first + PIECES_PER_CHUNK, end)):
            piece = self.get(self._shard.content, piece_key(spool_id, number))
            if piece is None:
                raise StorageError(
                    f"{self._shard.directory}: piece {number} of the content of {format_id(spool_id)} is missing"
                )
            pieces.append(piece)
        return b"".join(pieces)

    def ledger(self) -> Ledger:
        """The books as of the snapshot."""
        row = self.get(self._shard.ledger, LEDGER_KEY)
        return Ledger() if row is None else decode_ledger(row)

    def incomplete(self) -> list[int]:
        """Ids whose content no record refers to."""
        with self.snapshot.cursor(self._shard.incomplete) as cursor:
            return [int.from_bytes(key, "big") for key in cursor.iternext(keys=True, values=False)]

    def used_octets(self) -> int:
        """What the tables take of the map, in octets; constant time."""
        pages = 0
        psize = 0
        for table in self._shard.tables():
            stat = self.snapshot.stat(table)
            pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            psize = stat["psize"]
        return pages * psize
