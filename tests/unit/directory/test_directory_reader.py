"""Readers: the order of resolution, searches, and files that go away and come back."""

import os
import shutil
import subprocess
import sys
import timeit

import lmdb
import pytest

from mta.directory import reading, tables
from mta.directory.changes import Conflict, NoEntry
from mta.directory.protocol import DirectoryUnreadable
from mta.directory.reader import DirectoryReader
from mta.directory.tables import directory_path
from mta.directory.writer import DirectoryWriter
from mta.disk.environment import DATA_FILE, EnvironmentLocked
from mta.errors import DataError, StorageError
from tests.harness.attendant_process import ROOT
from tests.harness.clocks import SetClock
from tests.harness.directory import SMALL, fill_directory, make_directory

MARK = "mark@minasi.example"


@pytest.fixture
def directory(tmp_path):
    reader = make_directory(
        tmp_path,
        [MARK, "a+b@minasi.example", "boss@minasi.example"],
        {"info@minasi.example": [MARK, "far@else.example"], "@caught.example": [MARK]},
        {"all@minasi.example": [MARK, "info@minasi.example"]},
        {"all@minasi.example": "boss@minasi.example"},
        separator="+",
        postmaster="boss@minasi.example",
    )
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("address", "kind", "entry", "tag"),
    [
        (MARK, "mailbox", MARK, ""),
        ("MARK@MINASI.example", "mailbox", MARK, ""),
        ('"mark"@minasi.example', "mailbox", MARK, ""),
        ("mark+Books@minasi.example", "mailbox", MARK, "books"),
        ("mark+a+b@minasi.example", "mailbox", MARK, "a+b"),
        ("mark+@minasi.example", "mailbox", MARK, ""),
        ("a+b@minasi.example", "mailbox", "a+b@minasi.example", ""),
        ("a+b+c@minasi.example", "mailbox", "a+b@minasi.example", "c"),
        ("info@minasi.example", "alias", "info@minasi.example", ""),
        ("info+x@minasi.example", "alias", "info@minasi.example", "x"),
        ("all@minasi.example", "list", "all@minasi.example", ""),
        ("nobody@caught.example", "alias", "@caught.example", ""),
        ("nobody+x@caught.example", "alias", "@caught.example", ""),
        ("Postmaster@minasi.example", "alias", "postmaster@minasi.example", ""),
        ("postmaster@caught.example", "alias", "postmaster@caught.example", ""),
        ("postmaster", "alias", "postmaster", ""),
    ],
)
def test_what_an_address_leads_to(directory, address, kind, entry, tag):
    found = directory.resolve(address)
    assert (found.kind, found.address, found.tag) == (kind, entry, tag)
    assert bool(found.mailbox) == (kind == "mailbox")


@pytest.mark.parametrize(
    "address",
    [
        "nobody@minasi.example",
        "a@minasi.example",
        "+mark@minasi.example",
        '"mark+x"@else.example',
        "@minasi.example",
        "mark",
        "",
        "@",
        "x" * 300 + "@minasi.example",
        "ma\ud800rk@minasi.example",
        "mark@minasi.example\0",
    ],
)
def test_what_is_not_there_is_nobody(directory, address):
    assert directory.resolve(address) is None
    assert directory.find(address) is None


def test_lists_come_with_members_and_owner(directory):
    found = directory.resolve("all@minasi.example")
    assert found.targets == (MARK, "info@minasi.example")
    assert found.owner == "boss@minasi.example"


def test_the_postmaster_of_the_directory_comes_before_the_configured_one(tmp_path):
    for address in ("postmaster@minasi.example", "POSTMASTER@minasi.example"):
        reader = make_directory(tmp_path / address, [address], postmaster="boss@else.example")
        assert reader.resolve("postmaster@minasi.example").kind == "mailbox"
        reader.close()


def test_a_postmaster_that_is_itself_leads_nowhere(tmp_path):
    reader = make_directory(tmp_path, [], postmaster="postmaster@minasi.example")
    assert reader.resolve("postmaster@minasi.example") is None
    assert reader.resolve("postmaster@other.example").targets == ("postmaster@minasi.example",)
    reader.close()


def test_without_a_separator_there_are_no_tags(tmp_path):
    reader = make_directory(tmp_path, [MARK])
    assert reader.resolve("mark+x@minasi.example") is None
    reader.close()


