"""Questions go to the name server and back, and are noted; what cannot be read is passed on all the same."""

import asyncio
import socket

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import pytest

from bench.process import free_port
from mta.clock import SystemClock
from mta.errors import UnavailableError
from mta.services import dns_tap
from mta.services.dns_tap import DnsTap, read
from mta.services.zone import Fault, ZoneServer, zone_from_text

ZONE = """$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
@ MX 20 second
@ MX 10 arlington
ns A 127.0.0.1
arlington A 127.0.0.4
"""


async def ask(port: int, name: str, kind: str, timeout: float = 5.0) -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=timeout)


async def test_questions_and_answers_are_noted_in_their_order() -> None:
    server = ZoneServer([zone_from_text(ZONE, "minasi.example")])
    await server.start()
    port = free_port()
    tap = DnsTap(("127.0.0.1", int(server.address.rpartition(":")[2])), SystemClock())
    await tap.start("127.0.0.1", port)
    assert len((await ask(port, "minasi.example", "MX")).answer[0]) == 2
    assert (await ask(port, "absent.minasi.example", "A")).rcode() == dns.rcode.NXDOMAIN
    assert (await ask(port, "arlington.minasi.example", "AAAA")).answer == []
    found = [(one.name, one.kind, one.rcode, tuple(sorted(one.answer))) for one in tap.exchanges]
    assert found == [
        ("minasi.example", "MX", "NOERROR", ("10 arlington.minasi.example", "20 second.minasi.example")),
        ("absent.minasi.example", "A", "NXDOMAIN", ()),
        ("arlington.minasi.example", "AAAA", "NOERROR", ()),
    ]
    assert all(0 <= one.seconds < 5 for one in tap.exchanges)
    await tap.stop()
    await tap.stop()
    await server.stop()


async def test_a_silent_or_absent_name_server_is_as_silent_through_the_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_tap, "PATIENCE", 0.05)
    server = ZoneServer([zone_from_text(ZONE, "minasi.example")])
    await server.start()
    server.faults["*"] = Fault.SILENCE
    port = free_port()
    tap = DnsTap(("127.0.0.1", int(server.address.rpartition(":")[2])), SystemClock())
    await tap.start("127.0.0.1", port)
    with pytest.raises(dns.exception.Timeout):
        await ask(port, "minasi.example", "MX", timeout=0.2)
    await server.stop()
    with pytest.raises(dns.exception.Timeout):
        await ask(port, "minasi.example", "MX", timeout=0.2)
    assert tap.exchanges == []
    await tap.stop()


async def test_no_more_is_on_its_way_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_tap, "MAX_OPEN", 2)
    server = ZoneServer([zone_from_text(ZONE, "minasi.example")])
    await server.start()
    server.faults["*"] = Fault.SILENCE
    port = free_port()
    tap = DnsTap(("127.0.0.1", int(server.address.rpartition(":")[2])), SystemClock())
    await tap.start("127.0.0.1", port)
    questions = [asyncio.create_task(ask(port, f"n{n}.minasi.example", "A", timeout=0.3)) for n in range(5)]
    await asyncio.gather(*questions, return_exceptions=True)
    assert sum(server.queries.values()) == 2
    await tap.stop()
    await server.stop()


async def test_a_taken_address_is_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="cannot listen: Address already in use"):
            await DnsTap(("127.0.0.1", 9), SystemClock()).start(*taken.getsockname())


@pytest.mark.parametrize("octets", [b"", b"\x00" * 11, b"\xff" * 40, b"\x00" * 12])
def test_what_is_no_answer_to_one_question_is_not_noted(octets: bytes) -> None:
    assert read(octets, 0.0) is None
