"""The cores and their invariants: ``CORES[name](octets, random)`` plays octets to a core in several ways.

Owns: the table, which modules of ``mta_ext`` it reaches, and the cores that are no sessions (those are in ``servers``
and ``clients``). A check raises AssertionError, or lets the core's own exception through; else it returns the shape of
what happened, by which the corpus grows. Never does: choose octets.
"""

from collections.abc import Hashable
from random import Random
from typing import Any

from mta.ldap.messages import BadMessage, check_form, decode, frame_length
from mta.policy.proxy import Malformed, Proxied, read_header
from mta_ext.dots import Stuffer, Unstuffer, stuff
from mta_ext.headers import field_value, scan_headers
from mta_ext.params import parse_params
from mta_ext.path import parse_path
from mta_ext.reply import ReplyError, ReplyParser
from mta_ext.xtext import decode_xtext
from tests.fuzz.clients import client, smarthost
from tests.fuzz.servers import lmtp, pop3, smtp, submission
from tests.fuzz.ways import Check, alike, pieces_of
from tests.harness.reference import count_fields, split_content, stuff_content


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


def proxy(octets: bytes, random: Random) -> Hashable:
    """The header of a PROXY connection: read from as little of it as is there, it says the same."""

    def read(size: int) -> Proxied | str | None:
        try:
            return read_header(octets[:size])
        except Malformed as error:
            return str(error)

    seen = [read(size) for size in range(min(len(octets), 600) + 1)]
    known = [each for each in seen if each is not None]
    found = alike(known) if known and isinstance(known[0], Proxied) else known[0] if known else None
    assert all(isinstance(each, type(found)) for each in known), "a header that is one and is none"
    assert isinstance(found, str) or found is None or found.size <= len(octets)
    return found if isinstance(found, str) else found is not None and (found.address[:4], found.size)


CORES: dict[str, Check] = {
    check.__name__: check
    for check in (
        smtp, lmtp, submission, client, smarthost, pop3, content, dots, headers, path, params, reply, proxy, ldap
    )
}  # fmt: skip
#: The modules of ``mta_ext`` that cores call; what these import is reached through them.
REACHED = {
    "smtp": "smtp_server", "lmtp": "smtp_server", "submission": "smtp_server", "client": "smtp_client",
    "smarthost": "smtp_client", "pop3": "pop3_server", "content": "dots", "dots": "dots", "headers": "headers",
    "path": "path", "params": "params", "reply": "reply",
}  # fmt: skip
#: Modules that no core reaches: why nothing of theirs comes from a peer.
NO_PEER = {
    "columns": "numbers that our own code counts",
    "counters": "numbers that our own code counts",
    "kept": "reads what the store has written; content was parsed when it came",
    "shares": "numbers, and keys that are hashed before they come here",
    "throttle": "addresses and networks as the kernel told them",
}