def test_find_follows_neither_aliases_nor_tags(directory):
    assert directory.find(MARK.upper()).id == 1
    assert directory.find("info@minasi.example") is None
    assert directory.find("mark+x@minasi.example") is None


def test_people_are_found_as_one_types(tmp_path):
    reader = make_directory(tmp_path)
    reader.close()
    writer = DirectoryWriter(directory_path(tmp_path), **SMALL)

    def fill(changes):
        changes.add_person(MARK, display_name="Mark Minasi", surname="Minasi", department="Books & Talks")
        changes.add_person("k@minasi.example", ["kaethe@far.example"], display_name="Käthe O'Brien-Minasi")
        changes.add_person("z@minasi.example", display_name="Émile Zola", title="Author")

    writer.change(fill)
    search = lambda text, limit=9: [p.id for p in writer.reading.search(text, limit)]  # noqa: E731
    assert search("min") == [2, 1]
    assert search("MINASI mark") == [1]
    assert search("kathe") == search("käthe") == search("KÄTHE") == [2]
    assert search("o'brien") == search("brien") == search("minasi o") == [2]
    assert search("emile aut") == [3]
    assert search("kaethe@far") == search("kaethe") == [2]
    assert search("books") == search("& talks") == [1]
    assert search("inasi") == search("mark x") == []
    assert search("") == [3, 2, 1] == search(" . ")
    assert search("min", 1) == [2]
    assert search("a\0b") == []
    writer.close()


def test_a_word_that_begins_too_many_is_cut_off_and_the_others_still_count(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SEARCH_LIMIT", 5)
    writer = DirectoryWriter(tmp_path, **SMALL)
    writer.change(
        lambda changes: [changes.add_person(f"p{n}@x.example", display_name=f"Person {n}") for n in range(10)]
    )
    assert len(writer.reading.search("person", 9)) == 5
    assert len(writer.reading.search("", 9)) == 5
    assert [person.id for person in writer.reading.search("person 7", 9)] == [8]
    writer.close()


def test_people_and_groups_come_by_the_page(directory):
    assert [person.id for person in directory.people(0, 2)] == [1, 2]
    assert [person.id for person in directory.people(2, 2)] == [3]
    assert directory.people(1 << 64, 5) == directory.people((1 << 64) - 1, 5) == []
    assert directory.person(1).address == MARK
    assert directory.person(99) is None
    assert directory.person(-1) is None
    assert directory.person(1 << 64) is None


def test_groups_come_in_order_from_the_one_behind(tmp_path):
    writer = DirectoryWriter(tmp_path, **SMALL)
    fill_directory(writer, [], {f"{n}@x.example": [MARK] for n in "cab"}, {"l@x.example": []})
    page = [entry.address for entry in writer.reading.groups(tables.ALIAS, "", 2)]
    assert page == ["a@x.example", "b@x.example"]
    assert [e.address for e in writer.reading.groups(tables.ALIAS, page[-1], 2)] == ["c@x.example"]
    assert [e.address for e in writer.reading.groups(tables.LIST, "", 2)] == ["l@x.example"]
    assert writer.reading.entry("L@x.example").kind == "list"
    assert writer.reading.entry("nobody@x.example") is None
    writer.close()


def test_a_look_up_takes_microseconds(directory):
    assert min(timeit.repeat(lambda: directory.resolve(MARK), number=2000, repeat=5)) / 2000 < 50e-6


def test_a_directory_that_is_not_there_is_unreadable_until_it_is(tmp_path):
    clock = SetClock()
    reader = DirectoryReader(directory_path(tmp_path), clock=clock)
    for _ in range(3):
        with pytest.raises(DirectoryUnreadable, match="No such file"):
            reader.resolve(MARK)
    make_directory(tmp_path, [MARK]).close()
    with pytest.raises(DirectoryUnreadable):
        reader.resolve(MARK)  # looked at once a second
    clock.seconds += 1.0
    assert reader.resolve(MARK).mailbox == 1
    reader.close()


def _gone(path):
    path.unlink()


def _cut_off(path):
    os.truncate(path, 4096)


def _foreign(path):
    other = path.with_name("other")
    with lmdb.open(str(other), subdir=False, max_dbs=2) as env:
        env.open_db(b"else")
    other.rename(path)


def _written_over(path):
    length = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"x" * length)


