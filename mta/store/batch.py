"""One batch: copies that are added and removed in one transaction, with all that counts them.

Owns: puts and deletes, quotas, uids, references, the books. Never does: commit, settle, wait. Built on the loop
thread: a small message for one mailbox costs half a dozen LMDB calls of about a microsecond each.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mta.disk.pieces import PIECE, id_key, piece_key, pieces_of
from mta.errors import StorageError
from mta.model.spoolid import COUNTER_BITS, SHARD_BITS
from mta.store.protocol import Copy, Outcome, Quota, QuotaExceeded
from mta.store.tables import BODY, BOOKS_KEY, ITEM, MAILBOX, Books, Files, decode_books, encode_books, item_key

if TYPE_CHECKING:
    import lmdb

#: A batch is cut when it holds more than this; the loop stands still for about 15 ms while it builds one of that size.
MAX_OCTETS = 8 << 20
MAX_ITEMS = 2048
#: Pieces that one batch deletes. Content beyond it is marked, and purged along with the next batches.
PURGE_BITE = 1024
#: A uid begins with the millisecond of its making, as a spool id does.
_UID_SHIFT = SHARD_BITS + COUNTER_BITS
_LINE_END = b"\r\n"


class Mailbox:
    """A mailbox's record while a batch changes it."""

    __slots__ = ("forgotten", "last_uid", "messages", "octets")

    def __init__(self, record: bytes | None) -> None:
        self.messages: int
        self.octets: int
        self.last_uid: int
        self.messages, self.octets, self.last_uid = (0, 0, 0) if record is None else MAILBOX.unpack(record)
        self.forgotten = False

    def packed(self) -> bytes:
        return MAILBOX.pack(self.messages, self.octets, self.last_uid)

    def refusal(self, quota: Quota, size: int) -> QuotaExceeded | None:
        """Why one more message of that size is too much."""
        if quota.messages and self.messages >= quota.messages:
            return QuotaExceeded(f"the mailbox holds {self.messages} messages: its quota is {quota.messages}")
        if quota.octets and self.octets + size > quota.octets:
            return QuotaExceeded(f"the mailbox holds {self.octets} octets: its quota is {quota.octets}")
        return None


