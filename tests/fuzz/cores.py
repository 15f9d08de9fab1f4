"""The cores and their invariants: ``CORES[name](octets, random)`` plays octets to a core in several ways.

Owns: what must hold whatever the octets are. A check raises AssertionError, or lets the core's own exception through;
else it returns the shape of what happened, by which the corpus grows. Never does: choose octets.
"""

import re
from collections.abc import Callable, Hashable
from random import Random
from typing import Any

from mta.ldap.messages import BadMessage, check_form, decode, frame_length
from mta_ext.dots import Stuffer, Unstuffer, stuff
from mta_ext.headers import field_value, scan_headers
from mta_ext.params import parse_params
from mta_ext.path import parse_path
from mta_ext.reply import ReplyError, ReplyParser
from mta_ext.xtext import decode_xtext
from tests.harness import pop3_handler
from tests.harness.client_driver import Driver, Job
from tests.harness.recording_handler import LmtpHandler, RecordingHandler, cut, new_session, octet_by_octet, play
from tests.harness.reference import count_ends, count_fields, split_content, stuff_content

Check = Callable[[bytes, Random], Hashable]
#: Octets that are played one by one; more would take long and show nothing new.
MOST = 3000
LIMITS = {
    "command_line": 512, "message_size": 2000, "content_line": 200, "header_section": 600, "hops": 3, "errors": 12,
    "recipients": 4, "stream_above": 300, "in_step": False,
}  # fmt: skip
EXTENSIONS = (
    "PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", "ENHANCEDSTATUSCODES", "LIMITS",
    "MT-PRIORITY", "DELIVERBY", "ETRN", "VRFY", "EXPN", "HELP", "XCLIENT", "XFORWARD",
)  # fmt: skip
OUT_OF_STEP = b"554 5.5.0 improper command pipelining\r\n"
_LAST_CHUNK = re.compile(rb"BDAT +\d+ +LAST", re.IGNORECASE)
_CODE = re.compile(rb"^\d{3}[ -]|^$")


def pieces_of(octets: bytes, random: Random) -> list[list[bytes]]:
    """Whole, one by one, and twice at random."""
    ways = [[octets], octet_by_octet(octets)]
    return [*ways, *(cut(octets, [random.randrange(len(octets) + 1) for _ in range(8)]) for _ in range(2))]


def alike(results: list[Any]) -> Any:
    """All of them are the same; one of them."""
    assert all(result == results[0] for result in results), "the transcript depends on how octets arrive"
    return results[0]


def smtp(octets: bytes, random: Random) -> Hashable:
    return _receiving(octets, random, RecordingHandler, lmtp=False)


def lmtp(octets: bytes, random: Random) -> Hashable:
    return _receiving(octets, random, LmtpHandler, lmtp=True)


def _receiving(octets: bytes, random: Random, make: type[RecordingHandler], *, lmtp: bool) -> Hashable:
    octets = octets[:MOST]

    def run(pieces: list[bytes], pending: bool) -> tuple[Any, ...]:
        extensions = EXTENSIONS[:10] if lmtp else EXTENSIONS
        session, handler = new_session(lambda: make(pending=pending), lmtp=lmtp, extensions=extensions, **LIMITS)
        transcript = play(session, handler, pieces)
        return transcript, handler.contents, session.closing, session.pending

    ways = pieces_of(octets, random)
    results = [run(pieces, late) for pieces in ways for late in (False, True)]
    hasty = [result for result in results if OUT_OF_STEP in result[0]]
    transcript, contents, closing, _ = alike([result for result in results if result not in hasty] or hasty)
    for early, taken, _closing, _pending in hasty:
        # What stands behind a refused DATA is no command, whoever sent it in one piece; else all is the same so far.
        assert transcript.startswith(early.partition(OUT_OF_STEP)[0]), "the transcript depends on more than haste"
        assert contents[: len(taken)] == taken
    assert len(contents) <= count_ends(octets) + len(_LAST_CHUNK.findall(octets)), "more messages than ends of content"
    assert all(_CODE.match(line) for line in transcript.split(b"\r\n")), "a line that is no reply"
    return tuple(line[:9] for line in transcript.split(b"\r\n"))[-12:], len(contents), closing


def pop3(octets: bytes, random: Random) -> Hashable:
    octets = octets[:MOST]

    def run(pieces: list[bytes], pending: bool) -> tuple[Any, ...]:
        session, handler = pop3_handler.new_session(lambda: pop3_handler.Pop3Handler(pending=pending))
        session.greet()
        said = pop3_handler.play(session, handler, pieces)
        return said, session.closing, handler.deletes, session.admitted

    said, closing, deletes, admitted = alike(
        [run(pieces, late) for pieces in pieces_of(octets, random) for late in (False, True)]
    )
    removed = sum(map(len, deletes))
    assert removed <= octets.upper().count(b"DELE"), "more removed than was asked for"
    assert not removed or b"QUIT" in octets.upper(), "removed without QUIT"
    return tuple(line[:6] for line in said.split(b"\r\n"))[-12:], closing, admitted, removed