def _newer(path):
    other = path.with_name("other")
    with lmdb.open(str(other), subdir=False, max_dbs=8) as env, env.begin(write=True) as txn:
        txn.put(b"version", b"99", db=env.open_db(b"format", txn=txn))
    other.rename(path)


def _garbage(path):
    path.unlink()
    path.write_bytes(b"x" * 100_000)


def _no_file(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [_gone, _cut_off, _foreign, _written_over, _newer, _garbage, _no_file])
@pytest.mark.parametrize("opened", [True, False])
def test_whatever_happens_to_the_files_they_are_unreadable_and_then_good_again(tmp_path, harm, opened):
    clock = SetClock()
    make_directory(tmp_path, [MARK]).close()
    path = directory_path(tmp_path) / DATA_FILE
    shutil.copy(path, tmp_path / "copy")
    reader = DirectoryReader(directory_path(tmp_path), clock=clock)
    if opened:
        assert reader.resolve(MARK).mailbox == 1
    harm(path)
    clock.seconds += 1.0
    for verb in (lambda: reader.resolve(MARK), lambda: reader.find(MARK), lambda: reader.people(0, 1)):
        with pytest.raises(DirectoryUnreadable) as caught:
            verb()
        assert str(path) in str(caught.value)
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy", path)
    clock.seconds += 1.0
    assert reader.resolve(MARK).mailbox == 1
    reader.close()


def _begun_to_be_copied_over(path):
    whole = path.read_bytes()
    with path.open("wb") as file:  # as cp does it: cut off, then written; here it has come half way
        file.write(whole[: 2 * 4096])


#: Looks up what it is told and says what it found; its clock stands still, so that the look once a second is never due.
_LOOKER = """
import sys
from pathlib import Path
from mta.directory.protocol import DirectoryUnreadable
from mta.directory.reader import DirectoryReader

class Stopped:
    def monotonic(self): return 0.0

reader = DirectoryReader(Path(sys.argv[1]), clock=Stopped())
for line in sys.stdin:
    try:
        print(reader.resolve(line.strip()).mailbox, flush=True)
    except DirectoryUnreadable:
        print("unreadable", flush=True)
"""