class StoreBatch:
    """Loop thread only, until ``txn`` is handed to the sync thread. ``now``: milliseconds since 1970. ``purge``:
    numbers whose content is to go; carried on from batch to batch."""

    def __init__(self, files: Files, quota: Quota, now: int, purge: deque[int]) -> None:
        self._files = files
        self._quota = quota
        self._now = now
        self._purge = purge
        self._bite = PURGE_BITE
        self._mailboxes: dict[int, Mailbox] = {}
        self.txn: lmdb.Transaction[bytes] = files.env.begin(write=True)
        row = self.txn.get(BOOKS_KEY, db=files.books)
        self._books = Books() if row is None else decode_books(row)
        self._put = self.txn.put
        self._get = self.txn.get
        self._delete = self.txn.delete
        self.octets = 0
        self.items = 0
        self.delivered = 0
        self.removed = 0

    def has_room(self) -> bool:
        return self.octets < MAX_OCTETS and self.items < MAX_ITEMS

    def _mailbox(self, number: int) -> Mailbox:
        mailbox = self._mailboxes.get(number)
        if mailbox is None:
            mailbox = Mailbox(self._get(id_key(number), db=self._files.mailbox))
            self._mailboxes[number] = mailbox
        return mailbox

    # What is added

    def copies(self, copies: Sequence[Copy], number: int, octets: int, ending: bytes) -> list[Outcome]:
        """Copies of one content in the mailboxes that take them. ``ending``: its last two octets. ``body`` follows."""
        # RETR ends its last line even where the content does not
        sent = octets if ending == _LINE_END or not octets else octets + len(_LINE_END)
        self.items += len(copies)
        return [self._copy(copy, number, sent) for copy in copies]

    def body(self, number: int, octets: int, references: int, content: bytes | None) -> None:
        """The content of these copies; None: its pieces are here already, from a stream."""
        if references:
            self._put(id_key(number), BODY.pack(octets, references), db=self._files.body)
        if content is None:
            if references:
                self._delete(id_key(number), db=self._files.incomplete)
            else:
                self._purge.append(number)
        elif references:
            self._pieces(number, 0, content)

    def _copy(self, copy: Copy, number: int, sent: int) -> Outcome:
        mailbox = self._mailbox(copy.mailbox)
        size = len(copy.head) + sent
        refusal = mailbox.refusal(self._quota, size)
        if refusal is not None:
            return refusal
        uid = self._uid(copy, mailbox)
        value = ITEM.pack(number, size, copy.arrival or self._now) + copy.head
        if not self._put(item_key(copy.mailbox, uid), value, overwrite=False, db=self._files.item):
            return StorageError(f"mailbox {copy.mailbox}: uid {uid} is there already, above the last one given")
        mailbox.last_uid = max(mailbox.last_uid, uid)
        mailbox.messages += 1
        mailbox.octets += size
        books = self._books
        books.messages += 1
        books.octets += size
        books.delivered += 1
        self.delivered += 1
        return uid

    def _uid(self, copy: Copy, mailbox: Mailbox) -> int:
        """It only grows, also when the clock is set back. One that is brought along must leave room for those to
        come."""
        fresh = max(self._now << _UID_SHIFT, mailbox.last_uid + 1)
        if 0 < copy.uid < fresh and self._get(item_key(copy.mailbox, copy.uid), db=self._files.item) is None:
            return copy.uid
        return fresh

    def pieces(self, number: int, first: int, octets: bytes) -> None:
        """Pieces of a stream from the number given. The first of them mark the content as incomplete."""
        if first == 0:
            self._put(id_key(number), b"", db=self._files.incomplete)
        self._pieces(number, first, octets)

    def _pieces(self, number: int, first: int, octets: bytes) -> None:
        put = self._put
        table = self._files.content
        for start in range(0, len(octets), PIECE):
            put(piece_key(number, first), octets[start : start + PIECE], db=table)
            first += 1
        self.octets += len(octets)

    def abandon(self, number: int) -> None:
        """The content of a stream that no delivery will come for."""
        self._purge.append(number)

    # What is removed

    def remove(self, number: int, uids: Sequence[int]) -> None:
        """Copies of one mailbox. The last reference takes the content along."""
        mailbox = self._mailbox(number)
        files = self._files
        pop = self.txn.pop
        for uid in uids:
            value = pop(item_key(number, uid), db=files.item)
            if value is None:
                continue  # nobody else removes what is locked; if it is gone, it is
            content, size, _arrival = ITEM.unpack_from(value)
            mailbox.messages -= 1
            mailbox.octets -= size
            self._books.messages -= 1
            self._books.octets -= size
            self._books.removed += 1
            self.removed += 1
            self._unrefer(content)
        self.items += len(uids)

    def forget(self, number: int) -> None:
        """A mailbox that is to go, if it holds nothing at the end of the batch."""
        self._mailbox(number).forgotten = True
        self.items += 1

    def _unrefer(self, content: int) -> None:
        key = id_key(content)
        body = self._get(key, db=self._files.body)
        if body is None:
            return  # the audit tells
        octets, references = BODY.unpack(body)
        if references > 1:
            self._put(key, BODY.pack(octets, references - 1), db=self._files.body)
            return
        self._delete(key, db=self._files.body)
        pieces = pieces_of(octets)
        if pieces > self._bite:
            self._put(key, b"", db=self._files.incomplete)
            self._purge.append(content)
            return
        self._bite -= pieces
        for piece in range(pieces):
            self._delete(piece_key(content, piece), db=self._files.content)

    # The end

    def close(self) -> bool:
        """The last of the batch: a bite of what is to be purged, the records and the books."""
        while self._purge and self._bite > 0:
            if not self._purge_some(self._purge[0]):
                break
            self._purge.popleft()
        for number, mailbox in self._mailboxes.items():
            if mailbox.forgotten and not mailbox.messages:
                self._delete(id_key(number), db=self._files.mailbox)
            else:
                self._put(id_key(number), mailbox.packed(), db=self._files.mailbox)
        self._put(BOOKS_KEY, encode_books(self._books), db=self._files.books)
        return bool(self._purge)

    def _purge_some(self, number: int) -> bool:
        """Whether all of it is gone."""
        prefix = id_key(number)
        with self.txn.cursor(self._files.content) as cursor:
            there = cursor.set_range(prefix)
            while there and cursor.key().startswith(prefix):
                if self._bite <= 0:
                    return False
                there = cursor.delete() and bool(cursor.key())
                self._bite -= 1
        self._delete(prefix, db=self._files.incomplete)
        return True
