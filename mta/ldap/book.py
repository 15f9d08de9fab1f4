"""The directory as a tree of entries, kept folded in memory and made anew, piece by piece, when the directory changed.

Owns: the tree, its entries, and when they are current. Never does: wait; whoever searches calls ``advance`` until what
was committed before the search began is there. A search of 10,000 people is then a walk over 10,000 tuples.
About 3 kB a person. Loop thread only.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from mta.directory.protocol import Directory, Person
from mta.ldap.entries import (
    LISTS,
    PEOPLE,
    SUBSCHEMA,
    Entry,
    PersonEntry,
    base_of,
    domain_entry,
    list_entry,
    subschema_entry,
    unit_entry,
)
from mta.ldap.names import Key, key

#: People that are read from the directory in one piece of work: about 3 ms when all are new.
READ_AT_ONCE: Final = 100

BASE, ONE, SUB = 0, 1, 2


class Branch:
    """An entry that has others below it: first ``branches``, then ``leaves`` in their order, by address in
    ``addresses``."""

    def __init__(self, entry: Entry, branches: Iterable["Branch"] = ()) -> None:
        self.entry = entry
        self.branches = tuple(branches)
        self.leaves: list[Entry] = []
        self.addresses: dict[str, Entry] = {}

    def emptied(self) -> "Branch":
        """The same without leaves, to be filled anew. The old one stays as it is for the searches that walk it."""
        return Branch(self.entry)

    def add(self, leaf: Entry) -> None:
        self.leaves.append(leaf)
        self.addresses[leaf.folded["mail"][0]] = leaf

    def take(self, other: "Branch") -> None:
        """The leaves of ``other`` instead of the own ones."""
        self.leaves, self.addresses = other.leaves, other.addresses

    def below(self, scope: int) -> list[Sequence[Entry]]:
        """The entries of a search that begins here, in pieces."""
        if scope == BASE:
            return [(self.entry,)]
        if scope == ONE:
            return [tuple(branch.entry for branch in self.branches), self.leaves]
        return [(self.entry,), *(piece for branch in self.branches for piece in branch.below(SUB)), self.leaves]


class Book:
    """One per process. ``domains``: each is a naming context; who is in none of them is shown below the first."""

    def __init__(self, directory: Directory, domains: Sequence[str]) -> None:
        self.directory = directory
        self._people = {domain: Branch(unit_entry(PEOPLE, base_of(domain), 0)) for domain in domains}
        self._lists = {domain: Branch(unit_entry(LISTS, base_of(domain), 1)) for domain in domains}
        self._bases = [
            Branch(domain_entry(domain, order), (self._people[domain], self._lists[domain]))
            for order, domain in enumerate(domains)
        ]
        self._first = domains[0]
        self.subschema = subschema_entry()
        self._fixed: dict[Key, Branch] = {key(SUBSCHEMA): Branch(self.subschema)}
        for base in self._bases:
            self._fixed |= {key(branch.entry.name): branch for branch in (base, *base.branches)}
        self._known: dict[int, PersonEntry] = {}
        self._round = 0
        self._finished = 0
        self._version = -1
        self._reading: _Reading | None = None

    @property
    def bases(self) -> list[str]:
        return [base.entry.name for base in self._bases]

    # Being current.

    def round_needed(self) -> int:
        """What ``advance`` must have finished for all that is committed now to be seen. Raises DirectoryUnreadable."""
        version = self.directory.version()
        if self._reading is not None:
            return self._round if self._reading.version == version else self._round + 1
        return self._finished if self._version == version else self._round + 1

    def advance(self, needed: int) -> bool:
        """A piece of the work; True: it is done. Raises DirectoryUnreadable."""
        if self._finished >= needed:
            return True
        if self._reading is None:
            self._round += 1
            self._reading = _Reading(
                self.directory.version(),
                {domain: branch.emptied() for domain, branch in self._people.items()},
                {domain: branch.emptied() for domain, branch in self._lists.items()},
            )
        reading = self._reading
        try:
            if self._read(reading):
                self._finish(reading)
        except Exception:
            self._reading = None  # half a book is none: the next search begins anew
            raise
        return self._finished >= needed

    def _read(self, reading: "_Reading") -> bool:
        """The next people, or lists; True: these were the last ones."""
        if not reading.listing:
            people = self.directory.people(reading.after, READ_AT_ONCE)
            for person in people:
                self._add_person(reading, person)
            reading.listing = not people
            return False
        lists = self.directory.lists(reading.behind, READ_AT_ONCE)
        for found in lists:
            home = self._home(found.address)
            reading.lists[home].add(list_entry(found, base_of(home)))
            reading.behind = found.address
        return not lists

    def _add_person(self, reading: "_Reading", person: Person) -> None:
        """With the entry that there is, if the person did not change."""
        home = self._home(person.address)
        entry = self._known.get(person.id)
        if entry is None or entry.person != person:
            entry = PersonEntry(person, base_of(home))
        reading.known[person.id] = entry
        reading.people[home].add(entry)
        reading.after = person.id

    def _home(self, address: str) -> str:
        domain = address.rpartition("@")[2].lower()
        return domain if domain in self._people else self._first

    def _finish(self, reading: "_Reading") -> None:
        for domain in self._people:
            self._people[domain].take(reading.people[domain])
            self._lists[domain].take(reading.lists[domain])
        self._known = reading.known
        self._reading = None
        self._version = reading.version
        self._finished = self._round

    # Looking.

    def candidates(self, name: Key, scope: int) -> list[Sequence[Entry]] | None:
        """The entries in whose scope a search from ``name`` is, in pieces that later changes leave as they are. None:
        there is no such entry. Below the empty name lie all naming contexts."""
        if not name:
            if scope == ONE:
                return [tuple(base.entry for base in self._bases)]
            return [piece for base in self._bases for piece in base.below(SUB)]
        branch = self._fixed.get(name)
        if branch is not None:
            return branch.below(scope)
        entry = self._leaf(name)
        if entry is None:
            return None
        return [()] if scope == ONE else [(entry,)]

    def _leaf(self, name: Key) -> Entry | None:
        """The person or list of this name; ``mail=`` is its only form."""
        branch = self._fixed.get(name[1:])
        if branch is None or len(name[0]) != 1 or name[0][0][0] != "mail":
            return None
        return branch.addresses.get(name[0][0][1])

    def nearest(self, name: Key) -> str:
        """The entry closest above a name that there is not (``matchedDN``); "" when there is none."""
        for level in range(1, len(name)):
            branch = self._fixed.get(name[level:])
            if branch is not None:
                return branch.entry.name
        return ""

    def login_address(self, name: Key) -> str:
        """The address that a bind name stands for: ``mail=`` or ``uid=`` below a base or its people; "": none."""
        if not name or len(name[0]) != 1:
            return ""
        kind, value = name[0][0]
        for domain, people in self._people.items():
            base = key(base_of(domain))
            if name[1:] in (base, key(people.entry.name)):
                if kind == "mail":
                    return value
                return f"{value}@{domain}" if kind == "uid" else ""
        return ""


class _Reading:
    """A book in the making: of which version, how far it has come, and what it found."""

    def __init__(self, version: int, people: dict[str, Branch], lists: dict[str, Branch]) -> None:
        self.version = version
        self.people = people
        self.lists = lists
        self.known: dict[int, PersonEntry] = {}
        self.after = 0
        self.listing = False
        self.behind = ""
