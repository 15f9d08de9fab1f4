"""The same POP3 dialogues with Hermes and with Dovecot over the same messages: the same successes and failures, the
same numbers, the same octets. ``DIFFERENT`` has every line where they part, and says who is right.

What a status line says behind +OK or -ERR is for people, and not compared but for STAT, LIST n and UIDL n.
"""

import os
import shutil
from typing import NamedTuple

import pytest

from bench.dovecot import Dovecot
from tests.harness.mail_house import MARK, PEOPLE, MailHouse
from tests.harness.pop3_wire import Pop3Wire

HEAD = b"From: <alice@athena.example>\r\nSubject: %s\r\n"
CONTENTS = [
    HEAD % b"plain" + b"\r\nfirst\r\nsecond\r\nthird\r\n",
    HEAD % b"no body" + b"\r\n",
    HEAD % b"dots" + b"\r\n.\r\n..\r\n.x\r\n\r\n.\r\n",
    HEAD % b"header only",
    HEAD % b"empty lines" + b"\r\n\r\n\r\n\r\nx\r\n\r\n",
    HEAD % b"8 bits" + b"\r\n" + bytes(range(128, 256)) + b"\r\n",
]
BIG = "99999999999999999999"

#: After the login, each in a session of its own that ends with QUIT and deletes nothing.
SCRIPTS: dict[str, list[str]] = {
    "listings": ["STAT", "LIST", "LIST 1", "LIST 6", "UIDL", "UIDL 2", "NOOP", "STAT"],
    "messages": [f"RETR {n}" for n in range(1, 7)],
    "tops": [f"TOP {n} {lines}" for n in range(1, 7) for lines in (0, 1, 3, 1000)],
    "odd tops": ["TOP", "TOP 1", "TOP 1 x", "TOP 1 -1", "TOP 0 1", "TOP 7 1", f"TOP 1 {BIG}", "TOP 1 1 1"],
    "deletions taken back": [
        "DELE 1", "DELE 1", "RETR 1", "TOP 1 0", "LIST 1", "UIDL 1", "LIST", "UIDL", "STAT", "DELE 6", "LIST",
        "RETR 2", "RSET", "LIST", "STAT", "RETR 1", "LIST 1",
    ],
    "other arguments": ["RETR", "DELE", "RETR 01", "LIST 1 2", "RSET"],
    "words": [
        "list", "Retr 1", "sTaT", "XYZZY", "", "STAT ", "LIST ", "STAT x", "NOOP x", "RSET x", "LAST",
        "USER mark", "PASS x", "APOP mark 0", "AUTH PLAIN", "STLS", "UTF8", "LANG",
    ],
}  # fmt: skip
#: In sessions of their own, since both servers hang up after too many errors.
NO_NUMBERS = ["0", "7", "-1", "x", BIG, "1x"]
SCRIPTS |= {f"{verb} of none": [f"{verb} {n}" for n in NO_NUMBERS] for verb in ("RETR", "DELE", "LIST", "UIDL")}
#: Before any login.
STRANGERS = [
    "STAT",
    "LIST",
    "RETR 1",
    "TOP 1 0",
    "UIDL",
    "DELE 1",
    "RSET",
    "NOOP",
    "PASS x",
    "USER",
    "AUTH NONE",
    "XYZZY",
    "",
]


class Difference(NamedTuple):
    ours: bytes
    theirs: bytes
    reason: str


_NO_ARGUMENT = "RFC 1939 gives it no argument; Dovecot overlooks one, and what a client meant by it"
DIFFERENT: dict[tuple[str, str], Difference] = {
    ("words", "STAT x"): Difference(b"-ERR", b"+OK 6 911", _NO_ARGUMENT),
    ("words", "NOOP x"): Difference(b"-ERR", b"+OK", _NO_ARGUMENT),
    ("words", "RSET x"): Difference(b"-ERR", b"+OK", _NO_ARGUMENT),
    ("words", "LANG"): Difference(b"+OK", b"-ERR", "RFC 6856, which Dovecot does not have"),
    ("strangers", "USER"): Difference(b"-ERR", b"+OK", "RFC 1939 wants a name; Dovecot refuses it at PASS"),
}


class Pair(NamedTuple):
    house: MailHouse
    dovecot: Dovecot

    def sessions(self) -> tuple[Pop3Wire, Pop3Wire]:
        return Pop3Wire(self.house.pop3_port), Pop3Wire(self.dovecot.pop3_port)

    def logged_in(self) -> tuple[Pop3Wire, Pop3Wire]:
        ours, theirs = self.sessions()
        for session in (ours, theirs):
            session.login(MARK, PEOPLE[MARK])
        return ours, theirs


@pytest.fixture
def pair(one_house: MailHouse, dovecot: Dovecot) -> Pair:
    """Dovecot serves the very octets that our mailbox gives."""
    one_house.empty().fill(CONTENTS)
    put(dovecot, one_house.mailbox())
    return Pair(one_house, dovecot)


def put(dovecot: Dovecot, messages: list[bytes]) -> None:
    """Into its Maildir, in this order, as files of the user that it serves mail as."""
    owner = dovecot.home("x").parent.stat()
    folder = dovecot.home(MARK) / "mail"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    for number, message in enumerate(messages):
        path = folder / "new" / f"{1_700_000_000 + number}.M1P{number}.test"
        path.write_bytes(message.replace(b"\r\n", b"\n"))
        os.utime(path, (1_700_000_000 + number,) * 2)
    for path in [folder.parent, folder, *folder.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)


