"""The session: what is answered how, and when."""

import pytest

from mta.ldap import messages
from mta.ldap.messages import (
    ADMIN_LIMIT_EXCEEDED,
    AUTH_METHOD_NOT_SUPPORTED,
    BUSY,
    COMPARE_FALSE,
    COMPARE_TRUE,
    CONFIDENTIALITY_REQUIRED,
    INAPPROPRIATE_AUTHENTICATION,
    INSUFFICIENT_ACCESS_RIGHTS,
    INVALID_CREDENTIALS,
    INVALID_DN_SYNTAX,
    NO_SUCH_ATTRIBUTE,
    NO_SUCH_OBJECT,
    OPERATIONS_ERROR,
    PROTOCOL_ERROR,
    SUCCESS,
    UNAVAILABLE,
    UNAVAILABLE_CRITICAL_EXTENSION,
    UNDEFINED_ATTRIBUTE_TYPE,
    UNWILLING_TO_PERFORM,
)
from mta.ldap.session import RUNNING, Login
from tests.harness.ldap_wire import BASE, PEOPLE, Talk, bind, extended, folk, request, search, shown

ADA = f"mail=ada.lovelace@minasi.example,{PEOPLE}"
ROOT = search(1, base="", scope="BASE")


def code(talk: Talk, octets: bytes) -> int:
    """Of the only reply."""
    [reply] = talk.say(octets)
    return int(reply.body["code"])


def compare(entry: str, kind: str, value: bytes, number: int = 2) -> bytes:
    assertion = {"type": kind.encode(), "value": value}
    return request(number, "compareRequest", {"entry": entry.encode(), "assertion": assertion})


# Bind.


def test_anonymous_bind():
    assert code(Talk(), bind(1)) == SUCCESS


def test_anonymous_bind_where_it_is_not_wanted():
    talk = Talk(anonymous=False)
    assert code(talk, bind(1)) == INAPPROPRIATE_AUTHENTICATION
    assert code(talk, search(2)) == INSUFFICIENT_ACCESS_RIGHTS
    assert code(talk, compare(BASE, "dc", b"minasi")) == INSUFFICIENT_ACCESS_RIGHTS
    assert talk.say(ROOT)[-1].body["code"] == SUCCESS
    assert talk.say(search(3, base="cn=subschema", scope="BASE"))[-1].body["code"] == SUCCESS


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (ADA, "ada.lovelace@minasi.example"),
        (f"MAIL=Ada@Minasi.Example , {BASE}", "ada@minasi.example"),
        (f"uid=ada,{PEOPLE}", "ada@minasi.example"),
        ("uid=x,dc=arlington,dc=example", "x@arlington.example"),
        ("ada@minasi.example", "ada@minasi.example"),
        ("a=b@minasi.example", "a=b@minasi.example"),
        ("cn=ada," + PEOPLE, "cn=ada," + PEOPLE),
        ("mail=ada@minasi.example,dc=elsewhere", "mail=ada@minasi.example,dc=elsewhere"),
        ("nonsense", "nonsense"),
    ],
)
def test_whom_a_name_means(name, address):
    """One that means nobody is asked for all the same: the time must not tell."""
    talk = Talk(tls="on")
    assert talk.say(bind(1, name, "secret")) == []
    assert talk.session.login == Login(address, "secret")


def test_a_right_password():
    talk = Talk(tls="on", anonymous=False)
    assert talk.say(bind(1, "ada@minasi.example", "secret"), search(2), extended(3, messages.WHO_AM_I)) == []
    talk.session.answer_login(SUCCESS)
    said = talk.say()
    assert [(reply.number, reply.kind) for reply in said][:1] == [(1, "bindResponse")]
    assert {reply.number for reply in said if "code" in reply.body and reply.body["code"] == SUCCESS} == {1, 2, 3}
    assert [reply.body["value"] for reply in said if reply.kind == "extendedResponse"] == [b"u:ada@minasi.example"]


def test_a_wrong_password_leaves_nobody():
    talk = Talk(tls="on", anonymous=False)
    talk.say(bind(1, "ada@minasi.example", "secret"))
    talk.session.answer_login(SUCCESS)
    talk.say()
    talk.say(bind(2, "ada@minasi.example", "guess"))
    talk.session.answer_login(INVALID_CREDENTIALS)
    [reply] = talk.say()
    assert (reply.number, reply.body["code"]) == (2, INVALID_CREDENTIALS)
    assert code(talk, search(3)) == INSUFFICIENT_ACCESS_RIGHTS
    assert talk.say(extended(4, messages.WHO_AM_I))[0].body["value"] == b""


