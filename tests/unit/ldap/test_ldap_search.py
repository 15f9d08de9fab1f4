"""Searches: scopes, attributes, limits, pages, and a directory that changes under them."""

from collections.abc import Sequence

import msgspec
import pytest

from mta.directory.protocol import Person, Resolution
from mta.ldap import messages
from mta.ldap.entries import PersonEntry
from mta.ldap.messages import (
    INVALID_DN_SYNTAX,
    NO_SUCH_OBJECT,
    PROTOCOL_ERROR,
    SIZE_LIMIT_EXCEEDED,
    SUCCESS,
    TIME_LIMIT_EXCEEDED,
    UNAVAILABLE,
    UNAVAILABLE_CRITICAL_EXTENSION,
    UNWILLING_TO_PERFORM,
)
from mta.ldap.search import Limits
from tests.harness.ldap_wire import BASE, PEOPLE, Folk, Reply, Talk, folk, paged, search, shown

OTHER = "dc=arlington,dc=example"
ADA = f"mail=ada.lovelace@minasi.example,{PEOPLE}"
ANDERS = f"mail=anders@minasi.example,{PEOPLE}"
OHARA = f"mail=o\\,hara\\+x@arlington.example,ou=people,{OTHER}"
STAFF = f"mail=staff@minasi.example,ou=lists,{BASE}"


def names(said: Sequence[Reply]) -> list[str]:
    return [reply.body["name"].decode() for reply in said if reply.kind == "searchEntry"]


def found(talk: Talk, text: str = "(objectClass=*)", **how: object) -> list[str]:
    said = talk.say(search(1, text, **how))  # type: ignore[arg-type]
    assert said[-1].kind == "searchDone"
    assert said[-1].body["code"] == SUCCESS
    return names(said)


@pytest.mark.parametrize(
    ("base", "scope", "wanted"),
    [
        ("", "BASE", [""]),
        ("", "LEVEL", [BASE, OTHER]),
        (
            "",
            "SUBTREE",
            [
                BASE,
                PEOPLE,
                ADA,
                ANDERS,
                f"ou=lists,{BASE}",
                STAFF,
                OTHER,
                f"ou=people,{OTHER}",
                OHARA,
                f"ou=lists,{OTHER}",
            ],
        ),
        (BASE, "BASE", [BASE]),
        (BASE, "LEVEL", [PEOPLE, f"ou=lists,{BASE}"]),
        (BASE, "SUBTREE", [BASE, PEOPLE, ADA, ANDERS, f"ou=lists,{BASE}", STAFF]),
        ("DC=Minasi, dc=EXAMPLE", "BASE", [BASE]),
        (PEOPLE, "BASE", [PEOPLE]),
        (PEOPLE, "LEVEL", [ADA, ANDERS]),
        (PEOPLE, "SUBTREE", [PEOPLE, ADA, ANDERS]),
        (ADA, "BASE", [ADA]),
        (ADA, "LEVEL", []),
        (ADA, "SUBTREE", [ADA]),
        (OHARA, "BASE", [OHARA]),
        (STAFF, "SUBTREE", [STAFF]),
        ("cn=subschema", "BASE", ["cn=Subschema"]),
    ],
)
def test_scopes(base, scope, wanted):
    assert found(Talk(), base=base, scope=scope) == wanted


@pytest.mark.parametrize(
    ("base", "matched"),
    [
        ("dc=example", ""),
        (f"mail=nobody@minasi.example,{PEOPLE}", PEOPLE),
        (f"ou=things,{BASE}", BASE),
        (f"uid=ada,{PEOPLE}", PEOPLE),
        (f"cn=x,{ADA}", PEOPLE),
    ],
)
def test_a_base_that_there_is_not(base, matched):
    [reply] = Talk().say(search(1, base=base))
    assert (reply.body["code"], reply.body["matched"].decode()) == (NO_SUCH_OBJECT, matched)


def test_a_base_that_is_no_name():
    [reply] = Talk().say(search(1, base="minasi.example"))
    assert reply.body["code"] == INVALID_DN_SYNTAX


def test_the_root_tells_a_client_where_to_begin():
    [entry, _] = Talk(tls="offered").say(search(1, base="", scope="BASE", attributes=["*", "+"]))
    told = shown(entry)
    assert told["namingContexts"] == [BASE, OTHER]
    assert told["supportedLDAPVersion"] == ["3"]
    assert messages.PAGED_RESULTS in told["supportedControl"]
    assert told["vendorName"] == ["Hermes"]
    [schema, _] = Talk().say(search(1, base=told["subschemaSubentry"][0], scope="BASE"))
    assert any("NAME 'inetOrgPerson'" in line for line in shown(schema)["objectClasses"])
    assert any("NAME ( 'cn' 'commonName' )" in line for line in shown(schema)["attributeTypes"])


