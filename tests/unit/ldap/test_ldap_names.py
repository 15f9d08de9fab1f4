"""Distinguished names: RFC 4514 both ways, and when two of them are one."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.utils.dn import parse_dn

from mta.ldap.names import BadName, escape, key
from mta.ldap.schema import fold


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "mail=ada@minasi.example,ou=people,dc=minasi,dc=example",
            "MAIL=Ada@Minasi.EXAMPLE, OU=People , DC=minasi,dc=Example",
        ),
        ("cn=Ada Lovelace", "commonName=ada  lovelace"),
        ("cn=Ada", "2.5.4.3=ada"),
        ("cn=Ada", "OID.2.5.4.3=ada"),
        ("cn=a\\,b", "cn=a\\2Cb"),
        ("cn=a\\2Bb", "cn=a\\+b"),
        ("cn=L\\C4\\8Di\\C4\\87", "cn=Lčić"),
        ("cn=a+sn=b,dc=example", "sn=b+cn=a,dc=example"),
        ("cn=a;dc=example", "cn=a,dc=example"),
        ("cn=\\ a", "cn=a"),
        ("cn=\\#a", "cn=\\23a"),
        ("", "   "),
    ],
)
def test_names_that_are_the_same(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cn=a,dc=example", "cn=a\\,dc\\=example"),
        ("cn=a", "sn=a"),
        ("cn=a+sn=b", "cn=a,sn=b"),
        ("cn=a,dc=example", "dc=example,cn=a"),
        ("cn=a\\2C", "cn=a"),
    ],
)
def test_names_that_are_not(one, other):
    assert key(one) != key(other)


@pytest.mark.parametrize(
    "name",
    [
        "ada",
        "=x",
        "cn",
        "cn=a,",
        "cn=a,,dc=b",
        "cn=a+",
        ",",
        "cn=a\\",
        "cn=a\\x",
        'cn="a"',
        "cn=a<b",
        "cn=\\ff",
        "cn=a\x00b",
        "1.=x",
        "c n=x",
        "café=x",
    ],
)
def test_what_is_no_name(name):
    with pytest.raises(BadName):
        key(name)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a,b", "a\\,b"),
        ("#a", "\\#a"),
        (" a ", "\\ a\\ "),
        (" ", "\\ "),
        ("a\x00b\n", "a\\00b\\0A"),
        ('a"+;<>=\\', 'a\\"\\+\\;\\<\\>\\=\\\\'),
        ("Ångström", "Ångström"),
    ],
)
def test_values_are_written_so_that_they_are_read_back(value, written):
    assert escape(value) == written


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
def test_every_value_comes_back_through_a_name(values):
    assert key(",".join(f"cn={escape(value)}" for value in values)) == tuple((("cn", fold(value)),) for value in values)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_ldap3_reads_what_we_write(value):
    [(kind, _, _), (base, _, _)] = parse_dn(f"mail={escape(value)},dc=example")
    assert (kind, base) == ("mail", "dc")


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_is_not(text):
    try:
        found = key(text)
    except BadName:
        return
    assert isinstance(found, tuple)


@pytest.mark.parametrize("unit", ["\\,", "cn=a,", "\\2c", " ", "cn=a+", "x", "\\"])
def test_a_long_name_takes_no_long_time(unit):
    started = time.process_time()
    for name in ("cn=" + unit * 20_000, unit * 20_000):
        try:
            key(name)
        except BadName:
            continue
    assert time.process_time() - started < 1.0
