"""Plays each golden SMTP and LMTP conversation against a server session: whole, octet by octet and in random pieces.

The files are described in ``tests.harness.dialogues``. Here they may say: ``contents: N`` handed to policy, whatever it
said; ``calls: name …`` all that the handler was asked, in order; ``closes: yes`` the session is over at the end;
``waits: yes`` it matters where the client waits, as a DATA is refused; ``waits: whole`` it is out of step, which is
seen only where its writes arrive whole.

Replies are compared as one transcript, because a pipelining client (RFC 2920) sees no more than that; their order in
the file is for the reader. The handler's rules are those of ``tests.harness.recording_handler``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.dialogues import Dialogue, read, segmentations
from tests.harness.recording_handler import LmtpHandler, RecordingHandler, carry_on, new_session, play

FOLDER = Path(__file__).parent
FILES = sorted([*FOLDER.glob("smtp/*.txt"), *FOLDER.glob("lmtp/*.txt")])
KEYS = ("contents", "calls", "closes", "waits")
USUAL = ("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES")
OFFER = re.compile("-(.*)\r\n250 ENHANCEDSTATUSCODES\r\n|250-ENHANCEDSTATUSCODES\r\n")
CODE = re.compile(r"^([245])(\d\d[ -])\1\.\d+\.\d+ ", re.MULTILINE)


def plays(dialogue: Dialogue) -> Iterator[tuple[bool, list[list[bytes]]]]:
    """Whether the session insists on step, and the pieces of each part: from a client that waits as the file has it,
    and from one that waits for nothing."""
    for pieces in zip(*(zip(*map(segmentations, part), strict=True) for part in dialogue.writes), strict=True):
        yield True, [[piece for write in part for piece in write] for part in pieces]
        if dialogue.expected.get("waits") == "whole":
            return
    if "waits" not in dialogue.expected:
        for parts in zip(*map(segmentations, dialogue.client), strict=True):
            yield False, list(parts)


@pytest.mark.parametrize("pending", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_dialogue_goes_as_written_in_any_pieces(path, pending):
    dialogue = read(path, KEYS)
    lmtp = path.parent.name == "lmtp"
    make = LmtpHandler if lmtp else RecordingHandler
    for in_step, parts in plays(dialogue):
        session, handler = new_session(
            lambda: make(pending=pending), lmtp=lmtp, **{"in_step": in_step} | dialogue.limits
        )
        transcript = play(session, handler, parts[0])
        for part in parts[1:]:
            assert session.wants_tls
            session.tls_started()
            transcript += carry_on(session, handler, part)
        assert transcript.decode() == dialogue.server.decode(), dialogue.title
        assert session.closing == (dialogue.expected.get("closes") == "yes")
        assert session.take_output() == b""
        if "contents" in dialogue.expected:
            assert len(handler.contents) == int(dialogue.expected["contents"])
        if "calls" in dialogue.expected:
            assert [call[0] for call in handler.calls] == dialogue.expected["calls"].split()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_dialogue_goes_without_enhanced_codes_where_they_are_not_offered(path):
    """RFC 2034: the same replies in the same order, none with a code of that kind."""
    dialogue = read(path, KEYS)
    offered = dialogue.limits.get("extensions", USUAL)
    limits: dict[str, Any] = dialogue.limits | {"extensions": tuple(n for n in offered if n != USUAL[-1])}
    lmtp = path.parent.name == "lmtp"
    session, handler = new_session(LmtpHandler if lmtp else RecordingHandler, lmtp=lmtp, **{"in_step": True} | limits)
    first, *others = dialogue.writes
    transcript = play(session, handler, first)
    for part in others:
        session.tls_started()
        transcript += carry_on(session, handler, part)
    expected = OFFER.sub(lambda met: f" {met[1]}\r\n" if met[1] else "", dialogue.server.decode())
    assert transcript.decode() == CODE.sub(r"\1\2", expected)


def test_there_are_dialogues_and_each_says_what_it_shows():
    assert len(FILES) >= 45
    titles = [read(path, KEYS).title for path in FILES]
    assert all(title.endswith(".") for title in titles)
    assert len(set(titles)) == len(titles)
