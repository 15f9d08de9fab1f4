"""The changing verbs of the directory, inside one write transaction: each is whole or raises and is undone.

Owns: what may be changed how, and that all tables agree. Never does: begin, commit, or ask for a password. The
transaction is ``DirectoryWriter``'s, which calls each verb in a transaction of its own within it.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mta.directory import addresses, tables
from mta.directory.addresses import fold
from mta.directory.protocol import Credentials, Person
from mta.directory.tables import ALIAS, LIST, MAILBOX, Entry
from mta.errors import DataError

if TYPE_CHECKING:
    import lmdb
    from lmdb import _Database

#: Targets of one alias, members of one list.
TARGETS_LIMIT: Final = 10_000
#: Further addresses of one person.
FURTHER_LIMIT: Final = 100
#: Characters of a name, a title, a department or a telephone number.
TEXT_LIMIT: Final = 256
#: Ids are 64 bits; the last one is never given, so that there is always one above.
LAST_ID: Final = (1 << 64) - 2
#: What of a person may be set as it is.
FIELDS: Final = ("display_name", "given_name", "surname", "title", "department", "phone")
_NAMES: Final = {MAILBOX: "a person", ALIAS: "an alias", LIST: "a list"}


class Conflict(DataError):
    """What is asked for cannot stand beside what is there: an address is taken, a list would hold itself."""


class NoEntry(DataError):
    """There is no such person, alias or list."""


class Changes:
    """Writing thread only. ``now``: milliseconds, for what is written down."""

    def __init__(self, txn: "lmdb.Transaction[bytes]", db: "dict[bytes, _Database]", now: int) -> None:
        self._txn = txn
        self._now = now
        self._entry, self._group, self._person, self._secret, self._word, self._meta = (db[n] for n in tables.NAMES)

    def make_key(self) -> None:
        """The directory's random key, once for its whole life."""
        self._txn.put(tables.RANDOM_KEY, os.urandom(32), db=self._meta, overwrite=False)

    # People

    def add_person(
        self, address: str, further: Sequence[str] = (), number: int = 0, created: int = 0, **fields: str
    ) -> Person:
        """``number`` 0: the next one; another must never have been used. Raises BadAddress, Conflict, DataError."""
        checked = _fields(fields)
        person = Person(id=self._take_number(number), address=addresses.entry(address), **checked)
        person.further = _further(person.address, further)
        person.created, person.changed = created or self._now, self._now
        for own in (person.address, *person.further):
            self._claim(own, person)
        self._store(person, set())
        return person

    def set_person(
        self, number: int, *, address: str | None = None, further: Sequence[str] | None = None, **fields: str
    ) -> Person:
        """Changes what is given and leaves the rest. The mailbox stays: it hangs on the id."""
        person = self._load(number)
        before = tables.words_of(person)
        had = [person.address, *person.further]
        for name, value in _fields(fields).items():
            setattr(person, name, value)
        if address is not None:
            person.address = addresses.entry(address)
        person.further = _further(person.address, person.further if further is None else further)
        for gone in {fold(a) for a in had} - {fold(a) for a in (person.address, *person.further)}:
            self._txn.delete(tables.address_key(gone), db=self._entry)
        for own in (person.address, *person.further):
            self._claim(own, person)
        person.changed = self._now
        self._store(person, before)
        return person

    def remove_person(self, number: int) -> Person:
        """The id is never used again. Aliases and lists that name the addresses stay as they are."""
        person = self._load(number)
        for own in (person.address, *person.further):
            self._txn.delete(tables.address_key(own), db=self._entry)
        for word in tables.words_of(person):
            self._txn.delete(tables.word_key(word, number), db=self._word)
        self._txn.delete(tables.id_key(number), db=self._person)
        self._txn.delete(tables.id_key(number), db=self._secret)
        return person

    def set_credentials(self, number: int, credentials: Credentials) -> Credentials:
        """Its version is made here: above that of the ones before, so that no cache takes old for new."""
        self._load(number)
        before = self.credentials(number)
        last = before.version if before is not None else 0
        kept = Credentials(credentials.argon2, credentials.scram, max(last + 1, credentials.version))
        self._txn.put(tables.id_key(number), tables.encode_credentials(kept), db=self._secret)
        return kept

    def credentials(self, number: int) -> Credentials | None:
        value = self._txn.get(tables.id_key(number), db=self._secret)
        return tables.decode_credentials(value) if value is not None else None

    def number_of(self, address: str) -> int:
        """The id of the person whose own or further address it is. Raises NoEntry."""
        entry = self._get(address)
        if entry is None or entry.kind != MAILBOX:
            raise NoEntry(f"{address}: no person has this address")
        return entry.mailbox

    def taken(self, address: str) -> bool:
        return self._get(address) is not None

    # Aliases and lists

    def add_alias(self, alias: str, targets: Sequence[str]) -> Entry:
        """``alias``: an address, or ``@domain`` for all that nobody else gets there."""
        return self._add_group(ALIAS, alias, targets, "")

    def set_alias(self, alias: str, targets: Sequence[str]) -> Entry:
        """Other targets."""
        return self._edit(ALIAS, alias, lambda entry: _replaced(entry, targets))

    def add_list(self, address: str, members: Sequence[str], owner: str = "") -> Entry:
        """``owner`` hears of failures; "": the sender does. A list may have no members, and other lists as such."""
        return self._add_group(LIST, address, members, owner)

    def add_members(self, address: str, members: Sequence[str]) -> Entry:
        """Who is one already is not added twice."""
        return self._edit(LIST, address, lambda entry: _replaced(entry, [*entry.targets, *members]))

    def remove_members(self, address: str, members: Sequence[str]) -> Entry:
        """Raises NoEntry for who is none."""
        return self._edit(LIST, address, lambda entry: _without(entry, members))

    def set_owner(self, address: str, owner: str) -> Entry:
        return self._edit(LIST, address, lambda entry: msgspec.structs.replace(entry, owner=_owner(owner)))

    def remove_group(self, kind: int, address: str) -> Entry:
        """An alias or a list; its targets or members stay what they are."""
        entry = self._group_of(kind, address)
        self._txn.delete(tables.address_key(entry.address), db=self._entry)
        self._txn.delete(tables.group_key(kind, entry.address), db=self._group)
        return entry

    def _add_group(self, kind: int, address: str, targets: Iterable[str], owner: str) -> Entry:
        catches = kind == ALIAS and address.strip().startswith("@")
        own = addresses.catch_all(address) if catches else addresses.entry(address)
        if (met := self._get(own)) is not None:
            raise Conflict(f"{own} is taken: it is {_NAMES[met.kind]}")
        entry = _replaced(Entry(kind, own, owner=_owner(owner)), targets)
        self._txn.put(tables.group_key(kind, own), b"", db=self._group)
        return self._put(entry)

    def _edit(self, kind: int, address: str, change: Callable[[Entry], Entry]) -> Entry:
        return self._put(change(self._group_of(kind, address)))

    def _group_of(self, kind: int, address: str) -> Entry:
        entry = self._get(address)
        if entry is None or entry.kind != kind:
            also = f"; it is {_NAMES[entry.kind]}" if entry is not None else ""
            raise NoEntry(f"{address}: there is no such {'alias' if kind == ALIAS else 'list'}{also}")
        return entry

    # Tables

    def _take_number(self, wanted: int) -> int:
        value = self._txn.get(tables.NEXT_KEY, db=self._meta)
        following = tables.id_of(value) if value is not None else 1
        if wanted > LAST_ID:
            raise DataError(f"id {wanted} is greater than {LAST_ID}, the last one that there is")
        if 0 < wanted < following:
            raise Conflict(f"id {wanted} was used before, and an id is never used again")
        number = wanted or following
        if number > LAST_ID:
            raise Conflict("there are no more ids")
        self._txn.put(tables.NEXT_KEY, tables.id_key(number + 1), db=self._meta)
        return number

    def _claim(self, address: str, person: Person) -> None:
        met = self._get(address)
        if met is not None and (met.kind != MAILBOX or met.mailbox != person.id):
            whose = f"{met.address} has it" if met.kind == MAILBOX else f"it is {_NAMES[met.kind]}"
            raise Conflict(f"{address} is taken: {whose}")
        entry = Entry(MAILBOX, person.address, person.id)
        self._txn.put(tables.address_key(address), tables.encode(entry), db=self._entry)

    def _store(self, person: Person, before: set[str]) -> None:
        words = tables.words_of(person)
        for word in before - words:
            self._txn.delete(tables.word_key(word, person.id), db=self._word)
        for word in words - before:
            self._txn.put(tables.word_key(word, person.id), b"", db=self._word)
        self._txn.put(tables.id_key(person.id), tables.encode(person), db=self._person)

    def _load(self, number: int) -> Person:
        value = self._txn.get(tables.id_key(number), db=self._person) if 0 < number <= LAST_ID else None
        if value is None:
            raise NoEntry(f"there is no person with id {number}")
        return tables.decode_person(value)

    def _get(self, address: str) -> Entry | None:
        key = tables.address_key(address)
        value = self._txn.get(key, db=self._entry) if key else None
        return tables.decode_entry(value) if value is not None else None

    def _put(self, entry: Entry) -> Entry:
        self._txn.put(tables.address_key(entry.address), tables.encode(entry), db=self._entry)
        return entry