def test_all_that_is_shown_of_a_person():
    [entry, _] = Talk().say(search(1, "(sn=lovelace)", attributes=["*", "+"]))
    assert entry.body["name"].decode() == ADA
    assert shown(entry) == {
        "objectClass": ["top", "person", "organizationalPerson", "inetOrgPerson"],
        "cn": ["Ada Lovelace"],
        "sn": ["Lovelace"],
        "givenName": ["Ada"],
        "displayName": ["Ada Lovelace"],
        "mail": ["ada.lovelace@minasi.example", "ada@minasi.example"],
        "uid": ["ada.lovelace"],
        "title": ["Countess"],
        "ou": ["Engines"],
        "departmentNumber": ["Engines"],
        "telephoneNumber": ["+44 20 7946-0000"],
        "o": ["minasi.example"],
        "structuralObjectClass": ["inetOrgPerson"],
        "subschemaSubentry": ["cn=Subschema"],
        "createTimestamp": ["20010909014640Z"],
    }


def test_who_has_no_name_gets_the_mandatory_ones_from_the_address():
    [entry, _] = Talk().say(search(1, "(uid=o,hara+x)", base=OTHER, attributes=["cn", "sn"]))
    assert shown(entry) == {"cn": ["o,hara+x"], "sn": ["o,hara+x"]}


def test_a_name_of_spaces_is_still_a_name():
    [entry, _] = Talk(Folk([Person(id=1, address="x@minasi.example", display_name=" ")])).say(search(1, "(mail=x@*)"))
    assert all(shown(entry)[kind] for kind in ("cn", "sn"))


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        ([], ["objectClass", "cn", "sn", "displayName", "mail", "uid", "ou", "departmentNumber", "o"]),
        (["*"], ["objectClass", "cn", "sn", "displayName", "mail", "uid", "ou", "departmentNumber", "o"]),
        (["+"], ["structuralObjectClass", "subschemaSubentry"]),
        (["1.1"], []),
        (["1.1", "cn"], ["cn"]),
        (["CN", "surname", "2.5.4.11", "nonsense", "mail;x-y"], ["cn", "sn", "ou"]),
        (["cn", "structuralobjectclass"], ["cn", "structuralObjectClass"]),
        (["nonsense"], []),
    ],
)
def test_attributes_that_are_asked_for(wanted, kinds):
    [entry, _] = Talk().say(search(1, "(mail=anders@*)", attributes=wanted))
    assert list(shown(entry)) == kinds


def test_types_only():
    [entry, _] = Talk().say(search(1, "(mail=anders@*)", attributes=["cn", "mail"], types_only=True))
    assert shown(entry) == {"cn": [], "mail": []}


def test_what_a_list_shows():
    [entry, _] = Talk().say(search(1, "(mail=staff@*)"))
    assert shown(entry)["mail"] == ["staff@minasi.example"]
    assert "member" not in shown(entry)


def test_who_is_in_no_domain_of_ours_is_shown_all_the_same():
    talk = Talk(Folk([Person(id=1, address="x@elsewhere.example")], [Resolution("list", "l@elsewhere.example")]))
    assert found(talk, "(mail=*)") == [
        f"mail=x@elsewhere.example,{PEOPLE}",
        f"mail=l@elsewhere.example,ou=lists,{BASE}",
    ]


# Limits.


@pytest.mark.parametrize(("asked", "ours", "wanted"), [(2, 1000, 2), (0, 3, 3), (5, 3, 3), (2, 3, 2)])
def test_the_smaller_size_limit_counts(asked, ours, wanted):
    said = Talk(limits=Limits(ours, 10.0)).say(search(1, size=asked))
    assert (len(names(said)), said[-1].body["code"]) == (wanted, SIZE_LIMIT_EXCEEDED)


def test_as_many_as_the_limit_is_no_excess():
    said = Talk().say(search(1, "(|(sn=lovelace)(sn=ångström))", size=2))
    assert (len(names(said)), said[-1].body["code"]) == (2, SUCCESS)


