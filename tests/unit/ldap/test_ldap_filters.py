"""Filters: RFC 4511 §4.5.1.7 in three values."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.ldap import messages
from mta.ldap.filters import DEPTH, NODES, FilterTooLarge, compile_filter
from mta.ldap.schema import attribute, fold_as
from tests.harness.ldap_wire import search

ADA = {
    "objectClass": ("top", "person", "inetOrgPerson"),
    "cn": ("Ada  Lovelace", "Countess Lovelace"),
    "sn": ("Lovelace",),
    "givenName": ("Ada",),
    "mail": ("Ada.Lovelace@minasi.example",),
    "telephoneNumber": ("+44 20 7946-0000",),
    "title": ("Ångström",),
    "createTimestamp": ("20010909014640Z",),
}


def folded(values: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, held in values.items():
        known = attribute(name)
        assert known is not None
        found[name] = tuple(fold_as(known, value) for value in held)
    return found


def verdict(text: str) -> bool | None:
    """Of a filter as a client writes it, over Ada."""
    body = messages.decode(search(1, text)).body
    return compile_filter(body["filter"])[0](folded(ADA))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("(cn=*)", True),
        ("(ou=*)", False),
        ("(nonsense=*)", None),
        ("(cn;lang-en=*)", None),
        ("(cn=ada lovelace)", True),
        ("(cn=ADA   LOVELACE)", True),
        ("(commonName=countess lovelace)", True),
        ("(2.5.4.3=ada lovelace)", True),
        ("(cn=ada)", False),
        ("(ou=engines)", False),
        ("(nonsense=ada)", None),
        ("(cn=\\ff)", None),
        ("(objectClass=PERSON)", True),
        ("(objectClass=2.16.840.1.113730.3.2.2)", True),
        ("(objectClass=group)", False),
        ("(telephoneNumber=+442079460000)", True),
        ("(telephoneNumber=+44*7946*)", True),
        ("(telephoneNumber=*79460*)", True),
        ("(title=\\c3\\85NGSTR\\c3\\96M)", True),
        ("(title=A\\cc\\8angstro\\cc\\88m)", True),
        ("(cn=ada*)", True),
        ("(cn=ada l*)", True),
        ("(cn=ada  l*)", True),
        ("(cn=lov*)", False),
        ("(cn=*lov*)", True),
        ("(cn=* lov*)", True),
        ("(cn=*a lov*)", True),
        ("(cn=*ace)", True),
        ("(cn=*ada)", False),
        ("(cn=a*lov*ace)", True),
        ("(cn=ada*ada*)", False),
        ("(cn=ada lovelace*lovelace)", False),
        ("(cn=*c*e*e*)", True),
        ("(cn=*e*c*e*e*e*)", False),
        ("(mail=ada*@MINASI.*)", True),
        ("(objectClass=inet*)", None),
        ("(createTimestamp=2001*)", None),
        ("(createTimestamp>=20010101000000Z)", True),
        ("(createTimestamp<=20010101000000Z)", False),
        ("(sn>=lovelace)", True),
        ("(sn>=m)", False),
        ("(sn<=m)", True),
        ("(ou>=a)", False),
        ("(nonsense>=a)", None),
        ("(objectClass>=a)", None),
        ("(cn~=love ada)", True),
        ("(title~=angstrom)", True),
        ("(title~=ang)", True),
        ("(cn~=ove)", False),
        ("(telephoneNumber~=+44 207946 0000)", True),
        ("(nonsense~=ada)", None),
        ("(cn:caseIgnoreMatch:=ada lovelace)", True),
        ("(cn:2.5.13.2:=ada lovelace)", True),
        ("(:caseIgnoreMatch:=lovelace)", True),
        ("(sn:=lovelace)", True),
        ("(cn:caseExactMatch:=Ada)", None),
        ("(mail:caseIgnoreMatch:=x)", None),
        ("(sn:dn:=lovelace)", None),
        ("(nonsense:=x)", None),
        ("(!(cn=*))", False),
        ("(!(ou=*))", True),
        ("(!(nonsense=*))", None),
        ("(!(!(cn=*)))", True),
        ("(&(cn=*)(sn=*))", True),
        ("(&(cn=*)(nonsense=*))", None),
        ("(&(nonsense=*)(ou=*))", False),
        ("(|(nonsense=*)(cn=*))", True),
        ("(|(nonsense=*)(ou=*))", None),
        ("(|(ou=*)(title=x))", False),
        ("(!(&(cn=*)(nonsense=*)))", None),
        # Thunderbird, Outlook and a telephone, as their user types "lov".
        ("(&(mail=*)(|(cn=*lov*)(mail=*lov*)(sn=*lov*)))", True),
        ("(&(mail=*)(|(mail=lov*)(|(cn=lov*)(|(sn=lov*)(givenName=lov*)))))", True),
        ("(|(displayName=lov*)(cn=lov*)(sn=lov*)(department=lov*)(proxyAddresses=smtp:lov*))", True),
    ],
)
def test_a_filter_is_true_false_or_undefined(text, wanted):
    assert verdict(text) is wanted


@pytest.mark.parametrize(("raw", "wanted"), [(("and", []), True), (("or", []), False), (("not", ("and", [])), False)])
def test_absolute_true_and_false(raw, wanted):
    """RFC 4526."""
    assert compile_filter(raw)[0]({}) is wanted


@pytest.mark.parametrize(
    "pieces",
    [
        [("final", b"a"), ("any", b"b")],
        [("any", b"a"), ("initial", b"b")],
        [(None, None)],
        [("initial", b"a"), ("initial", b"b")],
    ],
)
def test_pieces_out_of_order_are_undefined(pieces):
    raw = ("substrings", {"type": b"cn", "pieces": [(place, octets or b"") for place, octets in pieces]})
    assert compile_filter(raw)[0](folded(ADA)) is None


def test_a_filter_may_be_so_deep_and_no_deeper():
    raw: messages.RawFilter = ("present", b"cn")
    for _ in range(DEPTH - 1):
        raw = ("not", raw)
    assert compile_filter(raw)[0](folded(ADA)) is False
    with pytest.raises(FilterTooLarge):
        compile_filter(("not", raw))


def test_a_filter_may_have_so_many_parts_and_no_more():
    parts = [("present", b"cn")] * (NODES - 1)
    test, cost = compile_filter(("and", parts))
    assert (test(folded(ADA)), cost) == (True, NODES)
    with pytest.raises(FilterTooLarge):
        compile_filter(("and", [*parts, ("present", b"cn")]))
    pieces = [("any", b"a")] * NODES
    with pytest.raises(FilterTooLarge):
        compile_filter(("substrings", {"type": b"cn", "pieces": pieces}))


def test_a_long_approximate_match_costs_no_more_than_its_words():
    words = " ".join(["ada"] * 10_000)
    test, cost = compile_filter(("approx", {"type": b"cn", "value": words.encode()}))
    assert cost > 10
    started = time.process_time()
    for _ in range(1000):
        assert test(folded(ADA))
    assert time.process_time() - started < 1.0


ITEMS = st.sampled_from([("present", b"cn"), ("present", b"ou"), ("present", b"nonsense")])
TREES = st.recursive(
    ITEMS,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, max_size=4)),
    ),
    max_leaves=20,
)


def kleene(raw: messages.RawFilter) -> float:
    """The slow obvious way: 1, 0, and a half between them."""
    kind, body = raw
    if kind == "present":
        return {b"cn": 1.0, b"ou": 0.0, b"nonsense": 0.5}[body]
    if kind == "not":
        return 1.0 - kleene(body)
    values = [kleene(part) for part in body]
    return min(values, default=1.0) if kind == "and" else max(values, default=0.0)


@given(TREES)
def test_the_logic_is_kleenes(raw):
    try:
        found = compile_filter(raw)[0](folded(ADA))
    except FilterTooLarge:
        return
    assert {True: 1.0, False: 0.0, None: 0.5}[found] == kleene(raw)


@given(
    st.text("ab ", min_size=1, max_size=12), st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=3)
)
def test_pieces_are_found_as_a_pattern_finds_them(value, middle):
    known = attribute("cn")
    assert known is not None
    held = {"cn": (fold_as(known, value),)}
    raw = ("substrings", {"type": b"cn", "pieces": [("any", piece.encode()) for piece in middle]})
    pattern = ".*".join(re.escape(re.sub(" +", " ", piece)) for piece in middle)
    assert compile_filter(raw)[0](held) is (re.search(pattern, held["cn"][0]) is not None)
