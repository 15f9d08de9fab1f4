"""One invariant of the server session: no segmentation changes what is said or handed on, and no octets upset it."""

import json
from struct import unpack_from

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.harness.corpora import corpus
from tests.harness.recording_handler import RecordingHandler, cut, new_session, octet_by_octet, play
from tests.harness.reference import count_ends, split_content

ENVELOPE = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<smuggled@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\nQUIT\r\n"


def outcome(pieces, *, pending=False, **limits):
    """Everything that can be seen of a session from outside."""
    session, handler = new_session(lambda: RecordingHandler(pending=pending), **limits)
    transcript = play(session, handler, pieces)
    return transcript, handler.contents, [call for call in handler.calls if call[0] != "piece"], session.closing


OUT_OF_STEP = b"554 5.5.0 improper command pipelining\r\n"


def assert_segmentation_is_nothing(data, *ways, **limits):
    """But for one thing: whoever sends on behind a DATA that is refused is cut short where that is seen."""
    expected = outcome([data], **limits)
    for pieces in (octet_by_octet(data), *ways):
        for pending in (False, True):
            found = outcome(pieces, pending=pending, **limits)
            if found != expected:
                assert_is_cut_short(*sorted((found, expected), key=lambda one: (not is_out_of_step(one), len(one[0]))))
    return expected


def is_out_of_step(one):
    return one[3] and one[0].endswith(OUT_OF_STEP)


def assert_is_cut_short(short, long):
    transcript, contents, calls, _closing = short
    assert is_out_of_step(short)
    assert long[0].removesuffix(OUT_OF_STEP).startswith(transcript.removesuffix(OUT_OF_STEP))
    assert long[1][: len(contents)] == contents
    assert [call for call in calls if call != ("reset",)] == [call for call in long[2] if call != ("reset",)][
        : len(calls) - calls.count(("reset",))
    ]


COMMANDS = st.sampled_from(
    [
        b"EHLO c.example\r\n",
        b"HELO c\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<a@b> SIZE=100 BODY=7BIT\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"RCPT TO:<refused@d>\r\n",
        b"RCPT TO:<nocontent-later@d>\r\n",
        b"RCPT TO:<raises@d>\r\n",
        b"RCPT TO:<nodata-refused@d>\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"x\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"..\r\n",
        b".",
        b"\r",
        b"\n",
        b"\0",
        b"\xff",
        b"Received: x\r\n",
        b"NOOP " + b"y" * 70 + b"\r\n",
        b"z" * 90,
        ENVELOPE,
        ENVELOPE + b"hello\r\n.\r\n",
    ]
)
LIMITS = {
    "command_line": 64,
    "message_size": 200,
    "content_line": 80,
    "header_section": 120,
    "hops": 2,
    "errors": 6,
    "recipients": 3,
    "stream_above": 50,
}


@settings(max_examples=300)
@example(b"MAIL FROM:<a@b>\r\n" * 6 + b"DATA\r\nEHLO c.example\r\n", [])  # one mistake too many, and out of step
@given(st.lists(COMMANDS, max_size=25).map(b"".join), st.lists(st.integers(0, 2000), max_size=8))
def test_any_soup_of_commands_and_content_means_the_same_in_any_pieces(data, places):
    _, contents, _, _ = assert_segmentation_is_nothing(data, cut(data, places), **LIMITS)
    assert len(contents) <= count_ends(data)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_octets_as_commands_or_content_upset_nothing(data, places):
    for whole in (data, ENVELOPE + data + b"\r\n.\r\n"):
        transcript, contents, _, _ = assert_segmentation_is_nothing(whole, cut(whole, places))
        assert all(line[:3].isdigit() for line in transcript.splitlines())
        assert len(contents) <= count_ends(whole)


OCTETS = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x", b"\0", b"\xff"])
SOUP = st.lists(OCTETS, max_size=30).map(b"".join)


@given(SOUP, st.lists(st.integers(0, 100), max_size=5))
def test_content_is_split_as_the_reference_splits_it(soup, places):
    body = soup + b"\r\n.\r\n"
    split = split_content(body)
    for pieces in ([body], octet_by_octet(body), cut(body, places)):
        transcript, contents, _, closing = outcome([ENVELOPE, *pieces])
        if split.bare:
            assert (contents, closing) == ([], True)
            assert transcript.endswith(b"550 5.5.2 CR and LF may only come together\r\n")
        else:
            assert contents[0] == split.content


def vectors():
    return json.loads((corpus("smuggling-eod") / "eod_vectors.json").read_text())["vectors"]


@pytest.mark.parametrize(
    "limits", [{}, {"message_size": 20}, {"content_line": 10}], ids=["kept", "too large", "line too long"]
)
def test_no_smuggling_vector_makes_a_second_message(limits):
    tried = 0
    for vector in vectors():
        for before in (b"first", b"first\r\n", b"", b"too much of it, " * 10):
            data = ENVELOPE + b"Subject: x\r\n\r\n" + before + bytes.fromhex(vector["hex"]) + SMUGGLED
            transcript, contents, _, _ = assert_segmentation_is_nothing(data, **limits)
            tried += 1
            assert len(contents) <= 1, vector
            assert all(
                b"\r" not in plain and b"\n" not in plain
                for plain in (content.replace(b"\r\n", b"") for content in contents)
            ), vector
            assert all(b"MAIL FROM:<smuggled@x>" in content for content in contents), vector
            assert transcript.count(b"354 ") == 1, vector
    assert tried >= 60


@pytest.mark.parametrize("at", range(1, 7))
def test_a_smuggling_vector_cut_anywhere_stays_one_refused_content(at):
    for vector in (b"\n.\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r\r\n"):
        data = ENVELOPE + b"first" + vector
        pieces = [data[: len(ENVELOPE) + 5 + at], data[len(ENVELOPE) + 5 + at :], SMUGGLED]
        transcript, contents, calls, closing = outcome(pieces)
        assert (contents, closing) == ([], True)
        assert calls[-1] == ("refused",)
        assert b"550 5.5.2" in transcript


def seeds():
    """Client octets of each seed: raw, or with a length before each write."""
    for path in sorted(corpus("smtp-fuzz-seeds").glob("in-smtp*")):
        octets = path.read_bytes()
        if path.suffix == ".raw" and "replay" in path.name:
            at, writes = 0, []
            while at < len(octets):
                length = unpack_from("<I", octets, at)[0]
                writes.append(octets[at + 4 : at + 4 + length])
                at += 4 + length
            octets = b"".join(writes)
        yield path.name, octets
        yield path.name, octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def test_the_fuzz_seeds_are_answered_and_mean_the_same_octet_by_octet():
    accepted = 0
    for name, octets in seeds():
        transcript, contents, _, _ = assert_segmentation_is_nothing(octets)
        assert transcript.startswith(b"220 "), name
        accepted += len(contents)
    assert accepted >= 1
