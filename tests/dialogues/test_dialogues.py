"""Plays each golden SMTP and LMTP conversation against a server session: whole, octet by octet and in random pieces.

A dialogue is a text file. The first line says what it shows. Then, in any order:
``with: name=number …`` limits of the session; ``C: text`` a line of the client, CRLF added; ``c: text`` octets of the
client with Python's backslash escapes, nothing added; ``S: text`` a line of the server; ``contents: N`` handed to
policy, whatever it said; ``calls: name …`` all that the handler was asked, in order; ``closes: yes`` the session is
over at the end.

Replies are compared as one transcript, because a pipelining client (RFC 2920) sees no more than that; their order in
the file is for the reader. The handler's rules are those of ``tests.harness.recording_handler``.
"""

from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.harness.recording_handler import LmtpHandler, RecordingHandler, cut, new_session, octet_by_octet, play

FOLDER = Path(__file__).parent
FILES = sorted([*FOLDER.glob("smtp/*.txt"), *FOLDER.glob("lmtp/*.txt")])


class Dialogue(NamedTuple):
    title: str
    client: bytes
    server: bytes
    limits: dict[str, int]
    expected: dict[str, str]


def read(path):
    title, *lines = path.read_text(encoding="utf-8").splitlines()
    client, server, limits, expected = [], [], {}, {}
    for number, line in enumerate(lines, 2):
        key, _colon, text = line.partition(":")
        text = text.removeprefix(" ")
        if key == "C":
            client.append(text.encode() + b"\r\n")
        elif key == "c":
            client.append(text.encode().decode("unicode_escape").encode("latin-1"))
        elif key == "S":
            server.append(text.encode() + b"\r\n")
        elif key == "with":
            limits = {name: int(value) for name, _, value in (word.partition("=") for word in text.split())}
        elif key in ("contents", "calls", "closes"):
            expected[key] = text
        else:
            assert not line.strip(), f"{path.name}:{number}: {line!r} is no line of a dialogue"
    return Dialogue(title, b"".join(client), b"".join(server), limits, expected)


def segmentations(octets):
    yield [octets]
    yield octet_by_octet(octets)
    random = Random(2920)
    for _ in range(10):
        yield cut(octets, [random.randrange(len(octets)) for _ in range(random.randrange(1, 12))])


@pytest.mark.parametrize("pending", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_dialogue_goes_as_written_in_any_pieces(path, pending):
    dialogue = read(path)
    lmtp = path.parent.name == "lmtp"
    make = LmtpHandler if lmtp else RecordingHandler
    for pieces in segmentations(dialogue.client):
        session, handler = new_session(lambda: make(pending=pending), lmtp=lmtp, **dialogue.limits)
        transcript = play(session, handler, pieces)
        assert transcript.decode() == dialogue.server.decode(), dialogue.title
        assert session.closing == (dialogue.expected.get("closes") == "yes")
        assert session.take_output() == b""
        if "contents" in dialogue.expected:
            assert len(handler.contents) == int(dialogue.expected["contents"])
        if "calls" in dialogue.expected:
            assert [call[0] for call in handler.calls] == dialogue.expected["calls"].split()


def test_there_are_dialogues_and_each_says_what_it_shows():
    assert len(FILES) >= 45
    titles = [read(path).title for path in FILES]
    assert all(title.endswith(".") for title in titles)
    assert len(set(titles)) == len(titles)
