"""Transparency: what ends content, which dots go, and that no segmentation changes either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_ext.dots import Stuffer, Unstuffer, stuff
from tests.harness.recording_handler import cut, octet_by_octet
from tests.harness.reference import split_content, stuff_content

#: Octets that matter to transparency, and one that stands for all others.
OCTETS = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"x"])
SOUP = st.lists(OCTETS, max_size=40).map(b"".join)


def unstuff(pieces):
    """Content, octets consumed and the unstuffer, after the end or all pieces."""
    unstuffer, content, consumed = Unstuffer(), b"", 0
    for piece in pieces:
        out, took = unstuffer.feed(piece)
        content, consumed = content + out, consumed + took
        if unstuffer.ended:
            break
        assert took == len(piece)
    return content, consumed, unstuffer


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"hello\r\n.\r\n", b"hello\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"..two\r\n...three\r\n.\r\n", b".two\r\n..three\r\n"),
        (b".lonely dot is taken away\r\n.\r\n", b"lonely dot is taken away\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
    ],
)
def test_content_ends_at_a_lone_dot_and_loses_its_transparency_dots(raw, content):
    for pieces in ([raw], octet_by_octet(raw), [raw + b"QUIT\r\n"], octet_by_octet(raw + b"QUIT\r\n")):
        out, consumed, unstuffer = unstuff(pieces)
        assert (out, consumed, unstuffer.ended, unstuffer.bare) == (content, len(raw), True, False)


@pytest.mark.parametrize(
    "raw",
    [
        b"\n.\n",
        b"x\n.\r\n",
        b"x\r.\r\n",
        b"x\r\n.\n",
        b"x\r\n.\rx",
        b"x\r\n.\r\r\n",
        b"x\r\n\0.\r\n",
        b"x\r\n.\0\r\n",
        b".\n",
    ],
)
def test_nothing_but_crlf_dot_crlf_ends_content(raw):
    for pieces in ([raw], octet_by_octet(raw)):
        content, consumed, unstuffer = unstuff(pieces)
        assert not unstuffer.ended
        assert consumed == len(raw)
        assert unstuffer.bare == (b"\0" not in raw)
        assert not content.endswith(b"\r\n.\r\n")


def test_a_dotted_content_is_told_from_one_with_dots_elsewhere():
    assert unstuff([b"..x\r\n.\r\n"])[2].dotted
    assert not unstuff([b"x.\r\n.x\r\n.\r\n"])[2].dotted


def test_the_longest_line_is_counted_unstuffed_and_across_pieces():
    assert unstuff([b"abc\r\n", b"..1234", b"5\r\nx\r\n.\r\n"])[2].longest_line == 8
    assert unstuff([b"abc\r\nunfinished"])[2].longest_line == 10


@given(SOUP, st.lists(st.integers(0, 200), max_size=6))
def test_any_segmentation_reads_as_the_reference_does(raw, places):
    expected = split_content(raw)
    for pieces in ([raw], octet_by_octet(raw), cut(raw, places)):
        content, consumed, unstuffer = unstuff(pieces)
        if expected is None:
            assert not unstuffer.ended
            assert consumed == len(raw)
        else:
            assert unstuffer.ended
            assert (content, consumed, unstuffer.bare, unstuffer.dotted, unstuffer.longest_line) == expected


@given(SOUP, st.lists(st.integers(0, 200), max_size=6))
def test_stuffing_in_pieces_equals_the_reference_and_comes_back_unchanged(content, places):
    stuffer = Stuffer()
    sent = b"".join(stuffer.feed(piece) for piece in cut(content, places)) + stuffer.finish()
    assert sent == stuff_content(content)
    assert sent.startswith(stuff(content))
    back, consumed, _ = unstuff([sent])
    assert consumed == len(sent)
    assert back.removesuffix(b"\r\n") == content.removesuffix(b"\r\n")


def test_content_without_dots_is_not_copied():
    content = b"no dots here\r\n"
    assert stuff(content) is content
