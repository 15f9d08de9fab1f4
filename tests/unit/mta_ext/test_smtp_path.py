"""Paths, domains and address literals as RFC 5321 §4.1.2 and §4.1.3 write them."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_ext.path import Path, parse_path, valid_address_literal, valid_domain
from tests.harness.corpora import corpus


@pytest.mark.parametrize(
    ("text", "mailbox", "domain"),
    [
        (b"<>", "", ""),
        (b"<a@b>", "a@b", "b"),
        (b"<Paula@Hermes.Example>", "Paula@Hermes.Example", "hermes.example"),
        (b"<a.b+c=d!e%f@x.example>", "a.b+c=d!e%f@x.example", "x.example"),
        (b'<"a b"@x.example>', '"a b"@x.example', "x.example"),
        (b'<"a@b\\"c>"@x.example>', '"a@b\\"c>"@x.example', "x.example"),
        (b'<""@x.example>', '""@x.example', "x.example"),
        (b"<a@[192.0.2.1]>", "a@[192.0.2.1]", "[192.0.2.1]"),
        (b"<a@[ipV6:2001:DB8::1]>", "a@[ipV6:2001:DB8::1]", "[IPv6:2001:db8::1]"),
        (b"<@one.example,@two.example:a@b.example>", "a@b.example", "b.example"),
        (b"<@[192.0.2.1]:a@b.example>", "a@b.example", "b.example"),
        (b"<PostMaster>", "PostMaster", ""),
        (b"<a@_dmarc.under_score.example>", "a@_dmarc.under_score.example", "_dmarc.under_score.example"),
    ],
)
def test_a_path_gives_its_mailbox_and_its_domain(text, mailbox, domain):
    assert parse_path(text) == Path(mailbox, domain)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<",
        b">",
        b"a@b",
        b"<a@b",
        b"a@b>",
        b"< a@b>",
        b"<a@b >",
        b"<a@b> ",
        b"<a@b><c@d>",
        b"<<a@b>>",
        b"<a>",
        b"<@b>",
        b"<a@>",
        b"<.a@b>",
        b"<a.@b>",
        b"<a..b@c>",
        b"<a b@c>",
        b"<a(c)@b>",
        b"<a@b@c>",
        b'<"a"b@c>',
        b'<"a@b>',
        b'<"a\\"@b>',
        b'<"a".b@c>',
        b"<a@b.>",
        b"<a@.b>",
        b"<a@b..c>",
        b"<a@-b>",
        b"<a@b->",
        b"<a@b/c>",
        b"<a\xfc@b>",
        b"<a@b\xfc>",
        b"<a\0@b>",
        b'<"\0"@b>',
        b'<"\\\0"@b>',
        b'<"\x7f"@b>',
        b"<a@[192.0.2.1>",
        b"<a@[x:y]>",
        b"<a@[]>",
        b"<@a:>",
        b"<@a,:b@c>",
        b"<@a@b:c@d>",
        b"<@a,b@c>",
        b"<a@b,c@d>",
        b"<a@b\r\n>",
        b"<@>",
        b"<@a>",
        b"<@a,>",
    ],
)
def test_what_is_no_path_is_refused(text):
    assert parse_path(text) is None


@pytest.mark.parametrize(
    ("local", "label", "labels", "good"),
    [
        (64, 1, 1, True),
        (65, 1, 1, False),
        (1, 63, 1, True),
        (1, 64, 1, False),
        (1, 49, 5, True),
        (1, 50, 5, False),
        (1, 63, 4, False),
    ],
)
def test_the_limits_of_rfc_5321_hold_to_the_octet(local, label, labels, good):
    text = b"<" + b"a" * local + b"@" + b".".join([b"d" * label] * labels) + b">"
    assert (parse_path(text) is not None) == good


def test_a_path_of_256_octets_is_the_longest():
    domain = b".".join([b"d" * 63] * 3) + b"." + b"e" * 59
    assert len(b"<aa@" + domain) + 1 == 256
    assert parse_path(b"<aa@" + domain + b">")
    assert parse_path(b"<aaa@" + domain + b">") is None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"a", True),
        (b"a.b-c.d", True),
        (b"1.2", True),
        (b"xn--bcher-kva.example", True),
        (b"a_b.example", True),
        (b"", False),
        (b".", False),
        (b"a.", False),
        (b"a b", False),
        (b"[192.0.2.1]", False),
        (b".".join([b"d" * 63] * 3) + b"." + b"e" * 63, True),
        (b".".join([b"d" * 63] * 4) + b".e", False),
    ],
)
def test_a_domain_is_labels_of_letters_digits_and_inner_hyphens(text, good):
    assert valid_domain(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"[0.0.0.0]", True),
        (b"[255.255.255.255]", True),
        (b"[01.002.3.4]", True),
        (b"[256.0.0.1]", False),
        (b"[1.2.3]", False),
        (b"[1.2.3.4.5]", False),
        (b"[1.2.3.4", False),
        (b"1.2.3.4", False),
        (b"[1.2.3.]", False),
        (b"[+1.2.3.4]", False),
        (b"[1.2.3.0004]", False),
        (b"[]", False),
        (b"[ 1.2.3.4]", False),
        (b"[IPv6:::]", True),
        (b"[IPv6:::1]", True),
        (b"[IPv6:1::]", True),
        (b"[IPv6:1:2:3:4:5:6:7:8]", True),
        (b"[IPv6:1:2:3:4:5:6:1.2.3.4]", True),
        (b"[IPv6:::1.2.3.4]", True),
        (b"[IPv6:1:2:3:4::1.2.3.4]", True),
        (b"[IPv6:]", False),
        (b"[IPv6:1]", False),
        (b"[IPv6:1.2.3.4]", False),
        (b"[IPv6:1:2:3:4:5:6:7]", False),
        (b"[IPv6:1:2:3:4:5:6:7:8:9]", False),
        (b"[IPv6:1::2::3]", False),
        (b"[IPv6:1:2:3:4:5:6:7::]", False),
        (b"[IPv6:12345::]", False),
        (b"[IPv6:g::]", False),
        (b"[IPv6:1:2:3:4:5::1.2.3.4]", False),
        (b"[IPv6:1::2:]", False),
        (b"[IPv6::1]", False),
        (b"[IPv6::::]", False),
        (b"[IPv6:1:::2]", False),
        (b"[IPv6:::1.2.3.256]", False),
        (b"[::1]", False),
    ],
)
def test_an_address_literal_is_checked_digit_by_digit(text, good):
    assert valid_address_literal(text) is good


@given(st.binary(max_size=80), st.binary(max_size=10))
def test_no_octets_upset_the_parser_and_what_passes_is_printable(text, more):
    for candidate in (text, b"<" + text + b">", b"<" + more + b"@" + text + b">"):
        path = parse_path(candidate)
        if path is not None:
            assert path.mailbox.isprintable()
            assert path.domain == "" or path.mailbox.lower().endswith("@" + path.domain.lower())


#: What the corpus allows and RFC 5321 does not, by file and id.
ONE_GROUP = "§4.1.3: '::' represents at least two groups of zeros"
OUR_READING = {
    "tests.xml": {"71": ONE_GROUP},
    "tests-original.xml": dict.fromkeys(("39", "45", "230", "231", "252", "254"), ONE_GROUP),
}
GOOD_CATEGORIES = {"ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"}


def addresses_of(name):
    for test in ElementTree.parse(corpus("isemail") / name).iter("test"):
        written = test.findtext("address") or ""
        address = "".join(chr(ord(c) - 0x2400) if 0x2400 <= ord(c) < 0x2480 else c for c in written)
        yield test.get("id"), address, test.findtext("category")


@pytest.mark.parametrize("name", ["tests.xml", "tests-original.xml"])
def test_the_addresses_of_isemail_are_judged_as_rfc_5321_does(name):
    wrong, seen = [], 0
    for number, address, category in addresses_of(name):
        seen += 1
        good = category in GOOD_CATEGORIES and number not in OUR_READING[name]
        path = parse_path(b"<" + address.encode("utf-8") + b">") if address else None
        if (path is not None) != good:
            wrong.append((number, address, category))
    assert seen > 100
    assert wrong == []
