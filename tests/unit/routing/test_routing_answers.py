"""Reading DNS messages: chains, negative TTLs, and the bounds on what is kept."""

import dns.message
import pytest
from dns.rdatatype import RdataType

from mta.routing.answers import (
    MAX_NEGATIVE_TTL,
    MAX_RECORDS,
    Alias,
    Answer,
    DnsTrouble,
    Kind,
    MxRecord,
    Reason,
    read_answer,
)

HEADER = "id 1\nopcode QUERY\nrcode {rcode}\nflags QR RD RA\n;QUESTION\na.example. IN {rdtype}\n;ANSWER"


def read(
    answer: str = "", authority: str = "", rcode: str = "NOERROR", rdtype: str = "MX"
) -> Answer[MxRecord] | Answer[str] | Alias:
    lines = [HEADER.format(rcode=rcode, rdtype=rdtype), answer, ";AUTHORITY", authority]
    text = "\n".join(filter(None, lines)) + "\n"
    message = dns.message.from_wire(dns.message.from_text(text).to_wire())
    return read_answer(message, "a.example", RdataType[rdtype])


SOA = "example. {ttl} IN SOA ns.example. h.example. 1 2 3 4 {minimum}"


def test_mx_records_are_lower_case_sorted_and_without_the_final_dot() -> None:
    said = read("a.example. 300 IN MX 20 B.Example.\na.example. 300 IN MX 10 C.example.\na.example. 300 IN MX 30 .")
    assert said == Answer(Kind.FOUND, (MxRecord(10, "c.example"), MxRecord(20, "b.example"), MxRecord(30, ".")), 300)


def test_the_ttl_is_the_least_in_the_chain() -> None:
    said = read(
        "a.example. 50 IN CNAME b.example.\nb.example. 300 IN CNAME c.example.\nc.example. 200 IN A 192.0.2.1",
        rdtype="A",
    )
    assert said == Answer(Kind.FOUND, ("192.0.2.1",), 50)


def test_records_of_other_names_do_not_count() -> None:
    assert read("other.example. 50 IN MX 1 evil.example.") == Answer(Kind.NODATA, (), 60)


def test_a_chain_that_leaves_the_zone_has_to_be_followed() -> None:
    assert read("a.example. 50 IN CNAME B.other.") == Alias("b.other", 50)


def test_a_chain_that_ends_in_nothing_is_no_data_when_the_soa_says_so() -> None:
    assert read("a.example. 50 IN CNAME b.example.", SOA.format(ttl=30, minimum=500)) == Answer(Kind.NODATA, (), 30)


def test_a_chain_that_goes_round_is_a_loop() -> None:
    with pytest.raises(DnsTrouble) as caught:
        read("a.example. 50 IN CNAME b.example.\nb.example. 50 IN CNAME a.example.")
    assert caught.value.reason is Reason.LOOP


@pytest.mark.parametrize(
    ("ttl", "minimum", "kept"), [(900, 300, 300), (200, 300, 200), (86400, 86400, MAX_NEGATIVE_TTL), (0, 5, 1)]
)
def test_a_negative_answer_lasts_as_long_as_the_soa_says(ttl: int, minimum: int, kept: int) -> None:
    assert read(authority=SOA.format(ttl=ttl, minimum=minimum), rcode="NXDOMAIN") == Answer(Kind.NXDOMAIN, (), kept)
    assert read(authority=SOA.format(ttl=ttl, minimum=minimum)) == Answer(Kind.NODATA, (), kept)


def test_an_alias_to_a_name_that_does_not_exist_is_no_such_name() -> None:
    said = read("a.example. 50 IN CNAME b.example.", SOA.format(ttl=900, minimum=900), rcode="NXDOMAIN")
    assert said == Answer(Kind.NXDOMAIN, (), 50)


@pytest.mark.parametrize(("ttl", "kept"), [(0, 1), (2**31 - 1, 86400), (100, 100)])
def test_odd_ttls_are_bounded(ttl: int, kept: int) -> None:
    assert read(f"a.example. {ttl} IN A 192.0.2.1", rdtype="A") == Answer(Kind.FOUND, ("192.0.2.1",), kept)


@pytest.mark.parametrize(
    ("rcode", "reason"), [("SERVFAIL", Reason.SERVFAIL), ("REFUSED", Reason.REFUSED), ("FORMERR", Reason.SERVFAIL)]
)
def test_other_codes_are_trouble_and_say_nothing_about_the_name(rcode: str, reason: Reason) -> None:
    with pytest.raises(DnsTrouble) as caught:
        read(rcode=rcode)
    assert caught.value.reason is reason


def test_of_a_thousand_records_the_best_hundred_are_kept() -> None:
    said = read("\n".join(f"a.example. 300 IN MX {1000 - i} h{i}.example." for i in range(1000)))
    assert isinstance(said, Answer)
    assert len(said.records) == MAX_RECORDS
    assert said.records[0] == MxRecord(1, "h999.example")