@pytest.mark.parametrize("harm", [_cut_off, _written_over, _begun_to_be_copied_over])
def test_a_file_that_is_written_over_kills_nobody_who_looks_up_in_the_same_second(tmp_path, harm):
    people = [f"p{n}@minasi.example" for n in range(2000)]
    make_directory(tmp_path, people).close()
    place = directory_path(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", _LOOKER, str(place)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as looker:

        def look_up(address):
            looker.stdin.write(f"{address}\n")
            looker.stdin.flush()
            return looker.stdout.readline().strip()

        assert look_up(people[3]) == "4"
        harm(place / DATA_FILE)
        assert [look_up(address) for address in people[1500:1505]] == ["unreadable"] * 5
        looker.stdin.close()
        assert looker.wait(20) == 0


def test_what_the_writer_commits_is_no_damage_and_is_seen_at_once(tmp_path):
    make_directory(tmp_path, [MARK]).close()
    reader = DirectoryReader(directory_path(tmp_path), clock=SetClock())
    assert reader.resolve(MARK).mailbox == 1
    commits = (
        "import sys; from pathlib import Path; from mta.directory.writer import DirectoryWriter\n"
        "writer = DirectoryWriter(Path(sys.argv[1]), preallocate=0)\n"
        "for n in range(300): writer.change(lambda c: c.add_person(f'n{n}@minasi.example', display_name='x' * 200))\n"
        "writer.close()\n"
    )
    subprocess.run([sys.executable, "-c", commits, str(directory_path(tmp_path))], cwd=ROOT, check=True)
    assert reader.resolve("n299@minasi.example").mailbox == 301
    reader.close()


def test_damage_inside_is_unreadable_and_noticed_at_the_next_look(tmp_path):
    clock = SetClock()
    make_directory(tmp_path, [MARK]).close()
    reader = DirectoryReader(directory_path(tmp_path), clock=clock)
    assert reader.resolve(MARK)
    reader.close()
    writer = DirectoryWriter(directory_path(tmp_path), **SMALL)
    with writer._files.env.begin(write=True) as txn:
        txn.put(MARK.encode(), b"\xc1", db=writer._tables[b"entry"])
    writer.close()
    with pytest.raises(DirectoryUnreadable, match="restore"):
        reader.resolve(MARK)
    shutil.rmtree(directory_path(tmp_path))
    make_directory(tmp_path, [MARK]).close()
    clock.seconds += 1.0
    assert reader.resolve(MARK).mailbox == 1
    reader.close()


def test_readers_go_on_while_the_writer_comes_goes_and_is_killed(tmp_path):
    """In another process, since one process opens an environment once."""
    program = (
        "import sys; from pathlib import Path; from mta.directory.reader import DirectoryReader\n"
        "reader = DirectoryReader(Path(sys.argv[1]))\n"
        "for line in iter(sys.stdin.readline, 'end\\n'):\n"
        "    found = reader.resolve(line.strip()); print(found.mailbox if found else 0, flush=True)\n"
        "with reader._now()._snapshot(): print(-1, flush=True); sys.stdin.read()\n"
    )
    place = directory_path(tmp_path)
    writer = DirectoryWriter(place, **SMALL)
    fill_directory(writer, [MARK])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(address):
            process.stdin.write(f"{address}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        assert ask(MARK) == 1
        fill_directory(writer, ["ann@minasi.example"])
        assert ask("ann@minasi.example") == 2
        writer.close()
        assert ask(MARK) == 1
        writer = DirectoryWriter(place, **SMALL)
        writer.change(lambda changes: changes.remove_person(1))
        assert ask(MARK) == 0
        assert ask("end") == -1
        process.kill()  # in the middle of a look-up: its slot stays, and pins pages
    writer._checked = float("-inf")
    assert writer.clear_dead_readers() == 1
    assert writer.clear_dead_readers() == 0
    writer.close()


def test_there_is_one_writer(tmp_path):
    writer = DirectoryWriter(tmp_path, **SMALL)
    with pytest.raises(EnvironmentLocked):
        DirectoryWriter(tmp_path, **SMALL)
    writer.close()


def test_an_error_that_is_no_refusal_undoes_everything(tmp_path):
    writer = DirectoryWriter(tmp_path, **SMALL)
    with pytest.raises(ZeroDivisionError):
        writer.run([lambda changes: changes.add_person(MARK), lambda changes: 1 / 0])
    assert writer.reading.people(0, 9) == []
    writer.close()


def test_a_full_map_is_a_storage_error_and_nothing_is_half_done(tmp_path):
    writer = DirectoryWriter(tmp_path, **{**SMALL, "map_size": 200_000})
    jobs = [lambda changes, n=n: changes.add_person(f"p{n}@x.example") for n in range(5000)]
    with pytest.raises(StorageError, match="cannot be written"):
        writer.run(jobs)
    assert writer.reading.count()["people"] == 0
    writer.close()


def test_an_id_is_never_used_again(tmp_path):
    writer = DirectoryWriter(tmp_path, **SMALL)
    assert writer.change(lambda changes: changes.add_person(MARK)).id == 1
    writer.change(lambda changes: changes.remove_person(1))
    writer.close()
    writer = DirectoryWriter(tmp_path, **SMALL)
    assert writer.change(lambda changes: changes.add_person(MARK)).id == 2
    with pytest.raises(Conflict, match="used before"):
        writer.change(lambda changes: changes.add_person("b@x.example", number=1))
    assert writer.change(lambda changes: changes.add_person("c@x.example", number=7)).id == 7
    assert writer.change(lambda changes: changes.add_person("d@x.example")).id == 8
    with pytest.raises(Conflict, match="no more ids"):
        writer.run([]) or writer.change(lambda changes: _last(changes))
    writer.close()


def _last(changes):
    changes.add_person("last@x.example", number=(1 << 64) - 2)
    changes.add_person("more@x.example")


@pytest.mark.parametrize(
    "change",
    [
        lambda changes: changes.add_person("n@x.example", colour="red"),
        lambda changes: changes.add_person("n@x.example", display_name="x" * 257),
        lambda changes: changes.add_person("n@x.example", display_name="a\nb"),
        lambda changes: changes.add_person("n@x.example", [f"n{n}@x.example" for n in range(101)]),
        lambda changes: changes.add_alias("n@x.example", []),
        lambda changes: changes.add_alias("n@x.example", ["N@x.example"]),
        lambda changes: changes.add_alias("@x.example", ["nobody"]),
        lambda changes: changes.add_list("n@x.example", [f"n{n}@y.example" for n in range(10_001)]),
        lambda changes: changes.add_list("n@x.example", [], "nobody"),
        lambda changes: changes.add_members(MARK, ["a@x.example"]),
        lambda changes: changes.remove_members("all@x.example", ["a@x.example"]),
        lambda changes: changes.add_members("all@x.example", ["ALL@x.example"]),
        lambda changes: changes.number_of("all@x.example"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(tmp_path, change):
    writer = DirectoryWriter(tmp_path, **SMALL)
    fill_directory(writer, [MARK], {}, {"all@x.example": [MARK]})
    with pytest.raises(DataError, match=r"\w+ \w+"):
        writer.change(change)
    assert writer.reading.count()["addresses"] == 2
    writer.close()


def test_lists_are_edited_member_by_member(tmp_path):
    writer = DirectoryWriter(tmp_path, **SMALL)
    fill_directory(writer, [MARK], {}, {"all@x.example": []})
    add = lambda *who: writer.change(lambda changes: changes.add_members("ALL@x.example", who))  # noqa: E731
    assert add("b@x.example", "a@x.example").targets == ["b@x.example", "a@x.example"]
    assert add("A@x.example", "c@x.example").targets == ["b@x.example", "a@x.example", "c@x.example"]
    left = writer.change(lambda changes: changes.remove_members("all@x.example", ["B@x.example"]))
    assert left.targets == ["a@x.example", "c@x.example"]
    owned = writer.change(lambda changes: changes.set_owner("all@x.example", MARK))
    assert (owned.owner, owned.targets) == (MARK, left.targets)
    assert writer.change(lambda changes: changes.set_owner("all@x.example", "")).owner == ""
    writer.change(lambda changes: changes.add_alias("i@x.example", [MARK]))
    assert writer.change(lambda changes: changes.set_alias("i@x.example", ["b@x.example"])).targets == ["b@x.example"]
    with pytest.raises(NoEntry, match="it is a list"):
        writer.change(lambda changes: changes.set_alias("all@x.example", [MARK]))
    writer.close()


def test_a_renamed_person_keeps_the_id_and_lets_the_old_address_go(tmp_path):
    writer = DirectoryWriter(tmp_path, **SMALL)
    fill_directory(writer, [MARK])
    writer.change(lambda changes: changes.set_person(1, address="m@minasi.example", further=[MARK, "x@y.example"]))
    assert writer.reading.resolve(MARK).address == "m@minasi.example"
    writer.change(lambda changes: changes.set_person(1, further=[]))
    assert writer.reading.resolve(MARK) is None
    assert writer.reading.resolve("m@minasi.example").mailbox == 1
    writer.close()


def test_a_reader_answers_every_verb_as_the_writer_does(tmp_path):
    place = directory_path(tmp_path)
    asked = (
        ("resolve", MARK),
        ("person", 1),
        ("find", MARK),
        ("search", "mark", 5),
        ("people", 0, 5),
        ("lists", "", 5),
        ("version",),
        ("credentials", 1),
        ("key",),
    )
    writer = DirectoryWriter(place, **SMALL)
    fill_directory(writer, {MARK: "secret"}, {}, {"all@x.example": [MARK]})
    written = [getattr(writer.reading, verb)(*args) for verb, *args in asked]
    writer.close()
    reader = DirectoryReader(place)
    assert [getattr(reader, verb)(*args) for verb, *args in asked] == written
    assert all(written)
    assert len(reader.key()) == 32
    reader.close()


def test_separators_beyond_a_limit_belong_to_the_name(directory):
    assert directory.resolve("mark" + "+x" * reading.TAGS + "@minasi.example").tag == "x" + "+x" * (reading.TAGS - 1)
    assert directory.resolve("mark" + "+x" * (reading.TAGS + 1) + "@minasi.example") is None


def test_an_alias_without_its_entry_is_damage(tmp_path):
    writer = DirectoryWriter(tmp_path, **SMALL)
    fill_directory(writer, [], {"i@x.example": [MARK]})
    with writer._files.env.begin(write=True) as txn:
        txn.delete(b"i@x.example", db=writer._tables[b"entry"])
    with pytest.raises(DirectoryUnreadable, match="restore"):
        writer.reading.groups(tables.ALIAS, "", 5)
    assert writer.reading.broken
    writer.close()
