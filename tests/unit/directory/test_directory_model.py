"""Any sequence of changes, against a plain dict: what the files say afterwards is what the dict says."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mta.directory import tables
from mta.directory.changes import Conflict, NoEntry
from mta.directory.protocol import Credentials
from mta.directory.reader import DirectoryReader
from mta.directory.writer import DirectoryWriter
from mta.errors import DataError
from tests.harness.directory import SMALL

LOCALS = st.sampled_from(["ann", "Bob", "CY", "dora", "émile"])
ADDRESSES = st.builds("{}@{}".format, LOCALS, st.sampled_from(["minasi.example", "athena.example"]))
NAMES = st.sampled_from(["", "Ann Smith", "Bob", "Émile Zola", "ann-marie"])
KINDS = {tables.ALIAS: "alias", tables.LIST: "list"}


class Directory(RuleBasedStateMachine):
    """``people``: id → (own address, further, name); ``groups``: folded address → (kind, targets)."""

    @initialize()
    def open(self):
        self.place = tempfile.TemporaryDirectory()
        self.writer = DirectoryWriter(Path(self.place.name), **SMALL)
        self.people = {}
        self.groups = {}
        self.versions = {}
        self.next = 1

    def teardown(self):
        if hasattr(self, "writer"):
            self.writer.close()
            self.place.cleanup()

    def taken(self, address, number=0):
        own = {n: [a, *f] for n, (a, f, _) in self.people.items() if n != number}
        return address.lower() in self.groups or any(address.lower() in map(str.lower, held) for held in own.values())

    def attempt(self, allowed, job, error):
        """The job goes through exactly when the model allows it."""
        if allowed:
            return self.writer.change(job)
        with pytest.raises(error):
            self.writer.change(job)
        return None

    @rule(address=ADDRESSES, further=st.lists(ADDRESSES, max_size=2), name=NAMES)
    def add_person(self, address, further, name):
        free = not any(map(self.taken, [address, *further]))
        job = lambda changes: changes.add_person(address, further, display_name=name)  # noqa: E731
        person = self.attempt(free, job, Conflict)
        if person:
            assert person.id == self.next
            self.next += 1
            self.people[person.id] = (address, _distinct(address, further), name)
            self.versions[person.id] = 0

    @rule(pick=st.integers(0, 9), address=ADDRESSES, further=st.lists(ADDRESSES, max_size=2), name=NAMES)
    def set_person(self, pick, address, further, name):
        number = self.pick(self.people, pick)
        allowed = number in self.people and not any(self.taken(a, number) for a in [address, *further])
        job = lambda c: c.set_person(number, address=address, further=further, display_name=name)  # noqa: E731
        if self.attempt(allowed, job, DataError):
            self.people[number] = (address, _distinct(address, further), name)

    @rule(pick=st.integers(0, 9))
    def remove_person(self, pick):
        number = self.pick(self.people, pick)
        if self.attempt(number in self.people, lambda changes: changes.remove_person(number), NoEntry):
            del self.people[number], self.versions[number]

    @rule(pick=st.integers(0, 9))
    def set_credentials(self, pick):
        number = self.pick(self.people, pick)
        job = lambda changes: changes.set_credentials(number, Credentials("hash"))  # noqa: E731
        if self.attempt(number in self.people, job, NoEntry):
            self.versions[number] += 1

    @rule(kind=st.sampled_from(list(KINDS)), address=ADDRESSES, leads_to=st.lists(ADDRESSES, min_size=1, max_size=3))
    def add_group(self, kind, address, leads_to):
        itself = address.lower() in [target.lower() for target in leads_to]
        verb = "add_alias" if kind == tables.ALIAS else "add_list"
        allowed = not itself and not self.taken(address)
        if self.attempt(allowed, lambda changes: getattr(changes, verb)(address, leads_to), Conflict):
            self.groups[address.lower()] = (kind, _each_once(leads_to))

    @rule(pick=st.integers(0, 9), kind=st.sampled_from(list(KINDS)))
    def remove_group(self, pick, kind):
        address = self.pick(self.groups, pick)
        allowed = address in self.groups and self.groups[address][0] == kind
        if self.attempt(allowed, lambda changes: changes.remove_group(kind, str(address)), NoEntry):
            del self.groups[address]

    @rule(address=ADDRESSES)
    def a_change_that_is_refused_leaves_nothing_and_spoils_no_other(self, address):
        def refused(changes):
            changes.add_person(f"x{address}")
            raise Conflict("on second thoughts")

        free = not self.taken(address)
        outcomes = self.writer.run([refused, lambda changes: changes.add_person(address), refused])
        assert isinstance(outcomes[0], Conflict)
        assert isinstance(outcomes[2], Conflict)
        if free:
            self.people[self.next], self.versions[self.next] = (address, [], ""), 0
            self.next += 1

    @rule()
    def start_again(self):
        self.writer.close()
        reader = DirectoryReader(Path(self.place.name))
        assert [person.id for person in reader.people(0, 100)] == sorted(self.people)
        reader.close()
        self.writer = DirectoryWriter(Path(self.place.name), create=False, **SMALL)

    @staticmethod
    def pick(table, number):
        return list(table)[number] if number < len(table) else 4711

    @invariant()
    def the_files_say_what_the_dict_says(self):
        if not hasattr(self, "writer"):
            return
        reading = self.writer.reading
        people = reading.people(0, 100)
        assert {p.id: (p.address, p.further, p.display_name) for p in people} == self.people
        addresses = 0
        for number, (address, further, _) in self.people.items():
            for own in (address, *further):
                addresses += 1
                found = reading.resolve(own.upper())
                assert (found.kind, found.mailbox, found.address) == ("mailbox", number, address)
            credentials = reading.credentials(number)
            assert (credentials.version if credentials else 0) == self.versions[number]
        for kind, name in KINDS.items():
            met = {entry.address.lower(): (kind, list(entry.targets)) for entry in reading.groups(kind, "", 100)}
            assert met == {address: group for address, group in self.groups.items() if group[0] == kind}
            assert all(reading.resolve(address).kind == name for address in met)
        words = {(word, person.id) for person in people for word in tables.words_of(person)}
        assert reading.count() == {
            "people": len(self.people),
            "addresses": addresses + len(self.groups),
            "words": len(words),
        }


def _each_once(addresses):
    return list({address.lower(): address for address in reversed(addresses)}.values())[::-1]


def _distinct(own, further):
    return list({address.lower(): address for address in further if address.lower() != own.lower()}.values())


TestDirectory = Directory.TestCase
TestDirectory.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