def _fields(fields: dict[str, str]) -> dict[str, Any]:
    """Texts of one line. Raises DataError."""
    for name, value in fields.items():
        if name not in FIELDS:
            raise DataError(f"{name} is nothing that a person has: {', '.join(FIELDS)}")
        if len(value) > TEXT_LIMIT:
            raise DataError(f"{name} is longer than {TEXT_LIMIT} characters")
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
            raise DataError(f"{name} has control characters in it")
    return {name: unicodedata.normalize("NFC", value).strip() for name, value in fields.items()}


def _further(own: str, further: Sequence[str]) -> list[str]:
    """Checked, each once, without the own one."""
    kept = {fold(address): address for address in map(addresses.entry, further)}
    kept.pop(fold(own), None)
    if len(kept) > FURTHER_LIMIT:
        raise DataError(f"{own}: more than {FURTHER_LIMIT} further addresses")
    return list(kept.values())


def _replaced(entry: Entry, targets: Iterable[str]) -> Entry:
    """The entry with these targets: checked, each once."""
    kept = {fold(address): address for address in reversed(list(map(addresses.target, targets)))}
    if fold(entry.address) in kept:
        raise Conflict(f"{entry.address} cannot lead to itself")
    if entry.kind == ALIAS and not kept:
        raise DataError(f"{entry.address}: an alias needs a target")
    if len(kept) > TARGETS_LIMIT:
        raise DataError(f"{entry.address}: more than {TARGETS_LIMIT} addresses; divide it into lists of lists")
    return msgspec.structs.replace(entry, targets=list(reversed(kept.values())))


def _without(entry: Entry, members: Sequence[str]) -> Entry:
    gone = {fold(member): member for member in members}
    for key in gone.keys() - {fold(target) for target in entry.targets}:
        raise NoEntry(f"{gone[key]} is no member of {entry.address}")
    return msgspec.structs.replace(entry, targets=[t for t in entry.targets if fold(t) not in gone])


def _owner(owner: str) -> str:
    return addresses.target(owner) if owner else ""
