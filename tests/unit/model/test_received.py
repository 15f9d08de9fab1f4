"""The trace field: its form, and what a hostile client cannot do with it."""

from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest

from mta.model.received import received_field

NOW = 1_795_484_322_000  # Tue, 24 Nov 2026 01:38:42 UTC


def field(hello="client.example", address="192.0.2.7", path="b@example.net", now=NOW):
    return received_field(hello, address, "hermes.example", "ESMTP", "0123456789ABC", path, now)


def test_it_tells_who_gave_what_to_whom_and_when():
    assert field() == (
        b"Received: from client.example ([192.0.2.7])\r\n"
        b"\tby hermes.example (Hermes) with ESMTP id 0123456789ABC\r\n"
        b"\tfor <b@example.net>;\r\n"
        b"\tTue, 24 Nov 2026 01:38:42 +0000\r\n"
    )


def test_several_recipients_are_not_told_of_each_other():
    assert b"for <" not in field(path=None)
    assert field(path=None).count(b"\r\n") == 3


def test_an_ipv6_client_is_marked_as_one():
    assert b"([IPv6:2001:db8::7])" in field(address="2001:db8::7")


def test_the_date_follows_the_clock_within_and_across_seconds():
    dates = [message_from_bytes(field(now=NOW + ms))["Received"].rpartition(";")[2] for ms in (0, 999, 1000)]
    seconds = [parsedate_to_datetime(date.strip()).timestamp() for date in dates]
    assert seconds == [NOW // 1000, NOW // 1000, NOW // 1000 + 1]


@pytest.mark.parametrize(
    "hello", ["a\r\nX-Evil: 1", "a b", "x)(y", "ü.example", "a\0b", "", "h" * 3000, "<>;\"'\\", "٣"]
)
@pytest.mark.parametrize("path", ['"a\r\n X: 1"@b', "a@b>\t<c@d", "ü@b", "p" * 3000, '"x;y"@z', None])
def test_nothing_a_client_says_leaves_its_place(hello, path):
    made = field(hello=hello, path=path)
    lines = made.split(b"\r\n")
    assert made.isascii()
    assert len(lines) == (5 if path is not None else 4)
    assert all(line.startswith(b"\t") for line in lines[1:-1])
    assert all(len(line) <= 998 and not set(line) & set(b"\r\n\0") for line in lines)
    assert list(message_from_bytes(made + b"\r\n").keys()) == ["Received"]


def test_an_empty_name_is_called_unknown():
    assert field(hello="").startswith(b"Received: from unknown (")
