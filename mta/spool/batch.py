"""One batch: what is written in one transaction, and who is told after its commit.

Owns: turning tickets, changes and pieces of streams into puts and deletes. Never does: commit, settle, wait.
Built on the loop thread: a message costs a handful of LMDB calls of less than a microsecond each, which is less than
sharing the interpreter with a thread that makes them would cost.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import lmdb

from mta.disk.pieces import PIECE, id_key, piece_key, pieces_of
from mta.errors import StorageError
from mta.model.spoolid import format_id
from mta.spool.books import enter
from mta.spool.protocol import Change, Ledger, Ticket
from mta.spool.shard import Shard
from mta.spool.tables import LEDGER_KEY, encode_ledger

if TYPE_CHECKING:
    from mta.disk.stream import DiskStream

#: A batch is cut when it holds more than this; the loop stands still for about 5 ms while it builds one of that size.
MAX_OCTETS = 16 << 20
MAX_ITEMS = 8192
#: Pieces that one batch deletes of purged content. Content of more pieces than this is never deleted at one go.
PURGE_BITE = 1024
#: What a message costs beside its content, for the bound above.
_RECORD_OCTETS = 400


class Batch:
    """Loop thread only, until ``txn`` is handed to the sync thread."""

    def __init__(self, shard: Shard, ledger: Ledger, purge: deque[int]) -> None:
        """``ledger``: the books after the last batch, carried on in place. ``purge``: ids whose content is to go."""
        self._shard = shard
        self._ledger = ledger
        self._purge = purge
        self.txn: lmdb.Transaction[bytes] = shard.env.begin(write=True)
        self._put = self.txn.put
        self._delete = self.txn.delete
        self.octets = 0
        self.items = 0
        self.accepted = 0
        self.tickets: list[Ticket] = []
        self.refused: list[tuple[Ticket, StorageError]] = []
        self.committed: list[Callable[[], None]] = []
        self.runs: list[tuple[DiskStream, int]] = []

    def has_room(self) -> bool:
        return self.octets < MAX_OCTETS and self.items < MAX_ITEMS

    def ticket(self, ticket: Ticket, record: bytes) -> None:
        """An accepted message, its content whole or what its stream has left."""
        self.tickets.append(ticket)
        message = ticket.message
        key = id_key(message.id)
        if not self._put(key, record, overwrite=False, db=self._shard.message):
            text = f"{self._shard.directory}: {format_id(message.id)} is there already: was the clock set back?"
            self.refused.append((self.tickets.pop(), StorageError(text)))
            self._delete(key, db=self._shard.incomplete)
            return
        if ticket.stream is not None:
            self._delete(key, db=self._shard.incomplete)
        elif ticket.content:
            self._pieces(message.id, 0, ticket.content)
        due = self._shard.due
        for due_key, domain in ticket.entries:
            self._put(due_key, domain.encode(), db=due)
        self.accepted += len(message.recipients)
        self.octets += _RECORD_OCTETS

    def _pieces(self, spool_id: int, number: int, octets: bytes) -> None:
        """Never over another message's content, should an id come twice."""
        put = self._put
        content = self._shard.content
        if len(octets) <= PIECE:
            put(piece_key(spool_id, number), octets, overwrite=False, db=content)
        else:
            for start in range(0, len(octets), PIECE):
                put(piece_key(spool_id, number), octets[start : start + PIECE], overwrite=False, db=content)
                number += 1
        self.octets += len(octets)

    def change(self, change: Change, records: tuple[bytes | None, list[bytes]]) -> None:
        """What became of a message: its record (None: it leaves) and those of the DSNs that are committed with it."""
        record, generated = records
        message = change.message
        if record is None:
            self._remove(message.id, message.pieces)
        else:
            self._put(id_key(message.id), record, db=self._shard.message)
        due = self._shard.due
        for key in change.leaving:
            self._delete(key, db=due)
        for key, domain in change.entering:
            self._put(key, domain.encode(), db=due)
        for (dsn, content, entries), dsn_record in zip(change.generated, generated, strict=True):
            self._put(id_key(dsn.id), dsn_record, db=self._shard.message)
            self._pieces(dsn.id, 0, content)
            for key, domain in entries:
                self._put(key, domain.encode(), db=due)
        enter(self._ledger, change)
        self.octets += _RECORD_OCTETS
        if change.committed is not None:
            self.committed.append(change.committed)

    def _remove(self, spool_id: int, pieces: int) -> None:
        self._delete(id_key(spool_id), db=self._shard.message)
        if pieces > PURGE_BITE:
            self._purge_later(spool_id)
            return
        for number in range(pieces):
            self._delete(piece_key(spool_id, number), db=self._shard.content)

    def _purge_later(self, spool_id: int) -> None:
        self._put(id_key(spool_id), b"", db=self._shard.incomplete)
        self._purge.append(spool_id)

    def run(self, stream: "DiskStream", run: tuple[int, bytes]) -> None:
        """Pieces of a stream from the number given. The first run marks the content as incomplete. A front comes last;
        pieces that it does not need are empty."""
        first, octets = run
        self.runs.append((stream, len(octets)))
        if stream.abandoned:
            return
        if first in (0, stream.start):
            self._put(id_key(stream.number), b"", db=self._shard.incomplete)
        self._pieces(stream.number, first, octets)
        if first < stream.start:
            for number in range(pieces_of(len(octets)), stream.start):
                self._put(piece_key(stream.number, number), b"", overwrite=False, db=self._shard.content)

    def abandon(self, stream: "DiskStream", _nothing: None) -> None:
        """The content of a stream that no ticket will come for."""
        self._purge.append(stream.number)

    def close(self) -> None:
        """The last of the batch: a bite of what is to be purged, and the books."""
        bite = PURGE_BITE
        while self._purge and bite > 0:
            bite = self._purge_some(self._purge[0], bite)
        self._ledger.accepted += self.accepted
        self._put(LEDGER_KEY, encode_ledger(self._ledger), db=self._shard.ledger)

    def _purge_some(self, spool_id: int, bite: int) -> int:
        prefix = id_key(spool_id)
        with self.txn.cursor(self._shard.content) as cursor:
            # an id that came twice: the first message's record refers to the content, so only the mark goes
            there = self.txn.get(prefix, db=self._shard.message) is None and cursor.set_range(prefix)
            while there and cursor.key().startswith(prefix):
                if bite == 0:
                    return 0
                there = cursor.delete() and bool(cursor.key())
                bite -= 1
        self._delete(prefix, db=self._shard.incomplete)
        self._purge.popleft()
        return bite