@pytest.mark.parametrize(("asked", "ours", "seconds"), [(0, 10.0, 10.0), (3, 10.0, 3.0), (60, 10.0, 10.0)])
def test_the_smaller_time_limit_counts(asked, ours, seconds):
    for moved, code in ((seconds, SUCCESS), (seconds + 0.1, TIME_LIMIT_EXCEEDED)):
        talk = Talk(folk(5000), limits=Limits(10_000, ours))
        talk.say(search(1, size=1))
        talk.session.feed(search(2, time=asked))
        talk.session.go_on()
        talk.clock.seconds += moved
        assert talk.say()[-1].body["code"] == code


def test_the_time_limit_holds_while_the_book_is_read():
    talk = Talk(folk(5000))
    talk.session.feed(search(1))
    talk.session.go_on()
    talk.clock.seconds += 11
    assert [reply.body["code"] for reply in talk.say()] == [TIME_LIMIT_EXCEEDED]


@pytest.mark.parametrize("how", [{"size": -1}, {"time": -1}])
def test_limits_below_zero(how):
    octets = search(1, size=77, time=78)
    octets = octets.replace(b"\x02\x01\x4d", b"\x02\x01\xff" if "size" in how else b"\x02\x01\x00")
    octets = octets.replace(b"\x02\x01\x4e", b"\x02\x01\xff" if "time" in how else b"\x02\x01\x00")
    assert Talk().say(octets)[-1].body["code"] == PROTOCOL_ERROR


def test_a_scope_that_there_is_not():
    octets = search(1).replace(b"\x0a\x01\x02\x0a", b"\x0a\x01\x07\x0a")
    assert Talk().say(octets)[-1].body["code"] == PROTOCOL_ERROR


def test_a_piece_of_work_is_small():
    """Thousands of people, some hundred at a time: the loop has room for others in between."""
    talk = Talk(folk(5000))
    talk.say(search(1, size=1))
    talk.session.feed(search(2, "(|" + "(cn=*x*)" * 20 + ")"))
    turns = 0
    while talk.session.go_on():
        turns += 1
    assert turns >= 5000 * 40 / 6000 / 2


# Pages.


def pages(talk: Talk, size: int, **how: object) -> list[list[str]]:
    read: list[list[str]] = []
    cookie = b""
    while True:
        said = talk.say(paged(1, size, cookie, **how))
        assert said[-1].body["code"] == SUCCESS
        read.append(names(said))
        cookie = said[-1].cookie or b""
        if not cookie:
            return read


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("base", "scope"), [(BASE, "SUBTREE"), ("", "SUBTREE"), (BASE, "LEVEL"), (PEOPLE, "LEVEL")])
def test_pages_are_the_whole(size, base, scope):
    talk = Talk(folk(20))
    whole = found(talk, base=base, scope=scope)
    read = pages(talk, size, base=base, scope=scope)
    assert [name for page in read for name in page] == whole
    assert all(len(page) == size for page in read[:-1])
    assert read[-1]


def test_pages_go_beyond_our_size_limit_and_are_no_larger():
    talk = Talk(folk(20), limits=Limits(5, 10.0))
    read = pages(talk, 100, base=PEOPLE, scope="LEVEL")
    assert [len(page) for page in read] == [5, 5, 5, 4]


def test_the_clients_size_limit_is_for_all_pages():
    talk = Talk(folk(20))
    first = talk.say(paged(1, 3, size=5))
    second = talk.say(paged(2, 3, first[-1].cookie or b"", size=5))
    assert (len(names(first)), first[-1].body["code"]) == (3, SUCCESS)
    assert (len(names(second)), second[-1].body["code"], second[-1].cookie) == (2, SIZE_LIMIT_EXCEEDED, b"")


def test_pages_go_on_where_they_were_when_people_come_and_go():
    directory = folk(20)
    talk = Talk(directory)
    first = talk.say(paged(1, 5, base=PEOPLE, scope="LEVEL"))
    del directory.all[2], directory.all[12]
    directory.put(Person(id=99, address="new@minasi.example"))
    other = Talk(directory)
    second = other.say(paged(1, 100, first[-1].cookie or b"", base=PEOPLE, scope="LEVEL"))
    assert set(names(first)) & set(names(second)) == set()
    assert names(second)[0].startswith("mail=number3@")
    assert names(second)[-1].startswith("mail=new@")