@pytest.mark.parametrize(
    ("octets", "wanted"),
    [
        (bind(1, "ada@minasi.example", ""), UNWILLING_TO_PERFORM),
        (bind(1, version=2), PROTOCOL_ERROR),
        (bind(1, "ada@minasi.example", b"\xff"), INVALID_CREDENTIALS),
        (
            request(1, "bindRequest", {"version": 3, "name": b"", "authentication": ("sasl", {})}),
            AUTH_METHOD_NOT_SUPPORTED,
        ),
    ],
)
def test_binds_that_are_refused(octets, wanted):
    talk = Talk(tls="on")
    assert code(talk, octets) == wanted
    assert talk.session.login is None


def test_passwords_only_with_tls():
    octets = bind(1, "ada@minasi.example", "secret")
    for tls in ("none", "offered", "required"):
        assert code(Talk(tls=tls), octets) == CONFIDENTIALITY_REQUIRED
    talk = Talk(plaintext=True)
    assert talk.say(octets) == []
    assert talk.session.login is not None


def test_a_bind_drops_what_is_running():
    talk = Talk(folk(500))
    talk.session.feed(search(1) + bind(2))
    talk.session.go_on()
    assert [reply.number for reply in talk.say()] == [2]


# StartTLS.


def test_start_tls():
    talk = Talk(tls="required")
    assert code(talk, search(1)) == CONFIDENTIALITY_REQUIRED
    assert code(talk, bind(2)) == CONFIDENTIALITY_REQUIRED
    [root, _] = talk.say(ROOT)
    assert messages.START_TLS in shown(root)["supportedExtension"]
    [reply] = talk.say(extended(3, messages.START_TLS))
    assert (reply.number, reply.body["code"], reply.body["name"]) == (3, SUCCESS, messages.START_TLS.encode())
    assert talk.session.wants_tls
    talk.session.tls_started()
    assert talk.say(search(4))[-1].body["code"] == SUCCESS
    assert code(talk, extended(5, messages.START_TLS)) == OPERATIONS_ERROR
    assert messages.START_TLS not in shown(talk.say(ROOT)[0])["supportedExtension"]


def test_octets_behind_start_tls_go_with_the_connection():
    for octets in (bind(4), b"\x16"):
        talk = Talk(tls="offered")
        said = talk.say(extended(3, messages.START_TLS) + octets)
        assert [(reply.number, reply.body["code"]) for reply in said] == [(0, PROTOCOL_ERROR)]
        talk = Talk(tls="offered")
        talk.say(extended(3, messages.START_TLS))
        said = talk.say(octets)
        assert [(reply.number, reply.body["code"]) for reply in said] == [(0, PROTOCOL_ERROR)]
        assert talk.session.closing
        assert not talk.session.wants_tls


def test_no_start_tls_while_a_search_runs():
    talk = Talk(folk(500), tls="offered")
    talk.session.feed(search(1) + extended(2, messages.START_TLS))
    said = talk.say()
    assert {reply.number: reply.body["code"] for reply in said if "code" in reply.body} == {1: 0, 2: OPERATIONS_ERROR}


def test_start_tls_where_there_is_none():
    assert code(Talk(), extended(1, messages.START_TLS)) == PROTOCOL_ERROR


# Other operations.


def test_unknown_extended_operations_and_changes_are_refused():
    talk = Talk()
    assert code(talk, extended(1, "1.3.6.1.4.1.4203.1.11.1")) == PROTOCOL_ERROR
    assert code(talk, request(2, "delRequest", ADA.encode())) == UNWILLING_TO_PERFORM
    for number, kind in enumerate(("modifyRequest", "addRequest", "modDNRequest"), 3):
        [reply] = talk.say(request(number, kind, {}))
        assert (reply.kind, reply.body["code"]) == (messages.REPLIES[kind], UNWILLING_TO_PERFORM)


@pytest.mark.parametrize("kind", ["modifyRequest", "bindRequest", "extendedRequest"])
def test_a_critical_control_that_we_do_not_know(kind):
    body = {
        "modifyRequest": {},
        "bindRequest": {"version": 3, "name": b"", "authentication": ("simple", b"")},
        "extendedRequest": {"name": messages.WHO_AM_I.encode()},
    }[kind]
    for control, critical, wanted in (
        ("1.2.3", True, UNAVAILABLE_CRITICAL_EXTENSION),
        (messages.PAGED_RESULTS, True, UNAVAILABLE_CRITICAL_EXTENSION),
        ("1.2.3", False, None),
        (messages.MANAGE_DSA_IT, True, None),
    ):
        [reply] = Talk().say(request(1, kind, body, controls=[{"type": control.encode(), "critical": critical}]))
        assert (reply.body["code"] == UNAVAILABLE_CRITICAL_EXTENSION) is (wanted is not None)


