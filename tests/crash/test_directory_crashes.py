"""The directory after kill -9 and power cuts: what was told as done is there, all else is whole or absent, and readers
in other processes go on."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from mta.directory import tables
from mta.directory.reader import DirectoryReader
from mta.directory.writer import DirectoryWriter
from tests.crash.directory_writer import addresses
from tests.crash.victim import WritingProcess
from tests.harness.directory import SMALL, make_directory
from tests.harness.powercut import PowerCut, needs_power_cut, power_cut_disk

ROOT = Path(__file__).resolve().parents[2]
KILLS = 12
CUTS = 3
STEADY = "steady@minasi.example"


class Victim(WritingProcess):
    """A writing process and what it said so far."""

    def __init__(self, directory: Path, first: int, durability: str = "synced") -> None:
        self.said: dict[str, set[int]] = {word: set() for word in ("adding", "added", "removing", "removed")}
        super().__init__("directory_writer", directory, first, durability)

    def hear(self, line: bytes) -> None:
        word, number = line.decode().split()
        self.said[word].add(int(number))


class Account:
    """All that the victims said."""

    def __init__(self) -> None:
        self.said: dict[str, set[int]] = {word: set() for word in ("adding", "added", "removing", "removed")}

    def add(self, victim: Victim) -> None:
        for word, numbers in victim.said.items():
            self.said[word] |= numbers

    def broken(self, directory: Path) -> set[int]:
        """Numbers for which a promise was broken. Checks that all that is there is whole, in every table."""
        writer = DirectoryWriter(directory, create=False, **SMALL)
        try:
            there = whole_numbers(writer)
        finally:
            writer.close()
        missing = self.said["added"] - self.said["removing"] - there
        returned = self.said["removed"] & there
        return missing | returned | (there - self.said["adding"])


def whole_numbers(writer: DirectoryWriter) -> set[int]:
    """The numbers whose change is there; whole, or the test fails."""
    reading = writer.reading
    people = {
        int(person.address.partition("@")[0].removeprefix("person")): person
        for person in reading.people(0, 1 << 30)
        if person.address != STEADY
    }
    for number, person in people.items():
        own, further, alias, named = addresses(number)
        assert (person.address, person.further) == (own, [further])
        assert [entry.mailbox for entry in map(reading.resolve, (own, further)) if entry] == [person.id] * 2
        credentials = reading.credentials(person.id)
        assert credentials is not None
        assert credentials.argon2 == f"hash of {number}"
        for address, kind, targets in ((alias, "alias", (own,)), (named, "list", (own, alias))):
            entry = reading.resolve(address)
            assert entry is not None
            assert (entry.kind, entry.targets) == (kind, targets)
    everybody = reading.people(0, 1 << 30)
    words = sum(len(tables.words_of(person)) for person in everybody)
    steady = len(everybody) - len(people)
    assert reading.count() == {"people": len(everybody), "addresses": 4 * len(people) + steady, "words": words}
    for kind in (tables.ALIAS, tables.LIST):
        assert len(reading.groups(kind, "", 1 << 30)) == len(people)
    return set(people)


class ReadingProcess:
    """Another process that looks somebody up all the time; it says how often it found him when it is told to end."""

    PROGRAM = (
        "import os, select, sys; from pathlib import Path; from mta.directory.reader import DirectoryReader\n"
        "reader = DirectoryReader(Path(sys.argv[1])); found = 0\n"
        "print('ready', flush=True)\n"
        "while not select.select([sys.stdin], [], [], 0)[0]:\n"
        "    assert reader.resolve(sys.argv[2]).mailbox == 1\n"
        "    reader.search('number', 5)\n"
        "    found += 1\n"
        "print(found, flush=True)\n"
    )

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(directory), STEADY],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def found(self) -> int:
        output, _ = self._process.communicate("end\n", timeout=30)
        assert self._process.returncode == 0
        return int(output)


def test_no_change_is_lost_or_halved_by_kill_9_and_readers_go_on(tmp_path: Path) -> None:
    chance = random.Random(1998)
    directory = tables.directory_path(tmp_path)
    make_directory(tmp_path, [STEADY]).close()
    reading = ReadingProcess(directory)
    account = Account()
    for kill in range(KILLS):
        victim = Victim(directory, first=1 + kill * 1_000_000)
        victim.read(chance.randrange(1, 300))
        victim.kill()
        account.add(victim)
        assert account.broken(directory) == set()
    assert reading.found() > KILLS
    assert len(account.said["added"]) > KILLS * 10
    assert account.said["removed"]


def test_a_reader_that_is_killed_again_and_again_leaves_no_slots(tmp_path: Path) -> None:
    make_directory(tmp_path, [STEADY]).close()
    directory = tables.directory_path(tmp_path)
    writer = DirectoryWriter(directory, **SMALL)
    for _ in range(3):
        program = (
            "import sys; from pathlib import Path; from mta.directory.reader import DirectoryReader\n"
            "with DirectoryReader(Path(sys.argv[1]))._now()._snapshot(): print('in', flush=True); sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(directory)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"in\n"
            process.kill()
    writer.close()
    writer = DirectoryWriter(directory, **SMALL)  # its start clears them
    assert writer._files.env.reader_check() == 0
    writer.close()


def cut_power(disk: PowerCut, durability: str, lines: int) -> tuple[Account, set[int]]:
    """Cuts the power after so many lines, brings it back, and tells what was promised and what of it was broken."""
    directory = tables.directory_path(disk.path)
    victim = Victim(directory, 1, durability)
    victim.read(lines)
    disk.cut()
    victim.kill()
    disk.remount()
    account = Account()
    account.add(victim)
    return account, account.broken(directory)


@needs_power_cut
@pytest.mark.parametrize("cut", range(CUTS))
def test_no_change_is_lost_or_halved_by_a_power_cut(tmp_path: Path, cut: int) -> None:
    with power_cut_disk(tmp_path) as disk:
        account, broken = cut_power(disk, "synced", lines=[11, 200, 900][cut])
    assert account.said["added"]
    assert broken == set()


@needs_power_cut
def test_the_power_cut_is_real_because_without_syncs_changes_are_lost(tmp_path: Path) -> None:
    with power_cut_disk(tmp_path) as disk:
        account, broken = cut_power(disk, "buffered", lines=300)
    assert account.said["added"]
    assert broken


def test_a_reader_meets_a_new_directory_after_the_old_one_was_put_away(tmp_path: Path) -> None:
    """As an operator restores a copy while workers run."""

    class Seconds:
        at = 0.0

        def monotonic(self) -> float:
            return self.at

        def now_ms(self) -> int:
            return 0

    make_directory(tmp_path, [STEADY]).close()
    reader = DirectoryReader(tables.directory_path(tmp_path), clock=Seconds())
    assert reader.resolve(STEADY)
    tables.directory_path(tmp_path).rename(tmp_path / "away")
    make_directory(tmp_path / "other", ["first@minasi.example", STEADY]).close()
    tables.directory_path(tmp_path / "other").rename(tables.directory_path(tmp_path))
    Seconds.at += 1
    found = reader.resolve(STEADY)
    assert found is not None
    assert found.mailbox == 2
    reader.close()
