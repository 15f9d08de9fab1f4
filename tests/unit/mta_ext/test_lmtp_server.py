"""The LMTP server session beyond its dialogues: replies that policy got wrong, last words, streamed content."""

import pytest

from mta_ext.session import PENDING
from tests.harness.recording_handler import LmtpHandler, new_session, play

ENVELOPE = (
    b"LHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<anna@d.example>\r\nRCPT TO:<john@d.example>\r\nDATA\r\n"
)
INTERNAL = b"451 4.3.0 internal error\r\n"


class Answering(LmtpHandler):
    """Says ``replies`` to the content, whatever its recipients are."""

    def __init__(self, replies):
        super().__init__()
        self.replies = replies

    def on_content(self, content):
        return self.replies


def after_content(replies, *, content=b"x\r\n.\r\n", **limits):
    session, handler = new_session(lambda: Answering(replies), lmtp=True, **limits)
    transcript = play(session, handler, [ENVELOPE + content])
    return session, handler, transcript.partition(b"354 end data with <CRLF>.<CRLF>\r\n")[2]


@pytest.mark.parametrize(
    "replies",
    [
        b"250 2.1.5 one\r\n",
        b"250 1\r\n250 2\r\n250 3\r\n",
        b"250 1\r\n250 2",
        b"250 1\n250 2\r\n",
        b"250 1\r\n250\r\n\r\n",
        b"250-1\r\n250-2\r\n250-3\r\n",
        b"421 down\r\n250 2\r\n",
        b"250 1\r\n250 2\r\n421 down\r\n",
        b"250 1\r\n25\r\n",
        b"",
        b"250",
    ],
)
def test_replies_that_do_not_match_the_recipients_are_an_error_of_policy(replies):
    session, handler, said = after_content(replies)
    assert said == INTERNAL * 2
    assert [type(error) for error in handler.errors] == [ValueError]
    assert session.idle
    assert not session.closing


@pytest.mark.parametrize("replies", [b"250 1\r\n250 2\r\n", b"250 1\r\n552 2\r\n", b"250-a\r\n250 1\r\n452 2\r\n"])
def test_a_reply_to_each_recipient_goes_out_as_it_is(replies):
    session, handler, said = after_content(replies)
    assert said == replies
    assert handler.errors == []
    assert session.idle


@pytest.mark.parametrize("replies", [b"421 down\r\n", b"250 1\r\n421 down\r\n"])
def test_a_421_is_the_last_word_and_speaks_for_all_that_are_left(replies):
    session, handler, said = after_content(replies)
    assert said == replies
    assert session.closing
    assert handler.errors == []


def test_an_answer_that_comes_later_is_checked_as_well():
    session, handler = new_session(lambda: Answering(PENDING), lmtp=True)
    session.greet()
    session.feed(ENVELOPE + b"x\r\n.\r\nNOOP\r\n")
    session.take_output()
    session.answer(b"250 only one\r\n")
    assert session.take_output() == INTERNAL * 2 + b"250 2.0.0 ok\r\n"
    assert len(handler.errors) == 1


def test_no_answer_in_particular_is_a_yes_to_each():
    _session, _handler, said = after_content(None)
    assert said == b"250 2.0.0 ok\r\n" * 2


def test_who_shuts_a_session_with_content_handed_over_says_one_word():
    session, handler = new_session(lambda: Answering(PENDING), lmtp=True)
    session.greet()
    session.feed(ENVELOPE + b"x\r\n.\r\n")
    session.take_output()
    session.shut(b"421 4.3.2 going down\r\n")
    assert session.take_output() == b"421 4.3.2 going down\r\n"
    session.answer(b"250 1\r\n250 2\r\n")
    assert session.take_output() == b""
    assert [call[0] for call in handler.calls].count("reset") == 0, "it was handed over and goes its way"


def test_a_piece_that_cannot_be_taken_is_told_to_each_recipient():
    class Full(Answering):
        def on_piece(self, data):
            raise MemoryError

    session, handler = new_session(lambda: Full(None), lmtp=True, stream_above=0)
    play(session, handler, [ENVELOPE])
    session.feed((b"x" * 998 + b"\r\n") * 600)
    session.feed(b".\r\n")
    assert session.take_output() == INTERNAL * 2
    assert len(handler.errors) == 1


def test_a_delivery_to_anybody_forgives_the_errors_so_far():
    session, _handler, _ = after_content(b"552 full\r\n250 2\r\n", content=b"x\r\n.\r\n" + b"FOO\r\n" * 2, errors=3)
    assert not session.closing
    session.feed(b"FOO\r\n")
    assert session.take_output().endswith(b"421 4.7.0 too many errors\r\n"), "the refusal of one is an error of its own"
