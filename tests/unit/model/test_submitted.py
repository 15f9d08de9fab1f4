"""What is mended in a submitted message, and that nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.model.submitted import head_end, missing_fields, without_blind_copies
from mta_ext.headers import field_value, scan_headers

NOW = 1_795_484_322_000  # Tue, 24 Nov 2026 01:38:42 UTC
DATE = b"Date: Tue, 24 Nov 2026 01:38:42 +0000\r\n"
ID = b"Message-ID: <0123456789ABC@hermes.example>\r\n"


def missing(head):
    return missing_fields(head, "0123456789ABC", "hermes.example", NOW)


def test_date_and_message_id_are_added_where_they_are_missing():
    assert missing(b"Subject: x\r\n") == DATE + ID
    assert missing(b"date: x\r\n") == ID
    assert missing(b"MESSAGE-ID : <x@y>\r\n") == DATE
    assert missing(b"Date: x\r\nMessage-Id: <x@y>\r\n") == b""
    assert missing(b"") == DATE + ID


def test_a_field_in_the_body_is_none():
    assert missing(b"Subject: x\r\n\r\nDate: x\r\nMessage-ID: <x>\r\n") == DATE + ID


@pytest.mark.parametrize(
    ("head", "left"),
    [
        (b"Bcc: a@b\r\n", b""),
        (b"To: a@b\r\nBCC: c@d,\r\n e@f,\r\n\tg@h\r\nCc: i@j\r\n", b"To: a@b\r\nCc: i@j\r\n"),
        (b"bcc : a@b\r\nResent-Bcc:\r\n c@d\r\nBcc:\r\nX: y\r\n", b"X: y\r\n"),
        (b"X-Bcc: a@b\r\nBcc-X: c@d\r\n", b"X-Bcc: a@b\r\nBcc-X: c@d\r\n"),
        (b"Subject: x\r\n Bcc: of a folded line\r\n", b"Subject: x\r\n Bcc: of a folded line\r\n"),
        (b"Subject: Bcc: x\r\n", b"Subject: Bcc: x\r\n"),
    ],
)
def test_blind_copies_go_and_nothing_else(head, left):
    assert without_blind_copies(head) == left


def test_the_end_of_a_header_section_is_found_wherever_pieces_end():
    content = b"A: b\r\nC: d\r\n\r\nbody\r\n\r\n"
    assert head_end(content) == 12
    for cut in range(14):
        assert head_end(content[:cut]) == -1
        assert head_end(content, cut) == 12
    assert head_end(b"\r\nbody") == 0
    assert head_end(b"") == -1


names = st.sampled_from([b"Bcc", b"bcc", b"Resent-BCC", b"To", b"X-Bcc", b"Subject"])
values = st.sampled_from([b"", b" a@b", b" a\r\n b", b"\r\n\tBcc: c", b" Bcc: x"])
fields = st.builds(lambda name, value: name + b":" + value + b"\r\n", names, values)


@given(st.lists(fields, max_size=12))
def test_of_any_header_section_all_other_fields_stay_as_they_are(made):
    blind = (b"bcc:", b"resent-bcc:")
    left = [field for field in made if not field.lower().startswith(blind)]
    assert without_blind_copies(b"".join(made)) == b"".join(left)


@given(st.binary(max_size=200))
def test_whatever_comes_no_bcc_is_left_that_we_would_read_as_one(head):
    assert field_value(without_blind_copies(head.replace(b"\r", b"").replace(b"\n", b"\r\n")), b"bcc") is None
    assert scan_headers(missing(head) + b"\r\n").end > 0
