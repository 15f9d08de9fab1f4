"""Parameters of MAIL and RCPT (RFC 5321 §4.1.2) and the number of SIZE (RFC 1870)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_ext.params import parse_params, parse_size


@pytest.mark.parametrize(
    ("text", "params"),
    [
        (b"", {}),
        (b" ", {}),
        (b"SIZE=100", {"SIZE": "100"}),
        (b" size=100  Body=8BITMIME", {"SIZE": "100", "BODY": "8BITMIME"}),
        (b"SMTPUTF8 RET=HDRS", {"SMTPUTF8": None, "RET": "HDRS"}),
        (b"X-1-Y=!<>@,;:", {"X-1-Y": "!<>@,;:"}),
    ],
)
def test_parameters_are_keywords_with_or_without_values(text, params):
    assert parse_params(text) == params


@pytest.mark.parametrize(
    "text",
    [
        b"=1",
        b"SIZE=",
        b"SIZE=1=2",
        b"-X",
        b"A_B=1",
        b"A=\x80",
        b"A=\0",
        b"A\tB",
        b"A=b\x7f",
        b"SIZE=1 size=2",
        b"A A",
        b"A,B",
    ],
)
def test_wrong_syntax_and_repetition_give_none(text):
    assert parse_params(text) is None


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("007", 7),
        ("9223372036854775808", 2**63),
        ("99999999999999999999", 10**20 - 1),
        ("", -1),
        ("100000000000000000000", -1),
        ("+1", -1),
        ("-1", -1),
        ("1_0", -1),
        (" 1", -1),
        ("1 ", -1),
        ("1\n", -1),
        ("\u0663", -1),
        ("\u00b2", -1),
        ("0x10", -1),
        ("1e3", -1),
    ],
)
def test_size_is_one_to_twenty_ascii_digits_and_nothing_else(value, size):
    assert parse_size(value) == size


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z0-9][A-Z0-9-]{0,8}", fullmatch=True),
        st.none() | st.from_regex(r"[!-<>-~]{1,9}", fullmatch=True),
        max_size=5,
    )
)
def test_what_is_written_by_the_grammar_is_read_back(params):
    text = b" ".join(k.encode() + (b"" if v is None else b"=" + v.encode()) for k, v in params.items())
    assert parse_params(text) == params


@given(st.binary(max_size=40))
def test_no_octets_upset_the_parser(text):
    assert parse_params(text) is None or parse_params(text + b" ") == parse_params(text)
