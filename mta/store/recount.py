"""The recount that the store's books are checked against: every item, body, mailbox and piece is looked at.

Owns: what must agree with what. Never does: repair. Takes a dictionary entry of about 100 octets a content.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mta.disk.pieces import id_key, pieces_of
from mta.store.protocol import Audit
from mta.store.reading import Reader
from mta.store.tables import BODY, ITEM, MAILBOX

if TYPE_CHECKING:
    from lmdb import _Database

#: Rows of a slice, about a millisecond.
SLICE = 2000
#: Findings that are told in words.
SHOWN = 20


def recount(reader: Reader, audit: Audit) -> Iterator[None]:
    """Fills in ``audit``, slice by slice; no commit may come between them."""
    counting = _Recount(reader, audit)
    yield from counting.items()
    yield from counting.mailboxes()
    yield from counting.bodies()
    yield from counting.marks()
    counting.books()


class _Recount:
    def __init__(self, reader: Reader, audit: Audit) -> None:
        self._reader = reader
        self._audit = audit
        self._references: Counter[int] = Counter()
        self._found: dict[int, tuple[int, int, int]] = {}
        self._pieces = 0

    def _finding(self, text: str) -> None:
        self._audit.drift += 1
        if len(self._audit.findings) < SHOWN:
            self._audit.findings.append(text)

    def _rows(self, table: "_Database") -> Iterator[tuple[bytes, bytes] | None]:
        """Every row; None where a slice ends."""
        with self._reader.snapshot.cursor(table) as cursor:
            for count, row in enumerate(cursor, 1):
                yield row
                if count % SLICE == 0:
                    yield None

    def items(self) -> Iterator[None]:
        mailbox, messages, octets, last = -1, 0, 0, 0
        for row in self._rows(self._reader.files.item):
            if row is None:
                yield
                continue
            key, value = row
            owner = int.from_bytes(key[:8], "big")
            if owner != mailbox:
                self._found[mailbox] = (messages, octets, last)
                mailbox, messages, octets = owner, 0, 0
            number, size, _arrival = ITEM.unpack_from(value)
            self._references[number] += 1
            messages += 1
            octets += size
            last = int.from_bytes(key[8:], "big")
        self._found[mailbox] = (messages, octets, last)
        del self._found[-1]

    def mailboxes(self) -> Iterator[None]:
        for row in self._rows(self._reader.files.mailbox):
            if row is None:
                yield
                continue
            number = int.from_bytes(row[0], "big")
            messages, octets, last_uid = MAILBOX.unpack(row[1])
            counted = self._found.pop(number, (0, 0, 0))
            if counted[:2] != (messages, octets):
                self._finding(
                    f"mailbox {number}: {messages} messages, {octets} octets in its record, {counted[:2]} counted"
                )
            if counted[2] > last_uid:
                self._finding(f"mailbox {number}: a uid is above the last one given")
            self._audit.mailboxes += 1
            self._audit.messages += counted[0]
            self._audit.octets += counted[1]
        for number in self._found:
            self._finding(f"mailbox {number}: has messages and no record")

    def bodies(self) -> Iterator[None]:
        for row in self._rows(self._reader.files.body):
            if row is None:
                yield
                continue
            number = int.from_bytes(row[0], "big")
            octets, references = BODY.unpack(row[1])
            counted = self._references.pop(number, 0)
            if counted != references:
                self._finding(f"content {number}: {references} references in its record, {counted} counted")
            self._pieces += pieces_of(octets)
            self._audit.bodies += 1
        for number in self._references:
            self._finding(f"content {number}: is referred to and is not there")

    def marks(self) -> Iterator[None]:
        """Incomplete content: its pieces are there, and will be purged."""
        for row in self._rows(self._reader.files.incomplete):
            if row is not None:
                yield from self._marked(row[0])
        entries = self._reader.snapshot.stat(self._reader.files.content)["entries"]
        if entries != self._pieces:
            self._finding(f"{entries} pieces of content, {self._pieces} belong to something")

    def _marked(self, prefix: bytes) -> Iterator[None]:
        end = id_key(int.from_bytes(prefix, "big") + 1)
        with self._reader.snapshot.cursor(self._reader.files.content) as cursor:
            there = cursor.set_range(prefix)
            while there and cursor.key() < end:
                self._pieces += 1
                there = cursor.next()
                if self._pieces % SLICE == 0:
                    yield

    def books(self) -> None:
        audit, books = self._audit, self._reader.books()
        audit.delivered, audit.removed = books.delivered, books.removed
        if (books.messages, books.octets) != (audit.messages, audit.octets):
            self._finding(
                f"{books.messages} messages, {books.octets} octets in the books, "
                f"{audit.messages} and {audit.octets} counted"
            )
        if books.delivered - books.removed != books.messages:
            self._finding(f"{books.delivered} delivered less {books.removed} removed is not {books.messages} held")
