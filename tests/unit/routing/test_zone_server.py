"""The little name server itself, asked by dnspython's own client."""

import asyncio
import socket

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest

from mta.errors import DataError, UnavailableError
from mta.services.zone import Fault, ZoneServer, zone_from_dict, zone_from_text

MINASI = """
$TTL 600
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
@ MX 10 hermes
hermes A 127.0.0.2
*.load MX 10 hermes
exact.load A 127.0.0.3
www CNAME hermes
out CNAME arlington.example.
"""


def served() -> ZoneServer:
    return ZoneServer(
        [zone_from_dict({"arlington.example": ["A 127.0.0.9"]}), zone_from_text(MINASI, "minasi.example")]
    )


def said(server: ZoneServer, name: str, rdtype: str) -> tuple[str, list[str]]:
    response = server.answer(dns.message.make_query(name, rdtype))
    return dns.rcode.to_text(response.rcode()), [
        line for rrset in response.answer for line in rrset.to_text().split("\n")
    ]


def test_a_zone_text_and_a_dict_stand_side_by_side_and_the_closer_zone_answers() -> None:
    server = served()
    assert said(server, "minasi.example", "MX") == (
        "NOERROR",
        ["minasi.example. 600 IN MX 10 hermes.minasi.example."],
    )
    assert said(server, "arlington.example", "A") == ("NOERROR", ["arlington.example. 300 IN A 127.0.0.9"])


def test_absent_names_absent_types_and_names_between() -> None:
    server = served()
    assert said(server, "no.minasi.example", "A") == ("NXDOMAIN", [])
    assert said(server, "hermes.minasi.example", "MX") == ("NOERROR", [])
    assert said(server, "load.minasi.example", "MX") == ("NOERROR", [])
    negative = server.answer(dns.message.make_query("no.minasi.example", "A"))
    assert "SOA" in negative.authority[0].to_text()


def test_a_wildcard_stands_for_names_that_do_not_exist_only() -> None:
    server = served()
    assert said(server, "a.b.load.minasi.example", "MX")[1] == [
        "a.b.load.minasi.example. 600 IN MX 10 hermes.minasi.example."
    ]
    assert said(server, "exact.load.minasi.example", "MX") == ("NOERROR", [])
    assert said(server, "under.exact.load.minasi.example", "MX") == ("NXDOMAIN", [])


def test_an_alias_brings_its_target_when_it_is_in_the_zone() -> None:
    server = served()
    assert said(server, "www.minasi.example", "A")[1] == [
        "www.minasi.example. 600 IN CNAME hermes.minasi.example.",
        "hermes.minasi.example. 600 IN A 127.0.0.2",
    ]
    assert said(server, "out.minasi.example", "A")[1] == ["out.minasi.example. 600 IN CNAME arlington.example."]


def test_a_name_outside_every_zone_is_refused() -> None:
    assert said(ZoneServer([zone_from_text(MINASI, "minasi.example")]), "example", "A") == ("REFUSED", [])


def test_a_zone_that_does_not_parse_says_where() -> None:
    with pytest.raises(DataError, match=r"zone minasi\.example: .*2"):
        zone_from_text("$TTL 60\n@ MX ten hermes\n", "minasi.example")


async def test_udp_and_tcp_share_a_port_and_faults_come_and_go() -> None:
    server = served()
    await server.start()
    host, port = server.address.split(":")
    query = dns.message.make_query("minasi.example", "MX")
    try:
        assert (await dns.asyncquery.udp(query, host, port=int(port), timeout=5)).answer
        assert (await dns.asyncquery.tcp(query, host, port=int(port), timeout=5)).answer
        server.faults["minasi.example"] = Fault.TRUNCATION
        cut = await dns.asyncquery.udp(query, host, port=int(port), timeout=5)
        assert cut.flags & dns.flags.TC
        assert (await dns.asyncquery.tcp(query, host, port=int(port), timeout=5)).answer
        server.faults["minasi.example"] = Fault.GARBAGE
        with pytest.raises(dns.exception.DNSException):
            await dns.asyncquery.udp(query, host, port=int(port), timeout=5)
        server.faults["*"] = server.faults.pop("minasi.example")
        server.faults["*"] = Fault.FLAP
        codes = [(await dns.asyncquery.udp(query, host, port=int(port), timeout=5)).rcode() for _ in range(4)]
        assert codes == [dns.rcode.NXDOMAIN, dns.rcode.NOERROR] * 2
        server.faults["*"] = Fault.SILENCE
        with pytest.raises(dns.exception.Timeout):
            await dns.asyncquery.udp(query, host, port=int(port), timeout=0.05)
        server.faults["*"] = Fault.SERVFAIL
        assert (await dns.asyncquery.udp(query, host, port=int(port), timeout=5)).rcode() == dns.rcode.SERVFAIL
        assert server.queries["minasi.example", "MX"] == 11
        assert server.transports == {"udp": 9, "tcp": 2}
    finally:
        await server.stop()


async def test_a_late_answer_is_late_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.services.zone.DELAY", 0.05)
    server = served()
    await server.start()
    host, port = server.address.split(":")
    server.faults["*"] = Fault.DELAY
    query = dns.message.make_query("minasi.example", "MX")
    with pytest.raises(dns.exception.Timeout):
        await dns.asyncquery.udp(query, host, port=int(port), timeout=0.01)
    assert (await dns.asyncquery.udp(query, host, port=int(port), timeout=5)).answer
    await server.stop()


async def test_octets_that_are_no_query_get_no_answer_and_do_no_harm() -> None:
    server = served()
    await server.start()
    host, port = server.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\0\3abc")
    assert await reader.read() == b""
    writer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
        stray.sendto(b"abc", (host, int(port)))
    query = dns.message.make_query("minasi.example", "MX")
    assert (await dns.asyncquery.udp(query, host, port=int(port), timeout=5)).answer
    assert server.transports["udp"] == 1
    await server.stop()


async def test_a_port_that_is_taken_is_said_plainly() -> None:
    first = served()
    await first.start()
    second = ZoneServer([], port=int(first.address.split(":")[1]))
    with pytest.raises(UnavailableError, match="cannot listen on 127"):
        await second.start()
    await first.stop()
    await second.start()
    await second.stop()
    await second.stop()
