"""The verbs of ``Directory`` over an open environment; also the listings that administration needs.

Owns: the order in which an address is resolved, searches, pages. Never does: open, write, or keep a transaction: each
verb reads one snapshot and lets it go, so that no reader ever holds back pages that the writer wants again.
"""

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from mta.directory import tables
from mta.directory.addresses import fold
from mta.directory.protocol import Credentials, DirectoryUnreadable, Person, Resolution
from mta.directory.tables import resolution

if TYPE_CHECKING:
    from lmdb import _Database

#: People that one word of a search may find; beyond it a search is not complete.
SEARCH_LIMIT: Final = 5_000
#: Tags that are tried for one address: separators in its local part beyond so many count as part of the name.
TAGS: Final = 8
_POSTMASTER: Final = "postmaster"


class Reading:
    """``separator``: between user and tag, "": nothing is. ``postmaster``: who gets mail for the postmaster of a domain
    where the directory has none, "": nobody. Any thread, one at a time. ``broken``: the files are damaged."""

    def __init__(
        self, env: lmdb.Environment, db: "dict[bytes, _Database]", separator: str = "", postmaster: str = ""
    ) -> None:
        self.broken = False
        self._env = env
        self._entry, self._group, self._person, self._secret, self._word, self._meta = (db[n] for n in tables.NAMES)
        self._separator = separator
        self._postmaster = postmaster

    # Directory

    def resolve(self, address: str) -> Resolution | None:
        """An exact entry, else the longest one before a separator, else the postmaster, else the catch-all."""
        key = tables.address_key(address)
        if not key:
            return None
        try:
            with self._env.begin(db=self._entry) as txn:
                value = txn.get(key)
                if value is not None:
                    return resolution(tables.decode_entry(value), "")
                return self._by_tag(txn, key) or self._by_domain(txn, key)
        except (lmdb.Error, msgspec.MsgspecError) as error:
            raise self._unreadable(error) from error

    def _by_tag(self, txn: "lmdb.Transaction[bytes]", key: bytes) -> Resolution | None:
        local, _, domain = key.decode("utf-8", "surrogatepass").rpartition("@")
        if not self._separator or local.startswith('"'):
            return None
        end = len(local)
        for _ in range(TAGS):
            end = local.rfind(self._separator, 0, end)
            if end <= 0:
                return None
            value = txn.get(f"{local[:end]}@{domain}".encode("utf-8", "surrogatepass"))
            if value is not None:
                return resolution(tables.decode_entry(value), local[end + 1 :])
        return None

    def _by_domain(self, txn: "lmdb.Transaction[bytes]", key: bytes) -> Resolution | None:
        local, at, domain = key.decode("utf-8", "surrogatepass").rpartition("@")
        name = local if at else domain
        if name == _POSTMASTER and self._postmaster and fold(self._postmaster) != key.decode():
            return Resolution("alias", key.decode(), targets=(self._postmaster,))
        value = txn.get(f"@{domain}".encode("utf-8", "surrogatepass")) if at else None
        return resolution(tables.decode_entry(value), "") if value is not None else None

    def person(self, number: int) -> Person | None:
        with self._snapshot() as txn:
            return self._load(txn, number)

    def find(self, address: str) -> Person | None:
        key = tables.address_key(address)
        with self._snapshot() as txn:
            value = txn.get(key, db=self._entry) if key else None
            found = tables.decode_entry(value) if value is not None else None
            return self._load(txn, found.mailbox) if found is not None and found.kind == tables.MAILBOX else None

    def search(self, text: str, limit: int) -> list[Person]:
        """In order of name, as far as ``SEARCH_LIMIT`` reaches. Without a word: everybody, as far as it reaches."""
        words = tables.query_words(text)
        with self._snapshot() as txn:
            beginnings = [self._beginning(txn, word) for word in words] or [set(self._numbers(txn, 0, SEARCH_LIMIT))]
            numbers = set.intersection(*beginnings) if _complete(beginnings) else min(beginnings, key=len)
            found = [person for person in (self._load(txn, number) for number in numbers) if person is not None]
        if not _complete(beginnings):
            found = [person for person in found if all(_begins(word, tables.words_of(person)) for word in words)]
        return heapq.nsmallest(limit, found, key=_by_name)

    def people(self, after: int, limit: int) -> list[Person]:
        with self._snapshot() as txn:
            loaded = (self._load(txn, number) for number in self._numbers(txn, after, limit))
            return [person for person in loaded if person is not None]

    def lists(self, after: str, limit: int) -> list[Resolution]:
        return self.groups(tables.LIST, after, limit)

    def version(self) -> int:
        """LMDB's number of the last commit."""
        with self._snapshot() as txn:
            return txn.id()

    def credentials(self, number: int) -> Credentials | None:
        with self._snapshot() as txn:
            value = txn.get(tables.id_key(number), db=self._secret)
            return tables.decode_credentials(value) if value is not None else None

    def key(self) -> bytes:
        with self._snapshot() as txn:
            return txn.get(tables.RANDOM_KEY, db=self._meta) or b""

    # Administration

    def entry(self, address: str) -> Resolution | None:
        """What stands under exactly this address."""
        key = tables.address_key(address)
        with self._snapshot() as txn:
            value = txn.get(key, db=self._entry) if key else None
            return resolution(tables.decode_entry(value), "") if value is not None else None

    def groups(self, kind: int, after: str, limit: int) -> list[Resolution]:
        """Aliases or lists (``tables.ALIAS``, ``tables.LIST``) in order of address, from the first one behind
        ``after`` ("": from the beginning)."""
        first = tables.group_key(kind, after)
        found: list[Resolution] = []
        with self._snapshot() as txn, txn.cursor(db=self._group) as cursor:
            met = cursor.set_range(first)
            while met and len(found) < limit and cursor.key()[0] == kind:
                if cursor.key() != first:
                    value = txn.get(cursor.key()[1:], db=self._entry)
                    if value is None:
                        raise lmdb.CorruptedError("an alias or list without its entry")
                    found.append(resolution(tables.decode_entry(value), ""))
                met = cursor.next()
        return found

    def count(self) -> dict[str, int]:
        """``people addresses words``: what is in the tables."""
        with self._snapshot() as txn:
            counted = {"people": self._person, "addresses": self._entry, "words": self._word}
            return {name: txn.stat(table)["entries"] for name, table in counted.items()}

    def _load(self, txn: "lmdb.Transaction[bytes]", number: int) -> Person | None:
        value = txn.get(tables.id_key(number), db=self._person) if 0 <= number < 1 << 64 else None
        return tables.decode_person(value) if value is not None else None

    def _numbers(self, txn: "lmdb.Transaction[bytes]", after: int, limit: int) -> list[int]:
        numbers: list[int] = []
        if not 0 <= after < (1 << 64) - 1:
            return numbers
        with txn.cursor(db=self._person) as cursor:
            met = cursor.set_range(tables.id_key(after + 1))
            while met and len(numbers) < limit:
                numbers.append(tables.id_of(cursor.key()))
                met = cursor.next()
        return numbers

    def _beginning(self, txn: "lmdb.Transaction[bytes]", word: str) -> set[int]:
        """Who has a word that begins so."""
        prefix = word.encode()
        numbers: set[int] = set()
        with txn.cursor(db=self._word) as cursor:
            met = cursor.set_range(prefix)
            while met and len(numbers) < SEARCH_LIMIT and (key := cursor.key()).startswith(prefix):
                numbers.add(tables.id_of(key))
                met = cursor.next()
        return numbers

    @contextmanager
    def _snapshot(self) -> "Iterator[lmdb.Transaction[bytes]]":
        try:
            with self._env.begin() as txn:
                yield txn
        except (lmdb.Error, msgspec.MsgspecError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> DirectoryUnreadable:
        self.broken = True
        return DirectoryUnreadable(f"{self._env.path()}: cannot be read: {error}; restore it from an export or a copy")


def _complete(beginnings: list[set[int]]) -> bool:
    """Whether none of them was cut off."""
    return all(len(numbers) < SEARCH_LIMIT for numbers in beginnings)


def _begins(beginning: str, words: set[str]) -> bool:
    return any(word.startswith(beginning) for word in words)


def _by_name(person: Person) -> tuple[str, str]:
    return tables.searchable(person.display_name or person.address), person.address
