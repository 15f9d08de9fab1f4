"""The server session with everything offered: command soup with lying chunks means the same in any pieces, raises
nothing, and never makes more messages than there are legitimate ends of content."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta_ext.smtp_server import EXTENSIONS
from tests.harness.recording_handler import RecordingHandler, carry_on, cut, new_session, octet_by_octet, play
from tests.harness.reference import count_ends, count_last_chunks, split_chunks
from tests.unit.mta_ext.test_smtp_server_octets import assert_is_cut_short, is_out_of_step

OPTIONS = {
    "extensions": EXTENSIONS,
    "mechanisms": ("PLAIN", "LOGIN"),
    "plaintext_login": True,
    "max_hold": 1000,
    "max_hold_until": "2027-01-01T00:00:00Z",
    "min_by": 60,
}
LIMITS = {
    "command_line": 128,
    "message_size": 200,
    "content_line": 80,
    "header_section": 120,
    "hops": 2,
    "errors": 6,
    "recipients": 3,
    "stream_above": 50,
    "exchange": 100,
    "messages": 9,
}
HELLO = b"EHLO c.example\r\n"
ENVELOPE = HELLO + b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
BINARY = HELLO + b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\nRCPT TO:<c@d.example>\r\n"


def outcome(pieces, *, pending=False, **options):
    """Everything that can be seen of a session. Nobody answers to ``wants_tls``: what comes behind it closes."""
    session, handler = new_session(lambda: RecordingHandler(pending=pending), **OPTIONS | options)
    transcript = play(session, handler, [])
    for piece in pieces:
        transcript += carry_on(session, handler, [piece])
    return transcript, handler.contents, handler.calls, session.closing, handler.errors


def assert_pieces_are_nothing(data, *ways, **options):
    expected = outcome([data], **options)
    for pieces in (octet_by_octet(data), *ways):
        for pending in (False, True):
            found = outcome(pieces, pending=pending, **options)
            assert [type(error) for error in found[4]] == [type(error) for error in expected[4]] or is_out_of_step(
                found
            )
            if found[:4] != expected[:4]:
                assert_is_cut_short(
                    *sorted((found[:4], expected[:4]), key=lambda one: (not is_out_of_step(one), len(one[0])))
                )
    return expected


WORDS = st.sampled_from(
    [
        HELLO,
        b"HELO c\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<a@b> SIZE=100 BODY=BINARYMIME RET=FULL ENVID=x+2B\r\n",
        b"MAIL FROM:<\xc3\xa4@b> SMTPUTF8\r\n",
        b"MAIL FROM:<\xc3\xa4@b>\r\n",
        b"MAIL FROM:<a@b> BY=100;R MT-PRIORITY=3 HOLDFOR=5 AUTH=<>\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"RCPT TO:<c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x\r\n",
        b"RCPT TO:<\xc3\xa4@d>\r\n",
        b"RCPT TO:<refused@d>\r\n",
        b"RCPT TO:<nodata-refused@d>\r\n",
        b"RCPT TO:<nodata-raises@d>\r\n",
        b"RCPT TO:<nocontent-raises@d>\r\n",
        b"RCPT TO:<nopiece-x@d>\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN AGpvaG4Ac2VjcmV0\r\n",
        b"AUTH LOGIN\r\n",
        b"am9obg==\r\n",
        b"c2VjcmV0\r\n",
        b"*\r\n",
        b"VRFY john SMTPUTF8\r\n",
        b"EXPN staff\r\n",
        b"ETRN mail.example\r\n",
        b"HELP\r\n",
        b"XCLIENT ADDR=192.0.2.1 LOGIN=x\r\n",
        b"XFORWARD NAME=x.example\r\n",
        b"BDAT 0\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 99999999999\r\n",
        b"BDAT x\r\n",
        b"x\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\xff",
        b"Received: x\r\n",
        b"z" * 90,
        ENVELOPE,
        BINARY,
    ]
)


@st.composite
def chunks(draw):
    """A chunk that announces more, fewer or as many octets as follow."""
    octets = draw(st.lists(WORDS | st.binary(max_size=8), max_size=3).map(b"".join))
    size = max(len(octets) + draw(st.sampled_from([0, 0, 0, 1, 2, 7, -1, -3])), 0)
    last = draw(st.sampled_from([b"", b" LAST", b" last"]))
    return b"BDAT %d%b\r\n" % (size, last) + octets


SOUP = st.lists(WORDS | chunks(), max_size=20).map(b"".join)
PLACES = st.lists(st.integers(0, 2000), max_size=8)


@settings(max_examples=400)
@given(SOUP, PLACES)
def test_any_soup_means_the_same_in_any_pieces(data, places):
    for start in (b"", ENVELOPE):
        whole = start + data
        _, contents, _, _, _ = assert_pieces_are_nothing(whole, cut(whole, places), **LIMITS)
        assert len(contents) <= count_ends(whole) + count_last_chunks(whole)


@settings(max_examples=200)
@given(SOUP, PLACES)
def test_a_session_that_insists_on_step_is_only_ever_cut_short(data, places):
    """Never more, and nothing else, than one that does not insist."""
    whole = ENVELOPE + data
    for pieces in ([whole], cut(whole, places)):
        lenient = outcome(octet_by_octet(whole), **LIMITS)
        strict = outcome(pieces, in_step=True, **LIMITS)
        if strict[:4] != lenient[:4]:
            assert_is_cut_short(
                *sorted((strict[:4], lenient[:4]), key=lambda one: (not is_out_of_step(one), len(one[0])))
            )


@st.composite
def chunked(draw):
    """Content and the same by BDAT, cut anywhere."""
    octets = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.\r\n", b"x", b"\0", b"\xff", b"RSET\r\n"])
    content = draw(st.lists(octets, max_size=20).map(b"".join))
    parts = cut(content, draw(st.lists(st.integers(0, 60), max_size=4))) or [b""]
    commands = [b"BDAT %d\r\n" % len(part) + part for part in parts[:-1]]
    return b"".join([*commands, b"BDAT %d LAST\r\n" % len(parts[-1]), parts[-1]])


@settings(max_examples=300)
@given(chunked(), PLACES, st.booleans())
def test_chunks_make_the_content_that_the_reference_makes(said, places, binary):
    split = split_chunks(said, binary=binary)
    assert split is not None
    assert split.consumed == len(said)
    whole = (BINARY if binary else ENVELOPE) + said
    for pieces in ([whole], octet_by_octet(whole), cut(whole, places)):
        transcript, contents, _, closing, _ = outcome(pieces)
        if split.bare and not binary:
            assert (contents, closing) == ([], True)
            assert transcript.endswith(b"550 5.5.2 CR and LF may only come together\r\n")
        else:
            assert contents == [split.content]
            assert transcript.endswith(b"250 2.0.0 ok\r\n")


@pytest.mark.parametrize("extension", ["CHUNKING", "none"])
@given(st.binary(max_size=200), st.sampled_from([b"", b" LAST"]))
def test_octets_of_a_chunk_are_never_commands(extension, octets, last):
    """In no state, whatever they are: the command behind them is the next one."""
    options = {} if extension == "CHUNKING" else {"extensions": ("PIPELINING", "ENHANCEDSTATUSCODES")}
    chunk = b"BDAT %d%b\r\n" % (len(octets), last) + octets
    for before in (b"", HELLO, HELLO + b"MAIL FROM:<a@b>\r\n", HELLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<refused@d>\r\n"):
        _, _, calls, _, _ = outcome([before])
        transcript, contents, after, _, _ = outcome([before + chunk + b"XYZZY\r\n"], **options)
        assert transcript.endswith(b"500 5.5.1 command not recognized\r\n")
        assert contents == []
        assert [call for call in after if call[0] != "reset"] == [call for call in calls if call[0] != "reset"]
