"""``mta mailbox`` on the files of a stopped server."""

import asyncio
import io
import json
import mailbox
import os
import re
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mta.cli import letters, main
from mta.cli import mailbox as mailbox_command
from mta.cli.render import local_time
from mta.directory.protocol import Person
from mta.directory.reader import DirectoryReader
from mta.model.spoolid import format_id, parse_id
from mta.store.formats import maildir_name
from mta.store.protocol import Copy
from mta.store.stopped import open_stopped
from mta.store.tables import store_directory
from tests.harness.corpora import corpus
from tests.harness.directory import make_directory
from tests.harness.storing import HEAD, octets_of, open_store, sent

MARK, SHEILA = "mark@minasi.example", "sheila@minasi.example"
CONTENTS = [
    b"From: Alice <alice@athena.example>\r\nSubject: one\r\n\r\nFrom the start\r\n>From there\r\n.\r\n",
    b"Subject: two\r\n\r\n" + b"x" * 70 + b"\r\n\r\n\r\n",
    b"Subject: three\r\n\r\n" + (b"y" * 62 + b"\r\n") * 40_000,
]


class Shell:
    def __init__(self, directory: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        self.directory = directory
        self.data = directory / "data"
        self._config = directory / "mta.toml"
        self._capture = capfdbinary
        self.configure("")
        self.people = self._people()

    def configure(self, settings: str) -> None:
        self._config.write_text(
            f'hostname = "hermes.example"\ndata_dir = "{self.data}"\n'
            f'[local]\ndomains = ["minasi.example"]\n{settings}\n'
        )

    def _people(self) -> dict[str, Person]:
        self.data.mkdir(mode=0o700)
        reader: DirectoryReader = make_directory(self.data, [MARK, SHEILA])
        found = {address: reader.find(address) for address in (MARK, SHEILA)}
        reader.close()
        return {address: person for address, person in found.items() if person is not None}

    def fill(self, *contents: bytes) -> None:
        async def work() -> None:
            store = open_store(store_directory(self.data))
            for number, content in enumerate(contents):
                copy = Copy(self.people[MARK].id, HEAD, arrival=1_795_773_600_123 + number * 1000)
                await sent(store, [copy], content)
            await store.stop()

        asyncio.run(work())

    def leave(self, number: int, messages: int) -> None:
        """A mailbox of somebody who is no more."""

        async def work() -> None:
            store = open_store(store_directory(self.data))
            for _ in range(messages):
                await sent(store, [Copy(number, HEAD)], b"x\r\n")
            await store.stop()

        asyncio.run(work())

    def run(self, *args: str) -> tuple[int, bytes, str]:
        with pytest.raises(SystemExit) as end:
            main(["mailbox", *args, "--config", str(self._config)])
        out, err = self._capture.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, out, err.decode()

    def rows(self, *args: str) -> list[dict]:
        code, out, err = self.run(*args, "--json")
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    def held(self, address: str) -> list[tuple[int, int, bytes]]:
        """uid, arrival and octets of each message."""
        with open_stopped(store_directory(self.data)) as store:
            view = store.view(self.people[address].id)
            return [(uid, view.arrival(n), octets_of(view)[n]) for n, uid in enumerate(view.uids)]


@pytest.fixture
def shell(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("MTA_CONFIG", raising=False)
    return Shell(tmp_path, capfdbinary)


def test_a_listing_for_people_and_one_for_programs(shell: Shell) -> None:
    shell.fill(*CONTENTS[:2])
    code, out, _ = shell.run("list", MARK)
    head, first, second, total = out.decode().splitlines()
    assert code == 0
    assert head.split() == ["N", "UNIQUE-ID", "SIZE", "ARRIVED", "FROM", "SUBJECT"]
    assert re.fullmatch(r" +1 [0-9A-Z]{13} +\d+ 20\d\d-\d\d-\d\d [\d:]{8} Alice <alice@athena.example> + one", first)
    assert second.endswith(" two")
    assert total == f"2 messages, {sum(len(HEAD + content) for content in CONTENTS[:2])} octets"
    assert [row["unique_id"] for row in shell.rows("list", MARK)] == [first.split()[1], second.split()[1]]
    assert shell.run("list", SHEILA)[1].splitlines()[-1] == b"0 messages, 0 octets"


def test_a_message_is_shown_as_it_is(shell: Shell) -> None:
    shell.fill(*CONTENTS)
    for number, content in enumerate(CONTENTS, 1):
        assert shell.run("show", MARK, str(number))[:2] == (0, HEAD + content)
    (row,) = shell.rows("show", MARK, "1")
    assert row["subject"] == "one"
    code, out, err = shell.run("show", MARK, "4")
    assert (code, out) == (os.EX_DATAERR, b"")
    assert err == f"mta: {MARK}: there is no message 4; it has 3\n"


@pytest.mark.parametrize("form", ["--maildir", "--mbox"])
def test_an_export_is_imported_octet_for_octet_with_its_unique_ids(shell: Shell, form: str) -> None:
    shell.fill(*CONTENTS)
    before = shell.held(MARK)
    where = str(shell.directory / "exported")
    assert shell.run("export", MARK, form, where)[:2] == (0, f"export: 3 messages to {where}\n".encode())
    assert shell.held(MARK) == before, "nothing is removed"
    assert shell.run("import", SHEILA, form, where)[:2] == (0, f"import: 3 messages from {where}\n".encode())
    exact = form == "--maildir"
    assert shell.held(SHEILA) == [(uid, at if exact else at // 1000 * 1000, octets) for uid, at, octets in before]
    assert shell.run("remove", MARK, "--all")[:2] == (0, f"remove: 3 messages of {MARK}\n".encode())
    shell.run("import", MARK, form, where)
    assert [uid for uid, _, _ in shell.held(MARK)] == [uid for uid, _, _ in before]
    shell.run("import", MARK, form, where)
    again = shell.held(MARK)
    assert len({uid for uid, _, _ in again}) == 6, "an id that is taken comes not twice"
    assert shell.run("audit")[0] == 0


def test_a_maildir_is_what_other_programs_read(shell: Shell) -> None:
    shell.fill(*CONTENTS)
    where = shell.directory / "maildir"
    shell.run("export", MARK, "--maildir", str(where))
    names = sorted(file.name for file in (where / "cur").iterdir())
    uids = [uid for uid, _, _ in shell.held(MARK)]
    for name, uid, content in zip(names, uids, CONTENTS, strict=True):
        octets = (HEAD + content).replace(b"\r\n", b"\n")
        assert re.fullmatch(rf"17957736\d\d\.M123000P\d+U{format_id(uid)}\.hermes\.example,S={len(octets)}:2,", name)
        assert (where / "cur" / name).read_bytes() == octets
    assert not list((where / "tmp").iterdir())
    box = mailbox.Maildir(str(where), create=False)
    assert sorted(message["Subject"] for message in box) == ["one", "three", "two"]


def test_an_export_goes_on_where_it_was(shell: Shell) -> None:
    shell.fill(*CONTENTS[:1])
    where = str(shell.directory / "maildir")
    shell.run("export", MARK, "--maildir", where)
    shell.fill(*CONTENTS[1:])
    assert shell.run("export", MARK, "--maildir", where)[1] == (
        f"export: 2 messages to {where}; 1 were there already\n".encode()
    )
    assert len(list((Path(where) / "cur").iterdir())) == 3


def test_an_mbox_is_what_other_programs_read(shell: Shell) -> None:
    shell.fill(*CONTENTS)
    where = shell.directory / "mark.mbox"
    shell.run("export", MARK, "--mbox", str(where))
    assert where.read_bytes().startswith(b"From alice@athena.example Fri Nov 27 10:00:00 2026\nX-UIDL: ")
    assert b"\n>From the start\n>>From there\n" in where.read_bytes()
    with closing(mailbox.mbox(str(where), create=False)) as box:
        assert [message["Subject"] for message in box] == ["one", "two", "three"]
    code, _, err = shell.run("export", MARK, "--mbox", str(where))
    assert code == os.EX_CANTCREAT
    assert "exists: name a new file" in err
    assert [file.name for file in shell.directory.iterdir() if "mbox" in file.name] == ["mark.mbox"]


def test_a_maildir_and_an_mbox_of_others_are_imported(shell: Shell) -> None:
    shell.fill()
    box = mailbox.Maildir(str(shell.directory / "theirs"))
    box.add(b"Subject: new\n\nbody\n")
    (shell.directory / "theirs/cur/1700000000.V1.host:2,S").write_bytes(b"Subject: seen\r\n\r\nFrom here\r\n")
    assert shell.run("import", MARK, "--maildir", str(shell.directory / "theirs"))[0] == 0
    subjects = {row["subject"]: row["arrived"] for row in shell.rows("list", MARK)}
    assert sorted(subjects) == ["new", "seen"]
    assert subjects["seen"] == 1_700_000_000
    theirs = mailbox.mbox(str(shell.directory / "theirs.mbox"))
    theirs.add(b"Subject: mbox\n\nFrom a\n\nb\n")
    theirs.close()
    assert shell.run("import", SHEILA, "--mbox", str(shell.directory / "theirs.mbox"))[0] == 0
    ((_, _, octets),) = shell.held(SHEILA)
    assert octets == b"Subject: mbox\r\n\r\nFrom a\r\n\r\nb\r\n"


def test_the_corpora_pass_through_a_mailbox(shell: Shell) -> None:
    shell.fill()
    folder = corpus("eml")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.stat().st_size < 2_000_000)
    (shell.directory / "eml/cur").mkdir(parents=True)
    wanted = []
    for number, file in enumerate(files):
        octets = file.read_bytes()
        (shell.directory / "eml/cur" / f"{number + 1:09}.x.host:2,").write_bytes(octets)
        wanted.append(re.sub(rb"(?<!\r)\n", b"\r\n", octets))
    assert len(wanted) > 50
    assert shell.run("import", MARK, "--maildir", str(shell.directory / "eml"))[0] == 0
    assert [octets for _, _, octets in shell.held(MARK)] == wanted
    assert shell.run("list", MARK)[0] == 0
    mbox = corpus("pop3-mbox") / "imaptest-default.mbox"
    assert shell.run("import", SHEILA, "--mbox", str(mbox))[0] == 0
    assert len(shell.held(SHEILA)) == 6


def test_large_messages_go_in_parts_and_small_ones_together(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_command, "REQUEST", 1000)
    monkeypatch.setattr(mailbox_command, "REQUEST_MESSAGES", 3)
    contents = [b"%d\r\n" % n + b"z" * (n * 137) for n in range(20)]
    shell.fill(*contents)
    shell.run("export", MARK, "--maildir", str(shell.directory / "m"))
    assert shell.run("import", SHEILA, "--maildir", str(shell.directory / "m"))[0] == 0
    assert [octets for _, _, octets in shell.held(SHEILA)] == [HEAD + content for content in contents]


def test_a_removal_by_number_or_unique_id(shell: Shell) -> None:
    shell.fill(*CONTENTS)
    uids = [format_id(uid) for uid, _, _ in shell.held(MARK)]
    assert shell.rows("remove", MARK, "1", uids[2]) == [
        {"number": 1, "unique_id": uids[0]},
        {"number": 3, "unique_id": uids[2]},
    ]
    assert [format_id(uid) for uid, _, _ in shell.held(MARK)] == [uids[1]]
    for wrong in ([], ["1", "--all"]):
        assert shell.run("remove", MARK, *wrong)[0] == os.EX_USAGE


def test_mailboxes_of_nobody_are_erased_by_number(shell: Shell) -> None:
    shell.fill(*CONTENTS[:1])
    shell.leave(77, 2)
    shell.leave(78, 1)
    code, out, err = shell.run("erase", "77", MARK, "79")
    assert (code, out) == (os.EX_DATAERR, b"erase: 1 mailbox with 2 messages\n")
    assert [line.split(": ")[0] for line in err.splitlines()] == ["mta"] * 2
    assert "belongs to mark@minasi.example" in err
    assert "no mailbox 79" in err
    code, out, _ = shell.run("erase", "78", "79", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["mailbox"], row.get("erased"), row.get("exit")) for row in rows] == [
        ("78", True, None), ("79", None, os.EX_DATAERR),
    ]  # fmt: skip
    assert [row["address"] for row in shell.rows("usage")] == [MARK]
    assert shell.run("audit")[0] == 0
    for wrong in ([], ["77", "--orphans"]):
        assert shell.run("erase", *wrong)[0] == os.EX_USAGE


def test_all_mailboxes_of_nobody_are_erased_once_somebody_agreed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.fill(*CONTENTS[:1])
    shell.leave(77, 2)
    shell.leave(78, 1)
    code, _, err = shell.run("erase", "--orphans")
    assert (code, "give --yes" in err, err.count("\n")) == (os.EX_USAGE, True, 1)
    answers = io.StringIO("n\ny\n")
    monkeypatch.setattr(sys, "stdin", answers)
    monkeypatch.setattr(answers, "isatty", lambda: True)
    code, out, err = shell.run("erase", "--orphans")
    assert (code, out) == (130, b"")
    assert "Erase 2 mailboxes with 3 messages" in err
    assert len(shell.rows("usage")) == 3
    assert shell.run("erase", "--orphans")[:2] == (0, b"erase: 2 mailboxes with 3 messages\n")
    assert [row["address"] for row in shell.rows("usage")] == [MARK]
    assert shell.run("erase", "--orphans")[:2] == (0, b"erase: 0 mailboxes with 0 messages\n"), "nothing to ask about"
    shell.leave(77, 1)
    assert shell.rows("erase", "--orphans", "--yes") == [
        {"mailbox": "77", "messages": 1, "octets": len(HEAD) + 3, "erased": True}
    ]


def test_usage_and_quota(shell: Shell) -> None:
    shell.fill(*CONTENTS[:2])
    code, out, _ = shell.run("usage")
    assert out.decode().splitlines()[1].split() == [MARK, "2", str(sum(len(HEAD + c) for c in CONTENTS[:2])), "-"]
    shell.configure('[store]\nquota_messages = 3\nquota_size = "1MiB"\n')
    code, out, _ = shell.run("usage", MARK)
    assert out.decode().splitlines()[1].endswith("3 messages, 1048576 octets")
    shell.run("export", MARK, "--maildir", str(shell.directory / "m"))
    code, out, err = shell.run("import", MARK, "--maildir", str(shell.directory / "m"))
    assert code == os.EX_IOERR
    assert "1 messages from" in out.decode()
    assert "1 were refused" in out.decode()
    assert "its quota is 3" in err


def test_the_audit_says_what_is_wrong(shell: Shell) -> None:
    from mta.store.tables import BOOKS_KEY, Files

    shell.fill(*CONTENTS)
    assert shell.rows("audit")[0]["drift"] == 0
    code, out, _ = shell.run("audit")
    assert (code, out.split()[:2]) == (0, [b"mailboxes", b"1"])
    files = Files(store_directory(shell.data))
    with files.env.begin(write=True) as txn:
        txn.delete(BOOKS_KEY, db=files.books)
    files.close()
    code, _, err = shell.run("audit")
    assert code == 1
    assert "in the books" in err


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["list", "nobody@minasi.example"], os.EX_DATAERR, "nobody of that address"),
        (["export", MARK], os.EX_USAGE, "give --maildir DIR or --mbox FILE"),
        (["export", MARK, "--maildir", "a", "--mbox", "b"], os.EX_USAGE, "give --maildir DIR or --mbox FILE"),
        (["export", "nobody@minasi.example", "--maildir", "m"], os.EX_DATAERR, "nobody"),
        (["export", MARK, "--mbox", "nowhere/there"], os.EX_CANTCREAT, "mta: nowhere/there: No such file or directory"),
        (["export", MARK, "--maildir", "mta.toml/m"], os.EX_CANTCREAT, "name a directory"),
        (["import", MARK, "--mbox", "nowhere"], os.EX_USAGE, "does not exist"),
        (["import", MARK, "--maildir", "data"], os.EX_DATAERR, "no Maildir"),
        (["import", MARK, "--mbox", "mta.toml"], os.EX_DATAERR, "not an mbox"),
        (["import", MARK, "--maildir", "large"], os.EX_DATAERR, "larger than"),
        (["import", MARK, "--mbox", "large/mbox"], os.EX_DATAERR, "larger than"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int, sentence: str
) -> None:
    monkeypatch.chdir(shell.directory)
    shell.fill(CONTENTS[0])
    shell.configure('[limits]\nmessage_size = "1000"\n')
    (shell.directory / "large/cur").mkdir(parents=True)
    (shell.directory / "large/cur/1.x").write_bytes(b"x" * 1001)
    (shell.directory / "large/mbox").write_bytes(b"From a\n" + b"x" * 1001)
    ended, _, err = shell.run(*args)
    assert (ended, sentence in err, err.count("\n")) == (code, True, 1), err
    assert not (shell.directory / "m").exists()


@pytest.mark.parametrize("form", ["--maildir", "--mbox"])
def test_an_import_that_breaks_off_tells_what_is_in(shell: Shell, form: str) -> None:
    shell.fill(CONTENTS[0])
    shell.configure('[limits]\nmessage_size = "1000"\n')
    cur = shell.directory / "large/cur"
    cur.mkdir(parents=True)
    messages = [b"Subject: one\n", b"Subject: two\n", b"x" * 1001, b"Subject: four\n"]
    for number, message in enumerate(messages, 1):
        (cur / f"{number}.x").write_bytes(message)
    box = shell.directory / "large/mbox"
    box.write_bytes(b"".join(b"From a\n" + message + b"\n\n" for message in messages))
    code, out, err = shell.run("import", MARK, form, str(box if form == "--mbox" else cur.parent))
    assert code == os.EX_DATAERR
    assert ("message 3 of the mbox" if form == "--mbox" else "3.x") in err
    assert out.startswith(b"import: 2 messages from ")
    assert [row["subject"] for row in shell.rows("list", MARK)][1:] == ["one", "two"]


def test_an_export_to_a_full_disk_names_the_place_and_leaves_nothing_half_done(shell: Shell) -> None:
    shell.fill(*CONTENTS)
    box = shell.directory / "box"
    (box / "tmp").mkdir(parents=True)
    last = shell.rows("list", MARK)[2]
    name = maildir_name(round(last["arrived"] * 1000), parse_id(last["unique_id"]), "hermes.example", os.getpid())
    (box / "tmp" / name).symlink_to("/dev/full")
    code, _, err = shell.run("export", MARK, "--maildir", str(box))
    assert (code, err) == (os.EX_IOERR, f"mta: {box}: No space left on device\n")
    assert (len(list((box / "cur").iterdir())), list((box / "tmp").iterdir())) == (2, [])
    code, out, _ = shell.run("export", MARK, "--maildir", str(box))
    assert (code, out) == (0, f"export: 1 messages to {box}; 2 were there already\n".encode())


def test_a_time_beyond_all_calendars_is_shown_as_the_last_one(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell.directory)
    shell.fill(CONTENTS[0])
    cur = shell.directory / "box/cur"
    cur.mkdir(parents=True)
    (cur / "999999999999.M1P1.x:2,").write_bytes(b"Subject: far\n\n")
    assert shell.run("import", MARK, "--maildir", "box")[0] == 0
    code, out, _ = shell.run("list", MARK)
    assert (code, b"9999-12-" in out) == (0, True)
    assert shell.run("export", MARK, "--mbox", "far.mbox")[0] == 0
    assert local_time(1e15, "%Y") == "9999"


def test_without_a_store_and_with_a_server_that_does_not_answer(shell: Shell) -> None:
    code, _, err = shell.run("usage")
    assert code == os.EX_UNAVAILABLE
    assert "there is no store" in err
    shell.fill(CONTENTS[0])
    from mta.attendant.datadir import hold_lock
    from mta.clock import SystemClock

    lock = hold_lock(shell.data, SystemClock(), lambda seconds: None)
    assert shell.run("usage")[0] == os.EX_TEMPFAIL
    os.close(lock)
    assert shell.run("usage")[0] == 0


def test_an_export_that_is_broken_off_leaves_no_mbox(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.fill(*CONTENTS)

    def interrupted(self: object, octets: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(letters.MboxTarget, "write", interrupted)
    assert shell.run("export", MARK, "--mbox", str(shell.directory / "x.mbox"))[0] == 130
    assert not [file for file in shell.directory.iterdir() if "x.mbox" in file.name]


def test_progress_is_for_people(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(letters, "_PAUSE", 0.0)
    for looking in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda looking=looking: looking)
        progress = letters.Progress("export")
        progress.step()
        progress.step()
        progress.end()
        assert ("export: 2 messages" in capfd.readouterr().err) == looking


def test_a_message_that_goes_during_an_export_is_left_out(tmp_path: Path) -> None:
    rows = [
        {"unique_id": format_id(5), "arrived": 1.0, "from": "a"},
        {"content": b"one\r\n"},
        {"unique_id": format_id(6), "arrived": 1.0, "from": "a"},
        {"content": b"half"},
        {"gone": True},
        {"gone": True},
        {"unique_id": format_id(7), "arrived": 1.0, "from": "a"},
        {"unique_id": format_id(8), "arrived": 1.0, "from": "a"},
        {"gone": True},
    ]
    for target in (letters.MaildirTarget(tmp_path / "m", "h"), letters.MboxTarget(tmp_path / "mbox")):
        progress = letters.Progress("x")
        ahead, *rest = rows
        assert mailbox_command._export(ahead, iter(rest), target, progress) == 0
        assert progress.count == 2
    assert [letter.uid for letter in letters.read_maildir(tmp_path / "m", 99)] == [5, 7]
    assert [(letter.uid, letter.content) for letter in letters.read_mbox(tmp_path / "mbox", 99)] == [
        (5, b"one\r\n"),
        (7, b""),
    ]
    target = letters.MboxTarget(tmp_path / "empty")
    mailbox_command._export(None, iter(()), target, letters.Progress("x"))
    assert (tmp_path / "empty").read_bytes() == b""