def test_a_cookie_of_another_search_or_of_nobody_is_refused():
    talk = Talk(folk(20))
    cookie = talk.say(paged(1, 5))[-1].cookie or b""
    for octets in (
        paged(2, 5, cookie, text="(cn=*)"),
        paged(2, 5, cookie, base=PEOPLE),
        paged(2, 5, b"x"),
        paged(2, 5, msgspec.msgpack.encode([1, 2, 3, 4])),
        paged(2, 5, b"\x94" + b"\xc1" * 50),
    ):
        [reply] = talk.say(octets)
        assert reply.body["code"] == UNWILLING_TO_PERFORM


@pytest.mark.parametrize(
    "place", [[0, 99, 0], [0, 2, "x"], [0, 2, 2**70], [0, 0, "x"], [2**62, 2, 5], [0, -1, 0], [-5, 0, 0]]
)
def test_a_cookie_that_somebody_made_up_harms_nobody(place):
    talk = Talk(folk(20))
    digest = msgspec.msgpack.decode(talk.say(paged(1, 5))[-1].cookie or b"")[0]
    try:
        cookie = msgspec.msgpack.encode([digest, *place])
    except OverflowError:
        cookie = b"\x94\x00\x00\x00\xcf" + b"\xff" * 8
    assert talk.say(paged(2, 5, cookie))[-1].kind == "searchDone"


def test_a_page_of_nothing_ends_the_pages():
    talk = Talk(folk(20))
    cookie = talk.say(paged(1, 5))[-1].cookie or b""
    [reply] = talk.say(paged(2, 0, cookie))
    assert (reply.body["code"], reply.cookie) == (SUCCESS, b"")


@pytest.mark.parametrize("value", [None, b"", b"\x30\x00", b"x", b"\x30\x05\x02\x01\xff\x04\x00", b"\x30\x80\x00\x00"])
def test_a_control_for_pages_that_is_none(value):
    [reply] = Talk().say(search(1, controls=[(messages.PAGED_RESULTS, True, value)]))
    assert (reply.number, reply.body["code"]) == (1, PROTOCOL_ERROR)


def test_unknown_controls():
    [reply] = Talk().say(search(1, controls=[("1.2.3", True, b"x")]))
    assert reply.body["code"] == UNAVAILABLE_CRITICAL_EXTENSION
    assert Talk().say(search(1, controls=[("1.2.3", False, b"x")]))[-1].body["code"] == SUCCESS


# A directory that changes, or is gone.


def test_a_search_sees_what_was_committed_before_it():
    directory = folk()
    talk = Talk(directory)
    assert found(talk, "(sn=byron)") == []
    directory.put(msgspec.structs.replace(directory.all[2], surname="Byron", changed=1))
    assert found(talk, "(sn=byron)") == [ADA]
    assert found(talk, "(sn=lovelace)") == []
    del directory.all[2]
    directory.put()
    assert found(talk, "(sn=byron)") == []


def test_a_change_while_the_book_is_read_is_seen_by_the_next_search():
    directory = folk(2000)
    talk = Talk(directory)
    talk.session.feed(search(1, "(cn=new)"))
    talk.session.go_on()
    directory.put(Person(id=1, address="new@minasi.example", display_name="new"))
    assert names(talk.say(search(2, "(cn=new)"))) == [f"mail=new@minasi.example,{PEOPLE}"]


def test_the_book_is_read_once_for_many_searches_and_again_only_after_a_change():
    directory = folk(2000)
    talk = Talk(directory)
    talk.say(*(search(number, "(cn=x)") for number in range(1, 9)))
    once = directory.reads
    assert once < 2000 / 100 + 20
    talk.say(search(1, "(cn=x)"))
    assert directory.reads == once + 1


def test_a_directory_that_cannot_be_read_and_comes_back():
    directory = folk(500)
    talk = Talk(directory)
    directory.broken = True
    [reply] = talk.say(search(1))
    assert reply.body["code"] == UNAVAILABLE
    assert talk.say(search(2, base="", scope="BASE"))[-1].body["code"] == SUCCESS
    directory.broken = False
    talk.session.feed(search(3))
    talk.session.go_on()
    directory.broken = True
    assert talk.say()[-1].body["code"] == UNAVAILABLE
    directory.broken = False
    assert len(found(talk, base=PEOPLE, scope="LEVEL")) == 499


def test_a_person_who_was_made_in_no_year_of_a_calendar_is_shown_all_the_same() -> None:
    entry = PersonEntry(Person(id=1, address="far@minasi.example", created=1 << 52), "dc=minasi,dc=example")
    assert entry.values["createTimestamp"] == ("99991231000000Z",)
