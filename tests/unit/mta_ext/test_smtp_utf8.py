"""UTF-8 in paths (RFC 6531), and xtext (RFC 3461 §4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_ext.path import parse_path, valid_domain
from mta_ext.xtext import decode_xtext


@pytest.mark.parametrize(
    ("text", "mailbox", "domain"),
    [
        ("<jörg@grün.example>", "jörg@grün.example", "grün.example"),
        ("<用户@例え.Example>", "用户@例え.Example", "例え.example"),
        ('<"jö rg"@x.example>', '"jö rg"@x.example', "x.example"),
        ("<🦆@x>", "🦆@x", "x"),
        (f"<a@{'ü' * 120}.x>", f"a@{'ü' * 120}.x", f"{'ü' * 120}.x"),
    ],
)
def test_a_path_may_be_utf8_where_that_is_asked_for(text, mailbox, domain):
    assert parse_path(text.encode(), utf8=True) == (mailbox, domain)
    assert parse_path(text.encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        b"<\xff@x>",
        b"<\x80@x>",
        b"<\xc0\xaf@x>",
        b"<\xc1\xbf@x>",
        b"<\xe0\x80\xaf@x>",
        b"<\xf0\x80\x80\xaf@x>",
        b"<\xed\xa0\x80@x>",
        b"<\xf4\x90\x80\x80@x>",
        b"<\xf5\x80\x80\x80@x>",
        b"<\xc3@x>",
        b"<\xe2\x82@x>",
        b"<a@x\xc3>",
        "<\u0085@x>".encode(),
        "<\u2028@x>".encode(),
        "<a\u2029@x>".encode(),
        "<a@b\u3002c>".encode(),
        "<a@b\uff0ec>".encode(),
        "<a@b\uff61c>".encode(),
        "<a\uff20b@c\uff20d>".encode(),
        f"<{'ü' * 33}@x>".encode(),
        f"<a@{'ü' * 127}>".encode(),
        f"<a@{'x' * 64}.ü>".encode(),
        '<"\\ü"@x>'.encode(),
        "<a@[ü]>".encode(),
    ],
)
def test_what_is_malformed_too_long_or_a_separator_in_disguise_is_refused(text):
    assert parse_path(text, utf8=True) is None


def test_a_domain_of_the_configuration_is_ascii():
    assert valid_domain(b"x.example")
    assert not valid_domain("grün.example".encode())


@given(st.binary(max_size=12))
def test_the_decoder_accepts_what_python_accepts(octets):
    text = b"<" + octets + b"@x>"
    path = parse_path(text, utf8=True)
    try:
        octets.decode()
    except UnicodeDecodeError:
        assert path is None
    if path is not None:
        assert path.mailbox == octets.decode() + "@x"


@given(st.text(st.characters(min_codepoint=0xA0, exclude_categories=["Zl", "Zp", "Cs"]), min_size=1, max_size=15))
def test_every_character_but_a_few_may_stand_in_a_local_part(text):
    assert parse_path(f"<{text}@x>".encode(), utf8=True) == (f"{text}@x", "x")


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("", b""),
        ("abc", b"abc"),
        ("a+20b+2B+3D", b"a b+="),
        ("+C3+A4", b"\xc3\xa4"),
        ("a+2b", None),
        ("a+2", None),
        ("a+", None),
        ("a=b", None),
        ("a b", None),
        ("ä", None),
        ("a+00", None),
        ("a+0D", None),
        ("a+0A", None),
        ("a+7F", None),
        ("a\n", None),
        ("+٣٣", None),
    ],
)
def test_xtext(text, octets):
    assert decode_xtext(text) == octets


@given(st.binary(max_size=20))
def test_what_is_written_as_xtext_is_read_back(octets):
    written = "".join(chr(o) if 33 <= o <= 126 and o not in b"+=" else f"+{o:02X}" for o in octets)
    controls = any(o < 32 or o == 127 for o in octets)
    assert decode_xtext(written) == (None if controls else octets)
