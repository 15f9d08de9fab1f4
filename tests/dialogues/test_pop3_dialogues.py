"""Plays each golden POP3 conversation against a server session: whole, octet by octet and in random pieces.

The files are described in ``tests.harness.dialogues``. Here they may say: ``calls: name …`` all that the handler was
asked, in order; ``deletes: index …`` what on_quit was told; ``closes: yes`` the session is over at the end. The
handler's rules and maildrop are those of ``tests.harness.pop3_handler``.
"""

from pathlib import Path

import pytest

from tests.harness.dialogues import read, segmentations
from tests.harness.pop3_handler import Pop3Handler, new_session, play

FILES = sorted((Path(__file__).parent / "pop3").glob("*.txt"))
KEYS = ("calls", "deletes", "closes")


@pytest.mark.parametrize("pending", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_dialogue_goes_as_written_in_any_pieces(path, pending):
    dialogue = read(path, KEYS)
    for parts in zip(*map(segmentations, dialogue.client), strict=True):
        session, handler = new_session(lambda: Pop3Handler(pending=pending), **dialogue.limits)
        session.greet()
        transcript = play(session, handler, parts[0])
        for part in parts[1:]:
            assert session.wants_tls
            session.tls_started()
            transcript += play(session, handler, part)
        assert transcript.decode() == dialogue.server.decode(), dialogue.title
        assert session.closing == (dialogue.expected.get("closes") == "yes")
        assert handler.deletes == (
            [[int(word) for word in dialogue.expected["deletes"].split()]] if "deletes" in dialogue.expected else []
        )
        if "calls" in dialogue.expected:
            assert [call[0] for call in handler.calls] == dialogue.expected["calls"].split()


def test_there_are_dialogues_and_each_says_what_it_shows():
    assert len(FILES) >= 30
    titles = [read(path, KEYS).title for path in FILES]
    assert all(title.endswith(".") for title in titles)
    assert len(set(titles)) == len(titles)
