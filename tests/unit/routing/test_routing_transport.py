"""The transport against our own little name server and against hostile sockets, all on loopback."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import uvloop
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from mta.routing import transport as transport_module
from mta.routing.answers import DnsTrouble, Reason
from mta.routing.nameservers import NameServer, parse_server
from mta.routing.transport import MAX_TRIES, SOCKETS_PER_SERVER, Endpoint, Question, Signal, Transport, read_message
from mta.services.zone import Fault, ZoneServer, zone_from_dict

ZONE = {
    "minasi.example": ["MX 10 mx.minasi.example."],
    "big.example": [f"MX {i} mail-host-number-{i}.of-a-provider.example." for i in range(100)],
    **{f"d{i}.example": [f"MX 10 mx{i}.example."] for i in range(1000)},
}


@asynccontextmanager
async def name_server() -> AsyncIterator[ZoneServer]:
    server = ZoneServer([zone_from_dict(ZONE)])
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def transport_to(*addresses: str, timeout: float = 5.0) -> AsyncIterator[Transport]:
    servers = [parse_server(address) for address in addresses]
    transport = Transport([server for server in servers if server is not None], timeout, Random(1))
    try:
        yield transport
    finally:
        transport.close()


class Scripted:
    """A UDP name server that answers every query with the datagrams that ``script`` makes of it."""

    def __init__(self, script: Callable[[bytes], list[bytes]]) -> None:
        self._script = script
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.clients: list[tuple[str, int]] = []
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        data, client = self._socket.recvfrom(4096)
        self.clients.append(client)
        for answer in self._script(data):
            self.send(answer, client)

    def send(self, data: bytes, client: tuple[str, int]) -> None:
        self._socket.sendto(data, client)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


def truth(query: bytes) -> bytes:
    """The right answer, with one MX record."""
    response = dns.message.make_response(dns.message.from_wire(query))
    response.answer.append(dns.rrset.from_text(response.question[0].name, 300, "IN", "MX", "10 mx.minasi.example."))
    return response.to_wire()


async def asked(
    script: Callable[[bytes], list[bytes]], timeout: float = 0.3
) -> tuple[dns.message.Message | Reason, Transport]:
    server = Scripted(script)
    async with transport_to(server.address, timeout=timeout) as transport:
        try:
            return await transport.query("minasi.example", RdataType.MX), transport
        except DnsTrouble as trouble:
            return trouble.reason, transport
        finally:
            server.close()


async def test_a_question_is_answered_over_udp() -> None:
    async with name_server() as server, transport_to(server.address) as transport:
        message = await transport.query("minasi.example", RdataType.MX)
        assert [rrset.to_text() for rrset in message.answer] == ["minasi.example. 300 IN MX 10 mx.minasi.example."]
        assert server.transports == {"udp": 1}


def test_uvloop_serves_as_well() -> None:
    async def story() -> None:
        async with name_server() as server, transport_to(server.address) as transport:
            assert (await transport.query("minasi.example", RdataType.MX)).answer
            assert len((await transport.query("big.example", RdataType.MX)).answer[0]) == 100

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


async def test_an_answer_that_does_not_fit_comes_whole_over_tcp() -> None:
    async with name_server() as server, transport_to(server.address) as transport:
        message = await transport.query("big.example", RdataType.MX)
        assert len(message.answer[0]) == 100
        assert server.transports == {"udp": 1, "tcp": 1}


async def test_a_truncated_answer_without_tcp_is_trouble() -> None:
    def cut(query: bytes) -> list[bytes]:
        response = dns.message.make_response(dns.message.from_wire(query))
        response.flags |= dns.flags.TC
        return [response.to_wire()]

    assert (await asked(cut))[0] is Reason.UNREACHABLE


async def test_a_truncated_answer_that_ends_within_a_record_still_leads_to_tcp() -> None:
    wire = bytearray(truth(Question("minasi.example", RdataType.MX).wire(1)))
    wire[2] |= 0x02
    assert read_message(bytes(wire[:-3])) is Signal.TRUNCATED


async def test_a_thousand_domains_do_not_open_a_thousand_sockets() -> None:
    async with name_server() as server, transport_to(server.address) as transport:
        before = len(os.listdir("/proc/self/fd"))
        answers = await asyncio.gather(*(transport.query(f"d{i}.example", RdataType.MX) for i in range(1000)))
        after = len(os.listdir("/proc/self/fd"))
    assert after - before == SOCKETS_PER_SERVER
    assert all(answer.answer[0][0].exchange.to_text() == f"mx{i}.example." for i, answer in enumerate(answers))


async def test_sockets_are_left_for_others_with_new_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "QUESTIONS_PER_SOCKET", 3)
    server = Scripted(lambda query: [truth(query)])
    before = len(os.listdir("/proc/self/fd"))
    async with transport_to(server.address) as transport:
        for _ in range(60):
            await transport.query("minasi.example", RdataType.MX)
        assert len(os.listdir("/proc/self/fd")) - before <= SOCKETS_PER_SERVER
    server.close()
    assert len(set(server.clients)) >= 60 / 3


@pytest.mark.parametrize(
    "forge",
    [
        lambda wire: bytes([wire[0] ^ 1]) + wire[1:],
        lambda wire: wire[:12] + wire[12:].replace(b"minasi", b"eviler", 1),
        lambda wire: wire.replace(b"\0\x0f\0\1", b"\0\1\0\1", 1),
        lambda wire: wire[:2] + bytes([wire[2] & 0x7F]) + wire[3:],
        lambda wire: wire[:4] + b"\0\0" + wire[6:],
        lambda wire: wire[:5],
        lambda wire: b"",
    ],
    ids=["id", "name", "type", "query", "no-question", "short", "empty"],
)
async def test_octets_that_answer_another_question_are_dropped_and_the_true_answer_counts(
    forge: Callable[[bytes], bytes],
) -> None:
    message, transport = await asked(lambda query: [forge(truth(query)), truth(query)])
    assert isinstance(message, dns.message.Message)
    assert message.answer[0].to_text() == "minasi.example. 300 IN MX 10 mx.minasi.example."
    assert transport.dropped == {"unasked": 1}


async def test_a_malformed_answer_is_dropped_and_the_true_one_counts() -> None:
    message, transport = await asked(lambda query: [truth(query)[:-2], truth(query) + b"x", truth(query)])
    assert isinstance(message, dns.message.Message)
    assert transport.dropped == {"malformed": 2}


async def test_nothing_but_malformed_answers_ends_in_a_timeout() -> None:
    reason, transport = await asked(lambda query: [truth(query)[:-2]], timeout=0.1)
    assert reason is Reason.TIMEOUT
    assert transport.dropped["malformed"] >= 3


async def test_the_case_of_the_name_in_an_answer_does_not_matter() -> None:
    message, _ = await asked(lambda query: [truth(query).replace(b"minasi", b"MINASI", 1)])
    assert isinstance(message, dns.message.Message)


async def test_a_late_answer_to_the_first_try_still_counts() -> None:
    queries: list[bytes] = []
    server = Scripted(lambda query: queries.append(query) or [])  # type: ignore[func-returns-value]
    async with transport_to(server.address, timeout=0.6) as transport:
        waiting = asyncio.create_task(transport.query("minasi.example", RdataType.MX))
        while len(queries) < 2:
            await asyncio.sleep(0)
        assert queries[0][:2] != queries[1][:2]
        server.send(truth(queries[0]), server.clients[0])
        assert (await waiting).answer
    server.close()


async def test_a_silent_server_ends_in_a_timeout_after_several_tries() -> None:
    queries: list[bytes] = []
    reason, _ = await asked(lambda query: queries.append(query) or [], timeout=0.12)  # type: ignore[func-returns-value]
    assert reason is Reason.TIMEOUT
    assert len(queries) == 3


async def test_a_silent_server_is_passed_over_and_then_asked_last() -> None:
    silent = Scripted(lambda query: [])
    async with name_server() as server, transport_to(silent.address, server.address, timeout=1.0) as transport:
        assert (await transport.query("minasi.example", RdataType.MX)).answer
        first = len(silent.clients)
        assert (await transport.query("minasi.example", RdataType.MX)).answer
        assert len(silent.clients) == first == 1
    silent.close()


@pytest.mark.parametrize(("fault", "reason"), [(Fault.SERVFAIL, Reason.SERVFAIL), (Fault.REFUSED, Reason.REFUSED)])
async def test_a_server_in_trouble_is_not_asked_again_in_the_same_look_up(fault: Fault, reason: Reason) -> None:
    async with name_server() as server, transport_to(server.address) as transport:
        server.faults["*"] = fault
        with pytest.raises(DnsTrouble) as caught:
            await transport.query("minasi.example", RdataType.MX)
        assert (caught.value.reason, caught.value.remote) == (reason, server.address)
        assert server.queries.total() == 1


async def test_another_server_answers_for_one_in_trouble() -> None:
    async with (
        name_server() as broken,
        name_server() as server,
        transport_to(broken.address, server.address) as transport,
    ):
        broken.faults["*"] = Fault.SERVFAIL
        assert (await transport.query("minasi.example", RdataType.MX)).answer


async def test_a_port_where_nobody_listens_is_found_out_at_once_and_works_when_somebody_comes() -> None:
    async with name_server() as server, transport_to(server.address, timeout=60.0) as transport:
        await server.stop()
        with pytest.raises(DnsTrouble) as caught:
            await transport.query("minasi.example", RdataType.MX)
        assert caught.value.reason is Reason.UNREACHABLE
        await server.start()
        assert (await transport.query("minasi.example", RdataType.MX)).answer


async def test_dead_domains_give_up_their_place_before_they_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_YOUNG", 2)
    async with name_server() as server, transport_to(server.address, timeout=0.6) as transport:
        server.faults.update({f"d{i}.example": Fault.SILENCE for i in range(10)})
        dead = [asyncio.create_task(transport.query(f"d{i}.example", RdataType.MX)) for i in range(10)]
        await asyncio.sleep(0)
        assert (await transport.query("minasi.example", RdataType.MX)).answer
        assert not all(task.done() for task in dead)
        ends = await asyncio.gather(*dead, return_exceptions=True)
        assert all(isinstance(end, DnsTrouble) and end.reason is Reason.TIMEOUT for end in ends)


async def test_the_error_left_by_an_earlier_datagram_does_not_cost_the_next_one() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = NameServer(*reserved.getsockname())
    endpoint = Endpoint(address, Random(1), Counter())
    question = Question("minasi.example", RdataType.MX)
    endpoint.ask(question)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back_again:
        back_again.bind(address)
        query_id, _ = endpoint.ask(question)
        back_again.setblocking(False)
        assert back_again.recv(512) == question.wire(query_id)
    endpoint.close()


async def test_a_socket_that_was_left_closes_after_its_last_answer() -> None:
    silent = Scripted(lambda query: [])
    before = len(os.listdir("/proc/self/fd"))
    endpoint = Endpoint(NameServer("127.0.0.1", int(silent.address.split(":")[1])), Random(1), Counter())
    query_id, future = endpoint.ask(Question("minasi.example", RdataType.MX))
    endpoint.retire()
    assert not future.done()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    endpoint.forget(query_id)
    assert len(os.listdir("/proc/self/fd")) == before
    silent.close()


async def test_no_such_name_is_an_answer() -> None:
    async with name_server() as server, transport_to(server.address) as transport:
        assert (await transport.query("absent.example", RdataType.MX)).rcode() == dns.rcode.NXDOMAIN


async def test_closing_settles_who_waits() -> None:
    silent = Scripted(lambda query: [])
    async with transport_to(silent.address, timeout=60.0) as transport:
        waiting = asyncio.create_task(transport.query("minasi.example", RdataType.MX))
        while not silent.clients:
            await asyncio.sleep(0)
        transport.close()
        with pytest.raises(DnsTrouble):
            await waiting
    silent.close()


async def test_one_who_is_cancelled_leaves_nothing_behind() -> None:
    silent = Scripted(lambda query: [])
    async with transport_to(silent.address, timeout=60.0) as transport:
        waiting = asyncio.create_task(transport.query("minasi.example", RdataType.MX))
        while not silent.clients:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert transport.under_way == 0
    silent.close()


def plan_of(*servers: str) -> list[tuple[NameServer, float]]:
    parsed = [parse_server(server) for server in servers]
    return list(Transport([server for server in parsed if server], 6.0, Random(1)).plan())


def test_patience_grows_and_sums_up_to_the_timeout() -> None:
    for servers in (["192.0.2.1"], ["192.0.2.1", "192.0.2.2"], [f"192.0.2.{i}" for i in range(9)]):
        patience = [seconds for _, seconds in plan_of(*servers)]
        assert patience == sorted(patience)
        assert sum(patience) == pytest.approx(6.0)
        assert 3 <= len(patience) <= MAX_TRIES


def test_tries_go_round_the_servers() -> None:
    assert [server.address for server, _ in plan_of("192.0.2.1", "192.0.2.2")] == ["192.0.2.1", "192.0.2.2"] * 2


@given(st.binary(max_size=80))
def test_no_octets_break_the_reader(data: bytes) -> None:
    question = Question("minasi.example", RdataType.MX)
    header = question.wire(7)
    forged = header[:2] + b"\x81\x80" + header[4:-11] + data
    assert question.is_answered_by(forged) is (len(forged) >= 12 + 16 + 4)
    assert read_message(forged) is None or isinstance(read_message(forged), dns.message.Message)
    question.is_answered_by(data)


def broken_records() -> Iterator[bytes]:
    """Record data shorter than its type says, and lengths that point outside: MX, TLSA, A."""
    head = b"\0\7\x81\x80\0\1\0\1\0\0\0\0\6minasi\7example\0"
    for rdtype in (1, 15, 52):
        for length in range(5):
            kind = rdtype.to_bytes(2, "big") + b"\0\1"
            yield head + kind + b"\xc0\x0c" + kind + b"\0\0\1\0" + length.to_bytes(2, "big") + b"\1" * length
            yield head + kind + b"\xc0\x0c" + kind + b"\0\0\1\0\xff\xff" + b"\1" * length
    yield head + b"\0\x0f\0\1\xc0\x0c\0\x0f\0\1\0\0\1\0\0\4\0\1\xc0\x29"


def test_records_too_short_for_their_type_never_raise() -> None:
    outcomes = [read_message(data) for data in broken_records()]
    parsed = [outcome for outcome in outcomes if outcome is not None]
    assert len(outcomes) == 31
    assert len(parsed) <= 3  # an A record of four octets, TLSA of three and more


def test_the_plain_asyncio_loop_leaves_no_socket_open() -> None:
    before = sorted(os.listdir("/proc/self/fd"))

    async def story() -> None:
        async with name_server() as server, transport_to(server.address) as transport:
            await transport.query("big.example", RdataType.MX)

    asyncio.run(story())
    assert len(os.listdir("/proc/self/fd")) == len(before)
