"""Reads of the store: the last committed snapshot, and a mailbox as it was at one moment.

Owns: what is read through the snapshot, and views of a mailbox. Never does: write, lock, or wait.

The snapshot is renewed on the loop thread between two commits, never during one, and nothing outlives a renewal: all
that leaves this module is copied out, and ``content`` asks for the snapshot anew for every chunk. Why this is safe
without a reader table is spelled out in ``mta.spool.reading``; that a batch here may be built over several turns of
the loop changes nothing in it. The pages that transaction N+1 writes to, also those that LMDB spills before the
commit, were freed by N-1 or earlier, and are in no snapshot that is read while N+1 is under way: that is N.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import lmdb

from mta.disk.pieces import PIECE, id_key, piece_key, pieces_of
from mta.disk.snapshot import SnapshotReader
from mta.errors import StorageError
from mta.model.spoolid import format_id
from mta.store.protocol import BEGINNING, CHUNK, Gone, Quota, Usage
from mta.store.tables import BODY, BOOKS_KEY, ITEM, MAILBOX, Books, Files, decode_books, item_key
from mta_ext.kept import read_kept

if TYPE_CHECKING:
    pass

_SIZE = slice(8, 16)
#: Octets of content that may be read before somebody looks how many pages of the map they have left in memory.
_TRIM_AFTER = 8 << 20


class Reader(SnapshotReader):
    """Loop thread only."""

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        self.files = files
        #: Called whenever much has been read.
        self.trim: Callable[[], object] | None = None
        self._read = 0

    def books(self) -> Books:
        row = self.get(self.files.books, BOOKS_KEY)
        return Books() if row is None else decode_books(row)

    def usage(self, mailbox: int) -> Usage:
        """See ``Store.usage``."""
        record = self.get(self.files.mailbox, id_key(mailbox))
        return Usage(0, 0) if record is None else Usage(*MAILBOX.unpack(record)[:2])

    def mailboxes(self, after: int, limit: int) -> list[int]:
        """See ``Store.mailboxes``."""
        found: list[int] = []
        try:
            with self.snapshot.cursor(self.files.mailbox) as cursor:
                there = cursor.set_range(id_key(after + 1))
                while there and len(found) < limit:
                    found.append(int.from_bytes(cursor.key(), "big"))
                    there = cursor.next()
        except lmdb.Error as error:
            raise self.unreadable(error) from error
        return found

    def index(self, mailbox: int) -> "tuple[array[int], array[int]]":
        """(uids, sizes) of all messages, in order: about 0.3 µs each."""
        uids, sizes = bytearray(), bytearray()
        prefix = id_key(mailbox)
        try:
            with self.snapshot.cursor(self.files.item) as cursor:
                if cursor.set_range(prefix):
                    for key, value in cursor:
                        if not key.startswith(prefix):
                            break
                        uids += key[8:]
                        sizes += value[_SIZE]
        except lmdb.Error as error:
            raise self.unreadable(error) from error
        return _numbers(uids), _numbers(sizes)

    def item(self, mailbox: int, uid: int) -> tuple[int, int, int, bytes]:
        """(content number, size, arrival, head). Raises Gone."""
        value = self.get(self.files.item, item_key(mailbox, uid))
        if value is None:
            raise Gone(f"{format_id(uid)} of mailbox {mailbox} is not there any more")
        return *ITEM.unpack_from(value), value[ITEM.size :]

    def body(self, number: int) -> int:
        """Octets of a content."""
        body = self.get(self.files.body, id_key(number))
        if body is None:
            raise StorageError(f"{self.files.directory}: content {number} is missing: run `mta mailbox audit`")
        octets: int = BODY.unpack(body)[0]
        return octets

    def pieces(self, number: int, first: int, end: int) -> bytes:
        """The octets of these pieces, from ``first`` to before ``end``."""
        pieces = []
        for at in range(first, end):
            piece = self.get(self.files.content, piece_key(number, at))
            if piece is None:
                raise self.missing(number, at)
            pieces.append(piece)
        self._count(len(pieces) * PIECE)
        return b"".join(pieces)

    def missing(self, number: int, piece: int) -> StorageError:
        return StorageError(f"{self.files.directory}: piece {piece} of content {number} is missing")

    def _count(self, octets: int) -> None:
        self._read += octets
        if self._read >= _TRIM_AFTER and self.trim is not None:
            self._read = 0
            self.trim()

    def content(self, mailbox: int, uid: int) -> Iterator[bytes]:
        """See ``View.content``. The first chunk begins with the head."""
        number, _size, _arrival, head = self.item(mailbox, uid)
        count = pieces_of(self.body(number))
        first = 0
        while len(head) > CHUNK:
            yield head[:CHUNK]
            head = head[CHUNK:]
        while head or first < count:
            end = min(count, first + (CHUNK - len(head)) // PIECE)
            yield head + self._still_there(mailbox, uid, number, first, end)
            head, first = b"", end

    def whole(self, mailbox: int, uid: int, size: int) -> bytes:
        """See ``View.whole``. ``size``: of the message as sent. What a RETR of an ordinary message costs is this, so it
        asks for nothing twice: its size tells how many pieces there are."""
        files = self.files
        try:
            octets = read_kept(self.snapshot.get, files.item, files.content, mailbox, uid, size)
        except LookupError as error:
            raise self.missing(*error.args) from None
        except lmdb.Error as error:
            raise self.unreadable(error) from error
        if octets is None:
            raise Gone(f"{format_id(uid)} of mailbox {mailbox} is not there any more")
        self._count(len(octets))
        return octets

    def beginning(self, mailbox: int, uid: int) -> bytes:
        """See ``View.beginning``."""
        number, _size, _arrival, head = self.item(mailbox, uid)
        return head + self.pieces(number, 0, min(pieces_of(self.body(number)), pieces_of(BEGINNING)))

    def _still_there(self, mailbox: int, uid: int, number: int, first: int, end: int) -> bytes:
        try:
            return self.pieces(number, first, end)
        except StorageError:
            self.item(mailbox, uid)  # raises Gone: a view without a lock, and somebody removed it meanwhile
            raise

    def incomplete(self) -> list[int]:
        """Contents that no body refers to."""
        with self.snapshot.cursor(self.files.incomplete) as cursor:
            return [int.from_bytes(key, "big") for key in cursor.iternext(keys=True, values=False)]

    def last_number(self) -> int:
        """The greatest content number that is in use."""
        last = 0
        for table in (self.files.body, self.files.incomplete):
            with self.snapshot.cursor(table) as cursor:
                if cursor.last():
                    last = max(last, int.from_bytes(cursor.key(), "big"))
        return last

    def used_octets(self) -> int:
        """What the tables take of the map, in octets; constant time."""
        pages = psize = 0
        for table in self.files.db.values():
            stat = self.snapshot.stat(table)
            pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            psize = stat["psize"]
        return pages * psize

    def full(self, mailbox: int, octets: int, quota: Quota) -> bool:
        """Whether ``octets`` more are beyond the quota, as things are now."""
        usage = self.usage(mailbox)
        return bool(
            (quota.messages and usage.messages >= quota.messages)
            or (quota.octets and usage.octets + octets > quota.octets)
        )


def _numbers(octets: bytearray) -> "array[int]":
    """Big-endian numbers of 8 octets each."""
    numbers = array("Q", bytes(octets))
    numbers.byteswap()
    return numbers


class MailboxView:
    """A ``View``: two arrays, 16 octets a message. Loop thread only."""

    def __init__(self, reader: Reader, mailbox: int) -> None:
        uids, sizes = reader.index(mailbox)
        self.uids: Sequence[int] = uids
        self.sizes: Sequence[int] = sizes
        self.mailbox = mailbox
        self._reader = reader

    def unique_ids(self) -> list[bytes]:
        """See ``View.unique_ids``."""
        return [format_id(uid).encode() for uid in self.uids]

    def arrival(self, index: int) -> int:
        """See ``View.arrival``."""
        return self._reader.item(self.mailbox, self.uids[index])[2]

    def beginning(self, index: int) -> bytes:
        """See ``View.beginning``."""
        return self._reader.beginning(self.mailbox, self.uids[index])

    def content(self, index: int) -> Iterator[bytes]:
        """See ``View.content``."""
        return self._reader.content(self.mailbox, self.uids[index])

    def whole(self, index: int) -> bytes:
        """See ``View.whole``."""
        return self._reader.whole(self.mailbox, self.uids[index], self.sizes[index])
