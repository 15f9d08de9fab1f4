"""Maildir names, mbox files, line ends, and what a listing shows: out and in again is the same."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.errors import DataError
from mta.model.spoolid import format_id
from mta.store.formats import (
    Letter,
    MboxLines,
    UnixLines,
    maildir_letter,
    maildir_name,
    mbox_head,
    mbox_letters,
    network_lines,
    summary,
)
from tests.harness.corpora import corpus

UID = 1_795_773_600_123 << 22 | 5
ARRIVAL = 1_795_773_600_123
LIMIT = 1 << 20
LINES = st.lists(
    st.sampled_from(
        [b"", b"From ", b"From a b", b">From x", b">>From ", b"from me", b" From", b"X-UIDL: 1", b".", b"x"]
    )
)


def pieces(octets: bytes, size: int) -> list[bytes]:
    return [octets[at : at + size] for at in range(0, len(octets), size)]


def unix(octets: bytes, size: int = 10_000) -> bytes:
    lines = UnixLines()
    return b"".join([*map(lines.feed, pieces(octets, size)), lines.finish()])


def mbox(content: bytes, size: int = 10_000) -> bytes:
    quoting = MboxLines()
    return b"".join([*map(quoting.feed, pieces(unix(content), size)), quoting.finish()])


def read(octets: bytes, part: int = 1 << 20) -> list[Letter]:
    file = io.BytesIO(octets)
    return list(mbox_letters(iter(lambda: file.readline(part), b""), LIMIT))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_line_ends_change_whatever_the_pieces(size: int) -> None:
    assert unix(b"a\r\n\r\nb\r\r\nc\rd\n\r", size) == b"a\n\nb\r\nc\rd\n\r"
    assert network_lines(b"a\n\nb\r\nc\rd\n") == b"a\r\n\r\nb\r\nc\rd\r\n"


@given(LINES, st.integers(1, 50))
def test_a_message_comes_out_of_an_mbox_as_it_went_in(lines: list[bytes], size: int) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    file = mbox_head(UID, ARRIVAL, "alice@athena.example") + mbox(content, size)
    both = read(file + mbox_head(UID + 1, ARRIVAL, "") + mbox(content))
    assert both == [Letter(content, UID, ARRIVAL // 1000 * 1000), Letter(content, UID + 1, ARRIVAL // 1000 * 1000)]


@pytest.mark.parametrize("part", [3, 6, 7, 64])
def test_long_lines_may_come_in_parts(part: int) -> None:
    content = b"x" * 20 + b"From here\r\n>From there\r\n"
    assert [letter.content for letter in read(mbox_head(UID, ARRIVAL, "") + mbox(content), part=100)] == [content]
    (letter,) = read(b"From a Sat Nov 28 10:00:00 2026\n" + b"y" * 11 + b"From here\n", part=max(part, 32))
    assert letter.content == b"y" * 11 + b"From here\r\n"


def test_an_mbox_of_others_is_read() -> None:
    file = (
        b"\nFrom user@domain  Fri Feb 22 17:06:23 2008\nFrom: a\n\nbody\nFrom the middle\n\n"
        b"From - nonsense\nX-UIDL: 06h0pna5b4000\nX-UIDL: abc\n\n\n\n"
        b"From MAILER-DAEMON Fri Feb 22 17:06:23 2008\r\nFrom: b\r\n\r\n>From >From\r\n"
    )
    first, second, third = read(file)
    assert first == Letter(b"From: a\r\n\r\nbody\r\nFrom the middle\r\n", 0, 1_203_699_983_000)
    assert second == Letter(b"X-UIDL: 06h0pna5b4000\r\nX-UIDL: abc\r\n\r\n\r\n", 0, 0)
    assert third == Letter(b"From: b\r\n\r\nFrom >From\r\n", 0, 1_203_699_983_000)
    assert read(b"") == read(b"\n\n") == []


def test_what_is_no_mbox_is_said() -> None:
    with pytest.raises(DataError, match="not an mbox"):
        read(b"Subject: x\n\nFrom here\n")
    with pytest.raises(DataError, match="larger than"):
        read(b"From a\n" + b"x\n" * LIMIT)


def test_a_sender_cannot_break_the_separator() -> None:
    assert mbox_head(UID, ARRIVAL, 'a b"\n@x').startswith(b'From a?b"?@x Fri Nov')
    assert mbox_head(UID, ARRIVAL, "").startswith(b"From MAILER-DAEMON Fri Nov ")
    assert b" 9999\n" in mbox_head(UID, 1 << 62, "")


def test_a_maildir_name_keeps_uid_and_time() -> None:
    name = maildir_name(ARRIVAL, UID, "hermes.example/a:b", 4711)
    assert name == rf"1795773600.M123000P4711U{format_id(UID)}.hermes.example\057a\072b"
    assert maildir_letter(f"{name},S=5:2,S", b"a\nb\n") == Letter(b"a\r\nb\r\n", UID, ARRIVAL)


@pytest.mark.parametrize(
    ("name", "uid", "arrival"),
    [
        ("1795773600.12345_1.host", 0, 1_795_773_600_000),
        ("1795773600.M5P6Q7.host.example,S=1:2,", 0, 1_795_773_600_000),
        ("1795773600.M999999V801I2.Uhost,S=1", 0, 1_795_773_600_999),
        ("1795773600.P1.host.U06H0PNA5B4000.x", 0, 1_795_773_600_000),
        ("cur", 0, 0),
        ("179577360012345.host", 0, 0),
        ("9.UZZZZZZZZZZZZZ.host", 0, 9000),
    ],
)
def test_names_of_others_are_read(name: str, uid: int, arrival: int) -> None:
    assert maildir_letter(name, b"x") == Letter(b"x", uid, arrival)


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (b"From: Mark <mark@x.example>\r\nSubject: hello\r\n", ("Mark <mark@x.example>", "hello")),
        (b"SUBJECT:\r\n folded\r\n\tline\r\nFrom : a\r\n", ("a", "folded line")),
        (b"Subject: =?utf-8?q?K=C3=A4the?= =?iso-8859-1?b?5A==?=\r\n", ("", "Kätheä")),
        (b"Subject: =?no-such?q?x?=\r\nSubject: two\r\n", ("", "=?no-such?q?x?=")),
        (b"Subject: =?utf-8?b?!!?=\r\n", ("", None)),
        (b"Subject: a\x1b[31m\x07b\xe2\x80\xaec\xff\r\n", ("", "a [31m b c�")),
        (b"Subject: " + b"x" * 500, ("", "x" * 200)),
        (b"Subject: =?utf-8?q?a=0D=0AFrom:_b?=\n", ("", "a From: b")),
        (b"", ("", "")),
        (b"X-Subject: no\r\n\r\nSubject: body\r\n", ("", "")),
    ],
)
def test_a_listing_shows_text_for_one_line(header: bytes, shown: tuple[str, str | None]) -> None:
    sender, subject = summary(header + b"\r\n\r\nFrom: body\r\n")
    assert sender == shown[0]
    assert shown[1] is None or subject == shown[1]
    assert subject.isprintable()


@given(st.binary(max_size=300))
def test_a_listing_takes_anything(octets: bytes) -> None:
    for text in summary(b"From: " + octets + b"\r\nSubject: =?utf-8?b?" + octets + b"?=\r\n\r\n"):
        assert "\n" not in text
        assert len(text) <= 200


def test_the_mailbox_of_the_corpus_is_read() -> None:
    file = (corpus("pop3-mbox") / "imaptest-default.mbox").read_bytes()
    letters = read(file)
    assert len(letters) == file.count(b"\nFrom user@domain") + 1
    again = b"".join(mbox_head(UID, letter.arrival, "user@domain") + mbox(letter.content) for letter in letters)
    assert [letter.content for letter in read(again)] == [letter.content for letter in letters]
    assert [letter.arrival for letter in letters] == [1_203_699_983_000] * len(letters)