def answer(session: Pop3Wire, command: str) -> tuple[bytes, bytes]:
    """(what is compared of the status line, the lines behind it)."""
    said = session.say(command)
    verb, *arguments = command.upper().split() or [""]
    good = said.startswith(b"+OK")
    numbers = good and (verb == "STAT" or (verb in ("LIST", "UIDL") and arguments))
    listing = verb in ("LIST", "UIDL") and not arguments
    lines = session.lines() if good and (listing or verb in ("RETR", "TOP", "CAPA", "LANG")) else b""
    shown = b" ".join(said.split()[:3]) if numbers else said[: 3 if good else 4]
    return shown, lines


def compare(script: str, commands: list[str], ours: Pop3Wire, theirs: Pop3Wire) -> dict[tuple[str, str], Difference]:
    """What parts them. Unique-ids are each server's own: only their numbers are held against each other."""
    found = {}
    for command in commands:
        (our_status, our_lines), (their_status, their_lines) = answer(ours, command), answer(theirs, command)
        if command.startswith("UIDL"):
            our_status, their_status = (b" ".join(status.split()[:2]) for status in (our_status, their_status))
            our_lines, their_lines = (numbers(lines) for lines in (our_lines, their_lines))
        if our_status != their_status:
            found[script, command] = Difference(our_status, their_status, "")
        elif our_lines != their_lines:
            found[script, command] = Difference(our_lines, their_lines, "")
    return found


def numbers(lines: bytes) -> bytes:
    return b" ".join(line.split()[0] for line in lines.splitlines())


def check(found: dict[tuple[str, str], Difference], script: str) -> None:
    """Exactly the differences that are explained: none more, and none that has gone."""
    explained = {key: (d.ours, d.theirs) for key, d in DIFFERENT.items() if key[0] == script}
    assert {key: (d.ours, d.theirs) for key, d in found.items()} == explained
    assert all(d.reason for d in DIFFERENT.values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_after_the_login(pair: Pair, script: str) -> None:
    ours, theirs = pair.logged_in()
    with ours, theirs:
        check(compare(script, SCRIPTS[script], ours, theirs), script)


def test_before_the_login(pair: Pair) -> None:
    """Each in a session of its own: Dovecot hangs up on a stranger's fourth error."""
    found = {}
    for command in STRANGERS:
        ours, theirs = pair.sessions()
        assert (ours.greeting[:4], theirs.greeting[:4]) == (b"+OK ", b"+OK ")
        found |= compare("strangers", [command], ours, theirs)
        ours.cut()
        theirs.cut()
    check(found, "strangers")


def test_a_wrong_password_is_refused_with_the_same_code(pair: Pair) -> None:
    ours, theirs = pair.sessions()
    for session in (ours, theirs):
        assert session.say(f"USER {MARK}").startswith(b"+OK")
        assert session.say("PASS wrong").startswith(b"-ERR [AUTH]")
        session.cut()


def test_what_is_deleted_goes_with_quit_and_the_rest_moves_up(pair: Pair) -> None:
    before = dict(zip(("ours", "theirs"), map(by_uid, pair.logged_in()), strict=True))
    for deletes in (["DELE 2", "DELE 5"], ["DELE 1"]):
        ours, theirs = pair.logged_in()
        with ours, theirs:
            assert compare("", deletes, ours, theirs) == {}
    ours, theirs = pair.logged_in()
    for name, session in (("ours", ours), ("theirs", theirs)):
        left = by_uid(session)
        assert list(left.items()) == [list(before[name].items())[n] for n in (2, 3, 5)], name


def test_what_is_deleted_stays_when_the_connection_is_cut(pair: Pair) -> None:
    ours, theirs = pair.logged_in()
    for session in (ours, theirs):
        assert session.say("DELE 1").startswith(b"+OK")
        session.cut()
    ours, theirs = pair.logged_in()
    with ours, theirs:
        assert compare("", ["STAT", "LIST", "RETR 1"], ours, theirs) == {}
        assert ours.count() == len(CONTENTS)


def by_uid(session: Pop3Wire) -> dict[bytes, bytes]:
    """Unique-id → message; ends the session."""
    with session:
        ids = [line.split()[1] for line in session.listing("UIDL")]
        return {name: session.content(f"RETR {number}") for number, name in enumerate(ids, 1)}


def test_a_pipelined_session_is_answered_alike(pair: Pair) -> None:
    commands = ["STAT", "LIST 1", "RETR 3", "TOP 1 1", "DELE 1", "RSET", "NOOP", "QUIT"]
    replies = []
    for session in pair.logged_in():
        session.send(*commands)
        said = b""
        while data := session.sock.recv(1 << 16):
            said += data
        session.cut()
        replies.append([line for line in said.split(b"\r\n") if not line.startswith((b"+OK", b"-ERR"))])
    assert replies[0] == replies[1]


def test_capabilities_are_those_that_dovecot_has_and_more(pair: Pair) -> None:
    ours, theirs = pair.sessions()
    mine, other = ({line.split()[0] for line in session.listing("CAPA")} for session in (ours, theirs))
    ours.cut()
    theirs.cut()
    assert other - mine == {b"CAPA"}, "Dovecot lists the command itself"
    assert mine - other == {b"STLS", b"EXPIRE", b"IMPLEMENTATION", b"UTF8", b"LANG"}  # Dovecot runs without TLS here
