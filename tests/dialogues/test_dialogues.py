"""Plays each golden SMTP and LMTP conversation against a server session: whole, octet by octet and in random pieces.

The files are described in ``tests.harness.dialogues``. Here they may say: ``contents: N`` handed to policy, whatever it
said; ``calls: name …`` all that the handler was asked, in order; ``closes: yes`` the session is over at the end.

Replies are compared as one transcript, because a pipelining client (RFC 2920) sees no more than that; their order in
the file is for the reader. The handler's rules are those of ``tests.harness.recording_handler``.
"""

from pathlib import Path

import pytest

from tests.harness.dialogues import read, segmentations
from tests.harness.recording_handler import LmtpHandler, RecordingHandler, new_session, play

FOLDER = Path(__file__).parent
FILES = sorted([*FOLDER.glob("smtp/*.txt"), *FOLDER.glob("lmtp/*.txt")])
KEYS = ("contents", "calls", "closes")


@pytest.mark.parametrize("pending", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_dialogue_goes_as_written_in_any_pieces(path, pending):
    dialogue = read(path, KEYS)
    lmtp = path.parent.name == "lmtp"
    make = LmtpHandler if lmtp else RecordingHandler
    for pieces in segmentations(dialogue.client[0]):
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
    titles = [read(path, KEYS).title for path in FILES]
    assert all(title.endswith(".") for title in titles)
    assert len(set(titles)) == len(titles)
