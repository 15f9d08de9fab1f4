"""What ``mta send`` makes of a text: line ends always, header fields only when asked and only what is missing."""

import pytest

from mta.cli.compose import with_crlf, with_headers
from mta.errors import DataError

ADDED = b"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nMessage-ID: <id@host>\r\nFrom: <me@here.example>\r\n"


def completed(content: bytes, author: str = "me@here.example") -> bytes:
    return with_headers(content, author, 0, "id@host")


@pytest.mark.parametrize("text", [b"a\nb\n", b"a\r\nb\r\n", b"a\rb\r", b"a\r\nb\n"])
def test_lines_end_in_crlf_whatever_they_ended_in(text: bytes) -> None:
    assert with_crlf(text) == b"a\r\nb\r\n"


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        with_crlf(b"")


def test_missing_fields_come_in_front() -> None:
    assert completed(b"Subject: x\r\n\r\nbody\r\n") == ADDED + b"Subject: x\r\n\r\nbody\r\n"


def test_fields_that_are_there_stay_alone() -> None:
    whole = b"date: yesterday\r\nMESSAGE-ID: <a@b>\r\nFrom: me\r\n\r\nbody\r\n"
    assert completed(whole) == whole
    assert completed(b"From: me\r\n\r\n").startswith(b"Date: ")
    assert completed(b"From: me\r\n\r\n").count(b"From:") == 1


@pytest.mark.parametrize("text", [b"Hello there\r\n", b"see: this is a sentence\r\n"[5:], b" folded: x\r\n"])
def test_a_text_without_a_header_section_becomes_the_body(text: bytes) -> None:
    assert completed(text) == ADDED + b"\r\n" + text


def test_a_text_that_begins_with_an_empty_line_has_an_empty_header_section() -> None:
    assert completed(b"\r\nbody\r\n") == ADDED + b"\r\nbody\r\n"


def test_nobody_is_no_author() -> None:
    assert b"From:" not in completed(b"Subject: x\r\n\r\n", "")
