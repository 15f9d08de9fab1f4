"""The form of messages: what is too large, too deep or not BER at all costs no more than its octets."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.ldap import messages
from mta.ldap.messages import BadMessage, check_form, decode, frame_length
from tests.harness.ldap_wire import Talk, bind, extended, paged, replies, request, search

REQUESTS = [
    search(2, "(&(mail=*)(|(cn=an*)(mail=an*)(sn=an*)))", attributes=["cn", "mail"]),
    search(3, "(!(cn:caseIgnoreMatch:=ada))", scope="BASE", size=5, time=3),
    paged(4, 2, text="(|(cn=*ada*)(cn>=b)(cn~=c))"),
    bind(5, "ada@minasi.example", "secret"),
    request(6, "compareRequest", {"entry": b"dc=minasi,dc=example", "assertion": {"type": b"dc", "value": b"minasi"}}),
    request(7, "abandonRequest", 2),
    extended(8, messages.WHO_AM_I),
    request(9, "delRequest", b"dc=minasi,dc=example"),
    request(10, "unbindRequest", None),
]


def nested(levels: int, tag: int = 0xA0, inner: bytes = b"\x87\x02cn") -> bytes:
    """``inner`` in so many elements, each with as short a length as it takes."""
    whole = inner
    for _ in range(levels):
        size = len(whole)
        whole = bytes([tag]) + (bytes([size]) if size < 128 else b"\x84" + size.to_bytes(4, "big")) + whole
    return whole


def search_with(raw_filter: bytes, number: bytes = b"\x02\x01\x02") -> bytes:
    """A search request around a filter that no client would make."""
    parts = b"\x04\x00\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00" + raw_filter + b"\x30\x00"
    operation = b"\x63\x84" + len(parts).to_bytes(4, "big") + parts
    return b"\x30\x84" + len(number + operation).to_bytes(4, "big") + number + operation


HOSTILE = {
    "no sequence": b"\x04\x05hello",
    "HTTP": b"GET / HTTP/1.0\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00",
    "indefinite length": b"\x30\x80\x02\x01\x01\x42\x00\x00\x00",
    "length of 4 GiB": b"\x30\x84\xff\xff\xff\xff",
    "length of 64 KiB and one": b"\x30\x83\x01\x00\x00",
    "length of 126 octets": b"\x30\xfe" + b"\xff" * 126,
    "reserved length": b"\x30\xff",
    "id of another type": b"\x30\x05\x04\x01\x02\x42\x00",
    "negative id": b"\x30\x05\x02\x01\xff\x42\x00",
    "id 0": b"\x30\x05\x02\x01\x00\x42\x00",
    "id above 2**31": b"\x30\x09\x02\x05\x01\x00\x00\x00\x00\x42\x00",
    "id of 60,000 octets": b"\x30\x82\xea\x66\x02\x82\xea\x60" + b"\x7f" * 60_000 + b"\x42\x00",
    "no operation": b"\x30\x03\x02\x01\x02",
    "unknown operation": b"\x30\x05\x02\x01\x02\x5d\x00",
    "a reply": request(2, "searchDone", {"code": 0, "matched": b"", "text": b""}),
    "inner length beyond the message": b"\x30\x05\x02\x01\x02\x42\x7f",
    "inner length of 4 GiB": b"\x30\x0a\x02\x01\x02\x63\x84\xff\xff\xff\xff\x00",
    "inner indefinite length": search_with(b"\xa0\x80\x87\x02cn\x00\x00"),
    "tag of many octets": b"\x30\x07\x02\x01\x02\x7f\x81\x01\x00",
    "an element of one octet": b"\x30\x04\x02\x01\x02\x42",
    "10,000 nested ANDs": search_with(nested(10_000)),
    "10,000 nested NOTs": search_with(nested(10_000, 0xA2)),
    "1,000 nested SEQUENCEs": b"\x30\x82\x07\xd4" + b"\x02\x01\x02" + nested(500, 0x30, b""),
    "16,000 empty ORs": search_with(b"\xa1\x82\x7d\x00" + b"\xa1\x00" * 16_000),
    "a filter without content": search_with(b""),
    "bind without a password": b"\x30\x0a\x02\x01\x02\x60\x05\x02\x01\x03\x04\x00",
}


@pytest.mark.parametrize("octets", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_request_ends_the_connection_with_a_notice(octets):
    talk = Talk()
    started = time.process_time()
    said = talk.say(octets, search(9))
    assert time.process_time() - started < 0.5
    assert [(reply.number, reply.kind, reply.body["code"]) for reply in said] == [(0, "extendedResponse", 2)]
    assert said[0].body["name"] == b"1.3.6.1.4.1.1466.20036"
    assert talk.session.closing
    assert talk.session.buffered == 0
    assert talk.say(search(3)) == []


def test_a_length_beyond_the_limit_is_refused_by_its_first_octets():
    assert frame_length(b"\x30") == frame_length(b"\x30\x84\x00\x01\x00") == 0
    assert frame_length(b"\x30\x84\x00\x00\xff\xfa") == messages.MESSAGE_SIZE
    with pytest.raises(BadMessage, match="65536"):
        frame_length(b"\x30\x84\x00\x00\xff\xfb")


def test_the_largest_request_is_answered_and_one_octet_more_is_not():
    name = b"cn=" + b"x" * 60_000
    whole = request(2, "delRequest", name)
    name += b"x" * (messages.MESSAGE_SIZE - len(whole))
    [reply] = Talk().say(request(2, "delRequest", name))
    assert (reply.kind, reply.body["code"]) == ("delResponse", messages.UNWILLING_TO_PERFORM)
    [reply] = Talk().say(request(2, "delRequest", name + b"x"))
    assert (reply.number, reply.body["code"]) == (0, messages.PROTOCOL_ERROR)


def test_nesting_and_elements_up_to_the_limit_have_the_right_form():
    check_form(nested(messages.NESTING - 1, 0x30, b"\x04\x00"))
    with pytest.raises(BadMessage):
        check_form(nested(messages.NESTING, 0x30, b"\x04\x00"))
    flat = b"\x04\x00" * (messages.ELEMENTS - 1)
    check_form(b"\x30\x82" + len(flat).to_bytes(2, "big") + flat)
    flat += b"\x04\x00"
    with pytest.raises(BadMessage):
        check_form(b"\x30\x82" + len(flat).to_bytes(2, "big") + flat)


def test_what_a_later_version_adds_to_a_request_is_passed_over():
    """RFC 4511 §4: unknown trailing components of a SEQUENCE are ignored."""
    assert decode(b"\x30\x08\x02\x01\x02\x42\x00\x8f\x01x").kind == "unbindRequest"


def test_a_filter_of_a_kind_that_nobody_knows_finds_nothing():
    for raw in (b"\x8b\x02cn", b"\xa2\x04\x8b\x02cn"):
        assert [reply.kind for reply in Talk().say(search_with(raw))] == ["searchDone"]


def test_a_length_may_take_more_octets_than_it_must():
    """BER, not DER: OpenLDAP's and Microsoft's clients write 84 00 00 00 05."""
    assert decode(b"\x30\x84\x00\x00\x00\x05\x02\x01\x02\x42\x00").number == 2


@pytest.mark.parametrize("octets", REQUESTS, ids=range(len(REQUESTS)))
def test_whole_octet_by_octet_and_with_a_neighbour_all_is_the_same(octets):
    def answers(step: int, *requests: bytes) -> list[object]:
        return list(Talk(octets=step).say(*requests))

    whole = answers(0, octets)
    assert answers(1, octets) == answers(7, octets) == whole
    alone = answers(0, search(90, base="", scope="BASE"))
    if octets not in (REQUESTS[3], REQUESTS[-1]):
        assert sorted(map(str, answers(0, octets, search(90, base="", scope="BASE")))) == sorted(
            map(str, whole + alone)
        )


@given(st.binary(max_size=300))
def test_any_octets_are_answered_or_end_the_connection(octets):
    talk = Talk()
    said = talk.say(octets)
    assert all(reply.number or talk.session.closing for reply in said)
    whole = [str(reply) for reply in said]
    bit_by_bit = Talk(octets=1)
    assert [str(reply) for reply in bit_by_bit.say(octets)] == whole


@given(st.sampled_from(REQUESTS), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_request_with_octets_changed_never_breaks_the_session(octets, changes):
    changed = bytearray(octets)
    for at, octet in changes:
        changed[at % len(changed)] = octet
    talk = Talk()
    said = talk.say(bytes(changed))
    for reply in said:
        assert reply.number >= 0
    if not talk.session.closing and not talk.session.buffered and talk.session.login is None:
        assert talk.say(search(90, base="", scope="BASE"))[-1].body["code"] == 0


@given(st.sampled_from(REQUESTS), st.integers(0, 200))
def test_a_request_that_is_cut_off_waits(octets, length):
    talk = Talk()
    cut = octets[: min(length, len(octets) - 1)]
    assert talk.say(cut) == []
    assert talk.session.buffered == len(cut)


def test_replies_are_read_back_by_their_own_tags():
    [entry, done] = replies(
        messages.search_entry(7, "dc=x", [("cn", ("Ångström",))]) + messages.search_done(7, 0, cookie=b"more")
    )
    assert entry.body["attributes"] == [{"type": b"cn", "values": ["Ångström".encode()]}]
    assert (done.kind, done.cookie) == ("searchDone", b"more")
    for kind, reply in messages.REPLIES.items():
        if kind != "extendedRequest":
            [found] = replies(messages.result(3, kind, 53, "no", "dc=example"))
            assert (found.kind, found.body) == (reply, {"code": 53, "matched": b"dc=example", "text": b"no"})