def test_compare():
    talk = Talk()
    assert code(talk, compare(ADA, "sn", b"LOVELACE")) == COMPARE_TRUE
    assert code(talk, compare(ADA, "mail", b"ada@minasi.example")) == COMPARE_TRUE
    assert code(talk, compare(ADA, "sn", b"Babbage")) == COMPARE_FALSE
    assert code(talk, compare(ADA, "dc", b"x")) == NO_SUCH_ATTRIBUTE
    assert code(talk, compare(ADA, "nonsense", b"x")) == UNDEFINED_ATTRIBUTE_TYPE
    assert code(talk, compare(ADA, "sn", b"\xff")) == UNDEFINED_ATTRIBUTE_TYPE
    assert code(talk, compare("", "supportedLDAPVersion", b"3")) == COMPARE_TRUE
    assert code(talk, compare("x", "sn", b"x")) == INVALID_DN_SYNTAX
    [reply] = talk.say(compare(f"mail=x@y,{PEOPLE}", "sn", b"x"))
    assert (reply.body["code"], reply.body["matched"]) == (NO_SUCH_OBJECT, PEOPLE.encode())
    talk.directory.broken = True
    assert code(talk, compare(ADA, "sn", b"x")) == UNAVAILABLE


def test_unbind_ends_without_a_word():
    talk = Talk(folk(500))
    talk.session.feed(search(1) + request(2, "unbindRequest", None) + search(3))
    assert talk.say() == []
    assert talk.session.closing


def test_abandon():
    talk = Talk(folk(2000))
    talk.session.feed(search(1) + search(2))
    talk.session.go_on()
    said = talk.say(request(3, "abandonRequest", 1), request(4, "abandonRequest", 77))
    assert {reply.number for reply in said} == {2}


def test_an_id_is_used_once_at_a_time():
    talk = Talk(folk(500))
    assert talk.say(search(1))[-1].body["code"] == SUCCESS
    assert talk.say(search(1))[-1].body["code"] == SUCCESS
    [reply] = talk.say(search(1), search(1))
    assert (reply.number, reply.body["code"]) == (0, PROTOCOL_ERROR)
    assert talk.session.closing


def test_so_many_searches_at_a_time_and_no_more():
    talk = Talk(folk(300))
    said = talk.say(*(search(number) for number in range(1, RUNNING + 30)))
    codes = {reply.number: reply.body["code"] for reply in said if reply.kind == "searchDone"}
    assert len(codes) == RUNNING + 29
    assert set(codes.values()) == {SUCCESS, BUSY}
    assert sum(found == SUCCESS for found in codes.values()) >= RUNNING
    assert talk.session.running == 0
    assert talk.searches == sum(found == SUCCESS for found in codes.values())


def test_searches_go_on_in_turn():
    """A short one is not behind a long one."""
    talk = Talk(folk(2000))
    said = talk.say(search(1), search(2, "(cn=ada*)", size=1))
    done = [reply.number for reply in said if reply.kind == "searchDone"]
    assert done == [2, 1]


def test_a_filter_beyond_our_limits_costs_one_search_only():
    talk = Talk()
    deep = "(!" * 20 + "(cn=*)" + ")" * 20
    assert code(talk, search(1, deep)) == ADMIN_LIMIT_EXCEEDED
    assert code(talk, search(2, "(|" + "(cn=a)" * 256 + ")")) == ADMIN_LIMIT_EXCEEDED
    assert talk.searches == 0
    assert talk.say(ROOT)[-1].body["code"] == SUCCESS


def test_shut_is_the_last_word():
    talk = Talk(folk(500))
    talk.session.feed(search(1))
    talk.session.go_on()
    talk.session.take_output()
    talk.session.shut(UNAVAILABLE, "shutting down")
    talk.session.shut(UNAVAILABLE, "shutting down")
    [reply] = talk.say(search(2))
    assert (reply.number, reply.body["code"], reply.body["text"]) == (0, UNAVAILABLE, b"shutting down")


def test_a_login_that_is_settled_too_late_is_nothing():
    talk = Talk(tls="on")
    talk.say(bind(1, "ada@minasi.example", "secret"))
    talk.session.shut(UNAVAILABLE, "shutting down")
    talk.session.take_output()
    talk.session.answer_login(SUCCESS)
    assert talk.session.take_output() == b""
