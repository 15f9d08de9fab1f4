"""Replies of a remote: what is understood, what is kept, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_ext.reply import Reply, ReplyError, ReplyParser


def parse(octets: bytes, **limits: int) -> list[Reply]:
    """Whole and octet by octet must agree."""
    whole = ReplyParser(**limits).feed(octets)
    one = ReplyParser(**limits)
    single = [reply for octet in octets for reply in one.feed(bytes([octet]))]
    assert whole == single
    return whole


def refuse(octets: bytes, **limits: int) -> str:
    with pytest.raises(ReplyError) as whole:
        ReplyParser(**limits).feed(octets)
    one = ReplyParser(**limits)
    with pytest.raises(ReplyError) as single:  # noqa: PT012 – which octet raises is not the point
        for octet in octets:
            one.feed(bytes([octet]))
    assert str(whole.value) == str(single.value)
    return str(whole.value)


@pytest.mark.parametrize(
    ("octets", "code", "enhanced", "text"),
    [
        (b"250 2.1.5 recipient ok\r\n", 250, "2.1.5", "recipient ok"),
        (b"250 ok\n", 250, None, "ok"),
        (b"250\r\n", 250, None, ""),
        (b"250 \r\n", 250, None, ""),
        (b"250 2.0.0\r\n", 250, "2.0.0", ""),
        (b"550 5.1.1  two spaces\r\n", 550, "5.1.1", " two spaces"),
        (b"452 4.12.345 x\r\n", 452, "4.12.345", "x"),
        (b"599 5.1234.1 x\r\n", 599, None, "5.1234.1 x"),
        (b"550 5.1 x\r\n", 550, None, "5.1 x"),
        (b"220 2.0.0.1 version\r\n", 220, None, "2.0.0.1 version"),
        (b"354 3.0.0 go\r\n", 354, None, "3.0.0 go"),
        (b"550 2.0.0 contradicts\r\n", 550, None, "2.0.0 contradicts"),
        (b"250 a\0b\x1b[31mc\x7fd\te\r\r\n", 250, None, "a b [31mc d e"),
        ("250 grüß\r\n".encode(), 250, None, "grüß"),
        ("250 a\x85b\r\n".encode(), 250, None, "a b"),
        (b"250 gr\xfc\xdf\r\n", 250, None, "gr\ufffd\ufffd"),
    ],
)
def test_a_reply_line_is_taken_apart(octets: bytes, code: int, enhanced: str | None, text: str) -> None:
    (reply,) = parse(octets)
    assert (reply.code, reply.enhanced, reply.text) == (code, enhanced, text)


def test_the_lines_of_a_multi_line_reply_are_joined_and_the_enhanced_code_is_said_once() -> None:
    (reply,) = parse(b"550-5.7.1 first\r\n550-5.7.1\r\n550-\r\n550-5.7.2 other\r\n550 5.7.1 last\r\n")
    assert reply.enhanced == "5.7.1"
    assert reply.text == "first\n\n\n5.7.2 other\nlast"
    assert str(reply) == "550 5.7.1 first   5.7.2 other last"


def test_replies_in_one_read_come_out_one_by_one_and_an_unfinished_one_waits() -> None:
    parser = ReplyParser()
    assert [r.code for r in parser.feed(b"250 a\r\n354 b\r\n250-c\r\n250")] == [250, 354]
    assert [r.text for r in parser.feed(b" d\r\n")] == ["c\nd"]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"HTTP/1.1 400 Bad\r\n", "no SMTP reply"),
        (b"\r\n", "no SMTP reply"),
        (b"25\r\n", "no SMTP reply"),
        (b"2500 ok\r\n", "no SMTP reply"),
        (b"250_ok\r\n", "no SMTP reply"),
        (b"150 soon\r\n", "outside 200"),
        (b"600 what\r\n", "outside 200"),
        (b"250-a\r\n251 b\r\n", "changes"),
        (b"250-a\r\nhm\r\n", "no SMTP reply"),
    ],
)
def test_what_is_no_reply_is_refused_with_a_reason_on_one_line(octets: bytes, reason: str) -> None:
    said = refuse(octets)
    assert reason in said
    assert said.isprintable()


def test_limits_of_lines_and_of_a_line_hold_at_the_octet() -> None:
    assert len(parse(b"250-x\r\n" * 3 + b"250 x\r\n", lines=4)) == 1
    assert "too many lines" in refuse(b"250-x\r\n" * 4 + b"250 x\r\n", lines=4)
    assert len(parse(b"250 " + b"x" * 4 + b"\r\n", line=10)) == 1
    assert "longer than 10" in refuse(b"250 " + b"x" * 5 + b"\r\n", line=10)
    assert "longer than 10" in refuse(b"x" * 11, line=10)


def test_replies_ahead_of_nonsense_are_not_lost() -> None:
    parser = ReplyParser()
    assert [r.code for r in parser.feed(b"250 ok\r\nnonsense\r\n250 never\r\n")] == [250]
    for _ in range(2):
        with pytest.raises(ReplyError, match="nonsense"):
            parser.feed(b"")


def test_text_is_bounded_and_cut_between_characters() -> None:
    (plain,) = parse(b"250 " + b"x" * 3000 + b"\r\n")
    assert plain.text == "x" * 1024
    (wide,) = parse(b"250 x" + "ü".encode() * 1000 + b"\r\n")
    assert wide.text == "x" + "ü" * 511
    (many,) = parse(b"250-" + b"x" * 1022 + b"\r\n250-y\r\n250 z\r\n")
    assert many.text == "x" * 1022 + "\ny"


def test_classes_of_replies() -> None:
    two, three, four, five = (Reply(code, None, "") for code in (250, 354, 451, 554))
    assert two.positive
    assert three.positive
    assert four.transient
    assert not four.permanent
    assert not four.positive
    assert five.permanent
    assert not five.transient


def test_a_reply_prints_and_compares_by_its_parts() -> None:
    reply = Reply(550, "5.1.1", "no such user\nhere")
    assert str(reply) == "550 5.1.1 no such user here"
    assert str(Reply(250, None, "")) == "250"
    assert reply == Reply(550, "5.1.1", "no such user\nhere")
    assert len({reply, Reply(550, "5.1.1", "no such user\nhere"), Reply(550, None, "x")}) == 2
    assert reply != "550"
    assert "5.1.1" in repr(reply)


LINES = st.sampled_from(
    [b"250-", b"250 ", b"550 5.1.1 ", b"550-5.1.1", b"1", b"\xff", b"\n", b"\r\n", b"\0", b"x" * 40]
)


@given(st.lists(LINES, max_size=30), st.data())
def test_whatever_comes_the_same_replies_and_the_same_error_in_any_segmentation(parts: list[bytes], data) -> None:
    octets = b"".join(parts)

    def outcome(pieces: list[bytes]) -> tuple[list[Reply], str | None]:
        parser, found = ReplyParser(line=64, lines=5), []
        try:
            for piece in [*pieces, b""]:
                found += parser.feed(piece)
        except ReplyError as error:
            return found, str(error)
        return found, None

    cut = data.draw(st.integers(0, len(octets)))
    expected = outcome([octets])
    assert outcome([octets[:cut], octets[cut:]]) == expected
    assert outcome([octets[n : n + 1] for n in range(len(octets))]) == expected
    for reply in expected[0]:
        assert all(c == "\n" or c.isprintable() or ord(c) >= 0xA0 for c in reply.text)