def client(octets: bytes, random: Random) -> Hashable:
    """``octets`` are what a remote says, unasked."""
    octets = octets[:MOST]
    lmtp = random.random() < 0.3

    def run(pieces: list[bytes]) -> Driver:
        driver = Driver([Job(number) for number in range(3)], True, {"lmtp": lmtp, "reply_line": 256})
        for piece in pieces:
            driver.session.feed(piece)
        driver.take()
        driver.session.eof()
        driver.take()
        return driver

    drivers = [run(pieces) for pieces in pieces_of(octets, random)]
    events = alike([driver.events for driver in drivers])
    alike([driver.wire for driver in drivers])
    driver = drivers[0]
    listed = [token for token, _ in driver.trouble[3]] if driver.trouble else []
    ended = [outcome[0] for outcome in driver.outcomes] + listed
    assert sorted(ended) == sorted(driver.given), "a delivery without an end, or with two"
    return tuple(str(event[:3])[:40] for event in events)


def content(octets: bytes, random: Random) -> Hashable:
    split = split_content(octets)

    def run(pieces: list[bytes]) -> tuple[Any, ...]:
        unstuffer, made, consumed = Unstuffer(), b"", 0
        for piece in pieces:
            if not unstuffer.ended:
                more, took = unstuffer.feed(piece)
                made, consumed = made + more, consumed + took
        return unstuffer.ended, made, consumed, unstuffer.bare, unstuffer.dotted

    ended, made, consumed, bare, dotted = alike([run(pieces) for pieces in pieces_of(octets, random)])
    assert ended == (split is not None), "an end that is none, or none that is one"
    if split is not None:
        assert (consumed, bare) == (split.consumed, split.bare)
        assert bare or (made, dotted) == (split.content, split.dotted)
    return ended, bare, dotted, min(len(made), 8)


def dots(octets: bytes, random: Random) -> Hashable:
    def run(pieces: list[bytes]) -> bytes:
        stuffer = Stuffer()
        return b"".join(stuffer.feed(piece) for piece in pieces) + stuffer.finish()

    stuffed = alike([run(pieces) for pieces in pieces_of(octets, random)])
    assert stuffed.startswith(stuff(octets))
    rest = octets.replace(b"\r\n", b"")
    if b"\r" not in rest and b"\n" not in rest:
        assert stuffed == stuff_content(octets)
        split = split_content(stuffed)
        assert split is not None
        assert split.consumed == len(stuffed), "an end of content within it"
    return len(stuffed) - len(octets)


def headers(octets: bytes, random: Random) -> Hashable:
    octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    scan = scan_headers(octets)
    assert 0 <= scan.end <= len(octets)
    assert scan.hops == count_fields(octets, b"received")
    assert scan.has_date == (count_fields(octets, b"date") > 0)
    value = field_value(octets, b"Message-ID")
    assert (value is not None) == scan.has_message_id
    return scan.hops, scan.has_date, scan.has_from, value is not None


def path(octets: bytes, random: Random) -> Hashable:
    utf8 = random.random() < 0.5
    found = parse_path(octets, utf8)
    if found is None:
        return None
    assert found.mailbox.isascii() or utf8
    assert not any(c in found.mailbox for c in "\0\r\n")
    if found.mailbox:
        again = parse_path(f"<{found.mailbox}>".encode(), utf8)
        assert again == found, "a mailbox that means something else when it is said again"
    return len(found.domain) > 0, found.mailbox[:1], "[" in found.domain


def params(octets: bytes, random: Random) -> Hashable:
    found = parse_params(octets)
    decoded = decode_xtext(octets.decode("latin-1"))
    if found is not None:
        assert all(key == key.upper() and " " not in key for key in found)
        again = " ".join(key if value is None else f"{key}={value}" for key, value in found.items())
        assert parse_params(again.encode("latin-1")) == found
    return None if found is None else tuple(sorted(found))[:4], decoded is None


def reply(octets: bytes, random: Random) -> Hashable:
    def run(pieces: list[bytes]) -> list[str]:
        parser, said = ReplyParser(line=200, lines=20), []
        try:
            for piece in pieces:
                said += [str(one) for one in parser.feed(piece)]
            # What comes ahead of an error is returned first, the error with the next call.
            said += [str(one) for one in parser.feed(b"")]
        except ReplyError:
            said.append("error")
        return said

    said = alike([run(pieces) for pieces in pieces_of(octets, random)])
    return tuple(one[:9] for one in said)[-8:]


def ldap(octets: bytes, random: Random) -> Hashable:
    try:
        length = frame_length(octets)
        if not 0 < length <= len(octets):
            return "unfinished"
        check_form(octets[:length])
        message = decode(octets[:length])
    except BadMessage as error:
        return str(error)[:30]
    return message.kind


CORES: dict[str, Check] = {
    check.__name__: check for check in (smtp, lmtp, client, pop3, content, dots, headers, path, params, reply, ldap)
}
