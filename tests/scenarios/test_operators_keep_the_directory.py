"""``mta directory`` with the server up and down: the same commands, the same answers, the same errors."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from mta.directory.passwords import verify
from mta.directory.reader import DirectoryReader
from mta.directory.tables import directory_path
from tests.harness.mta_server import MtaServer, wait_until

MARK = "mark@minasi.example"
#: An address book alone: the directory is needed, mailboxes are not.
SETTINGS = {
    "listener": [{"address": "127.0.0.1:0"}, {"protocol": "ldap", "address": "127.0.0.1:0"}],
    "directory": {"address_template": "%g.%s@minasi.example"},
}


@pytest.fixture(params=["running", "stopped"])
def server(request: pytest.FixtureRequest, mta: Callable[..., MtaServer], tmp_path: object) -> Iterator[MtaServer]:
    """A server that runs, or one that has not been started yet."""
    if request.param == "running":
        yield mta(**SETTINGS)
    else:
        yield MtaServer(tmp_path / "stopped", **SETTINGS)  # type: ignore[operator]


def say(server: MtaServer, *args: str, stdin: bytes = b"") -> str:
    done = server.mta("directory", *args, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, ""), f"{args}: {done.stderr}{done.stdout}"
    return done.stdout


def refused(server: MtaServer, code: int, *args: str, stdin: bytes = b"") -> str:
    done = server.mta("directory", *args, stdin=stdin)
    assert done.returncode == code, f"{args}: {done.returncode} {done.stderr}{done.stdout}"
    assert "Traceback" not in done.stderr
    assert all(line.startswith("mta: ") for line in done.stderr.splitlines())
    return done.stderr


def rows(server: MtaServer, *args: str) -> list[dict]:
    return server.rows("directory", *args)


def test_people_aliases_and_lists_come_are_found_and_go(server: MtaServer) -> None:
    shown = say(server, "user", "add", MARK, "--name", "Mark Minasi", "--password-stdin", stdin=b"secret\n")
    assert "password     set" in shown
    assert "secret" not in shown
    [ann] = rows(server, "user", "add", "--given", "Änn", "--surname", "O'Hara", "--department", "Books")
    assert (ann["id"], ann["address"]) == (2, "aenn.ohara@minasi.example")
    say(server, "alias", "add", "info@minasi.example", MARK, "far@else.example")
    say(server, "alias", "add", "@caught.example", MARK)
    say(server, "list", "add", "all@minasi.example", "info@minasi.example", "--owner", MARK)
    say(server, "list", "members", "add", "all@minasi.example", ann["address"])
    assert [row["address"] for row in rows(server, "search", "boo")] == [ann["address"]]
    assert "Mark Minasi" in say(server, "search", "min", "ma")
    assert [row["address"] for row in rows(server, "resolve", "all@minasi.example")] == [
        MARK,
        "far@else.example",
        ann["address"],
    ]
    assert say(server, "alias", "list").splitlines()[1].split() == ["info@minasi.example", MARK, "far@else.example"]
    changed = rows(server, "user", "set", MARK, "--address", "m@minasi.example", "--further", MARK, "--title", "Author")
    assert (changed[0]["id"], changed[0]["further"]) == (1, [MARK])
    assert say(server, "user", "list").splitlines()[0].startswith("m@minasi.example")
    say(server, "user", "remove", ann["address"])
    assert "does not exist" in server.mta("directory", "check").stdout
    say(server, "list", "members", "remove", "all@minasi.example", ann["address"])
    say(server, "alias", "remove", "@caught.example")
    assert say(server, "check") == ""
    say(server, "list", "remove", "all@minasi.example")
    assert rows(server, "list", "list") == []
    assert rows(server, "user", "add", "b@minasi.example")[0]["id"] == 3


def test_mistakes_are_one_line_with_their_exit_code(server: MtaServer) -> None:
    if not server.running:
        assert "no directory yet" in refused(server, os.EX_UNAVAILABLE, "user", "list")
    say(server, "user", "add", MARK)
    assert "is taken" in refused(server, os.EX_DATAERR, "user", "add", MARK.upper())
    assert "is taken" in refused(server, os.EX_DATAERR, "alias", "add", MARK, "x@y.example")
    assert "not an address" in refused(server, os.EX_DATAERR, "user", "add", "no address")
    assert "path" in refused(server, os.EX_DATAERR, "user", "add", "a/b@minasi.example")
    assert "no such person" in refused(server, os.EX_DATAERR, "user", "show", "nobody@minasi.example")
    assert "give a name" in refused(server, os.EX_DATAERR, "user", "add")
    assert "empty" in refused(server, os.EX_DATAERR, "user", "passwd", MARK, "--password-stdin", stdin=b"\n")
    assert "--password-stdin" in refused(server, os.EX_USAGE, "user", "passwd", MARK)
    assert "name an option" in refused(server, os.EX_USAGE, "user", "set", MARK)
    assert "itself" in refused(server, os.EX_DATAERR, "list", "add", "l@minasi.example", "L@minasi.example")
    nowhere = str(server.data / "nowhere" / "people.ldif")
    assert f"{nowhere}: No such file" in refused(server, os.EX_CANTCREAT, "export", nowhere)
    assert server.mta("directory", "search", "zzz").returncode == 1
    assert len(rows(server, "user", "list")) == 1


@pytest.mark.parametrize("form", ["ldif", "csv"])
def test_an_export_with_secrets_makes_the_same_directory_elsewhere(
    server: MtaServer, mta: Callable[..., MtaServer], form: str
) -> None:
    say(server, "user", "add", "gone@minasi.example")
    say(server, "user", "add", MARK, "--name", 'Märk, "M" ', "--password-stdin", stdin="pä:ß\n".encode())
    say(server, "user", "remove", "gone@minasi.example")
    say(server, "user", "set", MARK, "--further", "m@minasi.example", "--phone", "+1 555 0100")
    [exported] = rows(server, "export")
    [listed] = rows(server, "user", "list")
    assert (exported["kind"], exported["address"], exported["created"]) == ("person", MARK, listed["created"])
    say(server, "alias", "add", "@minasi.example", MARK)
    say(server, "list", "add", "all@minasi.example", MARK, "far@else.example", "--owner", MARK)
    file = server.directory / f"everything.{form}"
    say(server, "export", str(file), "--with-secrets")
    assert file.stat().st_mode & 0o777 == 0o600
    other = mta(server.directory.parent / "other", **SETTINGS)
    assert say(other, "import", str(file), "--keep-ids") == "import: 1 people, 1 aliases, 1 lists\n"
    assert say(other, "export", "--with-secrets") == say(server, "export", "--with-secrets")
    assert "argon2" not in say(other, "export").lower()
    reader = DirectoryReader(directory_path(other.data))
    assert verify(reader.credentials(2), "pä:ß")
    reader.close()


def test_an_export_to_a_full_disk_names_its_file_and_leaves_the_one_before(server: MtaServer) -> None:
    say(server, "user", "add", MARK)
    file = server.directory / "people.ldif"
    file.write_text("the one before")
    (server.directory / ".people.ldif.new").symlink_to("/dev/full")
    assert refused(server, os.EX_IOERR, "export", str(file)) == f"mta: {file}: No space left on device\n"
    assert file.read_text() == "the one before"
    assert not (server.directory / ".people.ldif.new").is_symlink()


def test_an_import_is_all_or_nothing_and_tells_the_lines(server: MtaServer) -> None:
    say(server, "user", "add", MARK)
    file = server.directory / "people.csv"
    file.write_text(
        "given_name,surname,address,password,department\n"
        "Ann,Smith,,secret,Books\n"
        f"Mark,Minasi,{MARK},,\n"
        "Bob,Jones,bob..jones@minasi.example,,\n"
    )
    said = refused(server, os.EX_DATAERR, "import", str(file)).splitlines()
    assert f"mta: {file}: line 3: {MARK} is taken: {MARK} has it" in said
    assert any(line.startswith(f"mta: {file}: line 4: ") for line in said)
    assert said[-1] == f"mta: {file}: nothing was imported"
    assert len(rows(server, "user", "list")) == 1
    file.write_text("\n".join(file.read_text().splitlines()[:2]) + "\n")
    say(server, "import", str(file))
    [_, ann] = rows(server, "user", "list")
    assert (ann["address"], ann["password"], ann["department"]) == ("ann.smith@minasi.example", True, "Books")
    assert "--format" in refused(server, os.EX_USAGE, "import", "people.txt")
    assert "No such file" in refused(server, os.EX_IOERR, "import", "people.csv.ldif")
    file.write_text("surname,password\nOne,right\nTwo,wr\x01ong\nThree,right\n")
    assert "line 3: the password has characters" in refused(server, os.EX_DATAERR, "import", str(file))
    text = b"dn: x\nobjectClass: person\nmail: c@minasi.example\nuserPassword: {SSHA}x\n"
    assert "line 4: userPassword" in refused(server, os.EX_DATAERR, "import", "--format", "ldif", "-", stdin=text)


def test_thousands_go_in_by_one_command(server: MtaServer) -> None:
    people = "".join(f"p{n}@minasi.example,Person {n},Department {n % 7}\n" for n in range(3000))
    text = f"address,display_name,department\n{people}".encode()
    assert "3000 people" in say(server, "import", "--format", "csv", "-", stdin=text)
    assert [row["address"] for row in rows(server, "search", "person", "2999")] == ["p2999@minasi.example"]
    assert len(rows(server, "user", "list", "--limit", "1700")) == 1700
    assert len(say(server, "export", "--format", "csv").splitlines()) == 3001


def test_a_password_is_asked_for_twice_at_a_terminal(server: MtaServer) -> None:
    say(server, "user", "add", MARK)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mta", "--config", str(server.config), "directory", "user", "passwd", MARK],
        env=server._environment(),
        cwd=server.directory,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
        text=True,
    )
    os.close(theirs)
    seen = b""
    for prompt in (b"Password: ", b"Once more: "):
        while not seen.endswith(prompt):
            seen += os.read(ours, 100)
        os.write(ours, b"typed secret\n")
    output, _ = process.communicate(timeout=30)
    os.close(ours)
    assert (process.returncode, output) == (0, f"{MARK}: password set\n")
    assert b"typed" not in seen
    reader = DirectoryReader(directory_path(server.data))
    assert verify(reader.credentials(1), "typed secret")
    reader.close()


def test_the_service_is_shown_and_what_it_wrote_outlives_it(mta: Callable[..., MtaServer]) -> None:
    server = mta(**SETTINGS)
    say(server, "user", "add", MARK)
    [shown] = [row for row in server.status()["services"] if row["name"] == "directory"]
    assert shown["state"] == "running"
    reader = DirectoryReader(directory_path(server.data))
    assert reader.resolve(MARK)
    os.kill(shown["pid"], signal.SIGKILL)
    assert reader.resolve(MARK)  # readers need no service
    wait_until(lambda: server.mta("directory", "user", "add", "b@minasi.example").returncode == 0, "a new service")
    assert reader.resolve("b@minasi.example")
    server.stop()
    assert [row["id"] for row in rows(server, "user", "list")] == [1, 2]
    reader.close()


def test_with_the_service_stopped_one_can_look_and_changes_wait(mta: Callable[..., MtaServer]) -> None:
    server = mta(**SETTINGS)
    say(server, "user", "add", MARK)
    assert server.mta("status", "stop", "directory").returncode == 0
    assert [row["address"] for row in rows(server, "user", "list")] == [MARK]
    assert say(server, "resolve", MARK).split()[0] == MARK
    assert "not running" in refused(server, os.EX_TEMPFAIL, "user", "add", "b@minasi.example")
    assert server.mta("status", "start", "directory").returncode == 0
    assert rows(server, "user", "add", "b@minasi.example")[0]["id"] == 2


def test_a_server_without_a_directory_says_so(mta: Callable[..., MtaServer]) -> None:
    server = mta()
    assert "no directory" in refused(server, os.EX_UNAVAILABLE, "user", "list")
