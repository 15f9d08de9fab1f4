"""Whatever a client sends, in whatever pieces: the same transcript, no exception, and nothing removed without QUIT."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.pop3_handler import MESSAGES, Pop3Handler, new_session, play
from tests.harness.recording_handler import cut, octet_by_octet

NUMBERS = st.sampled_from(
    ["", "1", "2", "3", "0", "-1", "4", "9" * 10, "9" * 30, "1 1", "3 0", "2 2", " ", "x", "\x00", "é"]
)
WORDS = "STAT LIST UIDL RETR TOP DELE NOOP RSET CAPA LANG UTF8 STLS APOP QUIT FOO retr Dele"
VERBS = st.sampled_from(WORDS.split())
LOGINS = st.sampled_from(
    [
        "USER paula\r\nPASS secret\r\n",
        "USER waits\r\nPASS x\r\n",
        "USER wrong\r\nPASS x\r\n",
        "USER raises\r\nPASS x\r\n",
        "USER forgets\r\nPASS x\r\n",
        "AUTH PLAIN\r\nAHBhdWxhAHg=\r\n",
        "AUTH LOGIN\r\n*\r\n",
        "AUTH LOGIN cGF1bGE=\r\n\r\n",
        "AUTH SCRAM-SHA-256 =\r\n",
    ]
)
COMMANDS = st.builds(lambda verb, rest: f"{verb} {rest}\r\n", VERBS, NUMBERS)
ENDS = st.sampled_from(["\r\n", "\n", "\r", "x" * 300 + "\r\n"])
SOUP = st.lists(st.one_of(COMMANDS, COMMANDS, LOGINS, ENDS, st.text(max_size=20)), max_size=25).map(
    lambda words: "".join(words).encode("utf-8", "surrogatepass")
)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)
KINDS = st.sampled_from([False, True])


def transcript(pieces, pending, starttls):
    session, handler = new_session(lambda: Pop3Handler(pending=pending), starttls=starttls)
    session.greet()
    said = play(session, handler, pieces)
    return said, session.closing, handler.deletes, session.admitted, session.buffered, len(handler.errors)


@settings(max_examples=300, deadline=None)
@given(SOUP, CUTS, KINDS, KINDS)
def test_segmentation_and_late_decisions_never_change_the_transcript(soup, places, pending, starttls):
    whole = transcript([soup], False, starttls)
    assert transcript(octet_by_octet(soup), pending, starttls) == whole
    assert transcript(cut(soup, places), pending, starttls) == whole


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), CUTS)
def test_arbitrary_octets_never_raise_and_get_nowhere(octets, places):
    said, _closing, deletes, admitted, _buffered, errors = transcript(cut(octets, places), False, False)
    assert said.startswith(b"+OK hermes.example")
    assert (deletes, admitted, errors) == ([], False, 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=6), st.booleans(), st.booleans())
def test_what_is_removed_is_what_was_marked_since_rset_and_only_by_quit(numbers, reset, quits):
    commands = b"".join(b"DELE %d\r\n" % number for number in numbers)
    script = b"USER paula\r\nPASS x\r\n" + commands + b"RSET\r\n" * reset + b"QUIT\r\n" * quits
    _said, _closing, deletes, _admitted, _buffered, _errors = transcript([script], False, False)
    marked = [] if reset else sorted({number - 1 for number in numbers})
    assert deletes == ([marked] if quits else [])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), CUTS, st.integers(0, 12))
def test_a_message_comes_out_as_it_is_whatever_it_holds(tail, places, lines):
    message = b"a: b\r\n\r\n" + tail

    def make():
        handler = Pop3Handler()
        handler.messages = [cut(message, places) or [b""]]
        return handler

    session, handler = new_session(make)
    session.greet()
    said = play(session, handler, [b"USER p\r\nPASS x\r\nRETR 1\r\nTOP 1 %d\r\nSTAT\r\n" % lines])
    whole, rest = said.split(b" octets\r\n", 1)[1].split(b"\r\n.\r\n+OK\r\n", 1)
    undotted = b"\r\n".join(line[1:] if line[:1] == b"." else line for line in whole.split(b"\r\n"))
    assert undotted in (message, message.removesuffix(b"\r\n"))
    assert rest.endswith(b"\r\n.\r\n+OK 1 %d\r\n" % len(message))
    assert handler.errors == []


def test_the_maildrop_of_these_tests_has_a_message_of_each_kind():
    assert [b"".join(message)[-2:] == b"\r\n" for message in MESSAGES] == [True, True, False]
