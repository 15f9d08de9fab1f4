"""Addresses: what is one, which are the same, and one for a new person."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.directory.addresses import BadAddress, catch_all, entry, fold, generate, plain, target

LOCAL = st.text(st.sampled_from(string.ascii_letters + string.digits + "!#$%&'*+=?^_`{}äßÉ"), min_size=1, max_size=20)
ADDRESSES = st.builds("{}@{}.example".format, LOCAL, st.sampled_from(["minasi", "Athena", "x-y.z"]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mark@minasi.example", "MARK@Minasi.EXAMPLE"),
        ('"mark"@minasi.example', "mark@minasi.example"),
        ('"ma\\rk"@minasi.example', "mark@minasi.example"),
        ("käthe@minasi.example", "KA\u0308THE@minasi.example"),
        ("straße@minasi.example", "STRASSE@minasi.example"),
        ('"a b"@minasi.example', '"A B"@minasi.example'),
    ],
)
def test_addresses_that_differ_by_case_quotes_or_composition_are_one(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize("other", ["mark.@minasi.example", "mark@minasi.example.", "m.ark@minasi.example", "mark"])
def test_addresses_that_differ_otherwise_are_two(other):
    assert fold("mark@minasi.example") != fold(other)


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@given(ADDRESSES)
def test_what_is_kept_is_found_under_what_was_written(address):
    assert fold(entry(address)) == fold(address)
    assert entry(entry(address)) == entry(address)


def test_an_address_is_kept_as_written_but_for_its_domain():
    assert entry(" Mark.Minasi@MINASI.Example ") == "Mark.Minasi@minasi.example"
    assert target("Mark@[192.0.2.1]") == "Mark@[192.0.2.1]"
    assert target('"mark minasi"@x.example') == '"mark minasi"@x.example'
    assert target('"mark.minasi"@x.example') == "mark.minasi@x.example"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mark",
        "@minasi.example",
        "mark@",
        "mark@minasi..example",
        "ma rk@minasi.example",
        ".mark@minasi.example",
        "mark.@minasi.example",
        "ma..rk@minasi.example",
        "mark@minasi.example>",
        "<mark@minasi.example>",
        "@a.example:mark@minasi.example",
        "mark\0@minasi.example",
        "mark\r\n@minasi.example",
        "mark\x7f@minasi.example",
        "ma\u202erk@minasi.example",
        "ma\u00a0rk@minasi.example",
        "ma\u200drk@minasi.example",
        "ma\ud800rk@minasi.example",
        "mark@münchen.example",
        "m" * 65 + "@minasi.example",
        "ä" * 33 + "@minasi.example",
        "mark@" + "x" * 64 + ".example",
        '"mark@minasi.example',
        '"ma"rk@minasi.example',
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(BadAddress):
        target(text)
    with pytest.raises(BadAddress):
        entry(text)


@pytest.mark.parametrize(
    "local", ["/etc/passwd", "|sh", "-oQ", "~root", '"../x"', "a/b", '"a\\\\b"', '"|sh"', ":include:x", '"-f"']
)
def test_an_address_of_ours_looks_like_no_path_program_or_option(local):
    with pytest.raises(BadAddress):
        entry(f"{local}@minasi.example")


def test_an_entry_has_a_domain_no_literal():
    with pytest.raises(BadAddress, match="literal"):
        entry("mark@[192.0.2.1]")


def test_the_longest_local_part_is_one():
    assert entry("m" * 64 + "@minasi.example")
    assert entry("ä" * 32 + "@minasi.example")


def test_a_catch_all_is_a_domain_behind_an_at_sign():
    assert catch_all("@Minasi.Example") == "@minasi.example"
    for text in ("minasi.example", "@", "@x..example", "x@minasi.example", "@[192.0.2.1]", "@a@b.example"):
        with pytest.raises(BadAddress):
            catch_all(text)


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Mark", "mark"),
        ("Käthe van den Berg", "kaethe.van.den.berg"),
        ("O'Brien", "obrien"),
        ("Müller-Lüdenscheidt", "mueller-luedenscheidt"),
        ("Éloïse", "eloise"),
        ("Łukasz", "lukasz"),
        ("李", ""),
        ("Smith, Jr.", "smith.jr"),
        ("a\0b", "ab"),
    ],
)
def test_a_name_becomes_a_local_part(name, letters):
    assert plain(name) == letters


@pytest.mark.parametrize(
    ("template", "address"),
    [
        ("%g.%s@%d", "mark.minasi@x.example"),
        ("%i%s@%d", "mminasi@x.example"),
        ("%s", "minasi@x.example"),
        ("%g@mail.example", "mark@mail.example"),
        ("%g%%%s@%d", "mark%minasi@x.example"),
    ],
)
def test_an_address_is_made_from_the_template(template, address):
    assert generate(template, "Mark", "Minasi", "x.example", lambda _: False) == address


def test_an_address_that_is_taken_gets_a_number():
    taken = {"mark.minasi@x.example", "mark.minasi2@x.example"}
    assert generate("%g.%s@%d", "Mark", "Minasi", "x.example", taken.__contains__) == "mark.minasi3@x.example"


def test_a_missing_name_leaves_no_stray_dot():
    assert generate("%g.%s@%d", "", "Minasi", "x.example", lambda _: False) == "minasi@x.example"
    assert generate("%g.%s@%d", "Mark", "李", "x.example", lambda _: False) == "mark@x.example"


def test_a_long_name_is_cut_so_that_a_number_has_room():
    made = generate("%g.%s@%d", "m" * 40, "n" * 40, "x.example", lambda a: not a.endswith("2@x.example"))
    assert len(made.partition("@")[0]) == 64


def test_no_name_at_all_or_too_many_alike_are_an_error():
    with pytest.raises(BadAddress, match="cannot be made"):
        generate("%g.%s@%d", "李", "", "x.example", lambda _: False)
    with pytest.raises(BadAddress, match="taken"):
        generate("%g.%s@%d", "Mark", "Minasi", "x.example", lambda _: True)


@given(st.text(max_size=30), st.text(max_size=90))
def test_whatever_people_are_called_the_address_is_one(given_name, surname):
    if not plain(given_name) and not plain(surname):
        with pytest.raises(BadAddress, match="cannot be made"):
            generate("%g.%s@%d", given_name, surname, "x.example", lambda _: False)
        return
    made = generate("%g.%s@%d", given_name, surname, "x.example", lambda _: False)
    assert entry(made) == made
    assert made.isascii()
