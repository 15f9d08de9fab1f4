"""What a relay learns from a header section, and the value of one field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_ext.headers import HeaderScan, field_value, scan_headers
from tests.harness.reference import count_fields

MESSAGE = (
    b"Received: from a\r\n\tby b; now\r\nRECEIVED : from b\r\nReceived-SPF: pass\r\nX-Received: from c\r\n"
    b"Date: today\r\nMessage-Id: <1@x>\r\nFrom: Paula <p@x>\r\n Date: no\r\n\r\n"
    b"Received: in the body\r\nTo: nobody\r\n"
)


def test_received_fields_are_counted_up_to_the_empty_line():
    assert scan_headers(MESSAGE) == HeaderScan(MESSAGE.index(b"\r\n\r\n") + 4, 2, True, True, True)


@pytest.mark.parametrize(
    ("content", "scan"),
    [
        (b"", HeaderScan(0, 0, False, False, False)),
        (b"\r\nReceived: x\r\n", HeaderScan(2, 0, False, False, False)),
        (b"Received: no end", HeaderScan(16, 1, False, False, False)),
        (b"Dates: x\r\nFrom", HeaderScan(14, 0, False, False, False)),
        (b" Received: folded\r\nReceived\r\n\r\n", HeaderScan(31, 0, False, False, False)),
        (b"date:\r\nfrom:\r\n", HeaderScan(14, 0, True, False, True)),
    ],
)
def test_odd_header_sections_are_read_as_they_stand(content, scan):
    assert scan_headers(content) == scan


LINES = st.lists(
    st.sampled_from(
        [
            b"Received: x",
            b"received:y",
            b"Received \t: z",
            b" Received: folded",
            b"Date: d",
            b"Message-ID:",
            b"From: f",
            b"",
            b"R",
            b"Receivedx: no",
            b"Re ceived: no",
            b"x" * 40,
            b"From:" + b"y" * 40,
        ]
    ),
    max_size=12,
)


@given(LINES)
def test_any_header_section_scans_as_the_reference_does(lines):
    content = b"".join(line + b"\r\n" for line in lines)
    scan = scan_headers(content)
    assert scan.hops == count_fields(content, b"received")
    assert scan.has_date == (count_fields(content, b"date") > 0)
    assert scan.has_message_id == (count_fields(content, b"message-id") > 0)
    assert scan.has_from == (count_fields(content, b"from") > 0)
    assert content[: scan.end].endswith(b"\r\n\r\n") or scan.end in (2, len(content))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"received", b"from a\tby b; now"),
        (b"MESSAGE-ID", b"<1@x>"),
        (b"From", b"Paula <p@x> Date: no"),
        (b"Date", b"today"),
        (b"To", None),
        (b"", None),
        (b"Receive", None),
    ],
)
def test_the_value_of_the_first_field_comes_unfolded(name, value):
    assert field_value(MESSAGE, name) == value


def test_a_field_at_the_very_end_and_an_empty_message_are_no_trouble():
    assert field_value(b"Subject: last", b"subject") == b"last"
    assert field_value(b"Subject:", b"subject") == b""
    assert field_value(b"", b"subject") is None
    assert field_value(b"\r\nSubject: body", b"subject") is None
