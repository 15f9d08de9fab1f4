"""The race for a connection, against real listeners and addresses that refuse or stay silent."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from bench.process import free_port
from mta.net.connect import STAGGER, connect_first


class Peer(asyncio.Protocol):
    """Counts itself while it is connected."""

    made: ClassVar["list[Peer]"] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.closed = asyncio.get_running_loop().create_future()
        Peer.made.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


@pytest.fixture(autouse=True)
def nobody() -> None:
    Peer.made = []


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, int]]:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[str, int]]:
    """Takes no connection and refuses none: its queue is full."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(sock.getsockname())
        fillers.append(filler)
    try:
        yield sock.getsockname()
    finally:
        for each in (sock, *fillers):
            each.close()


def refusing() -> tuple[str, int]:
    return "127.0.0.1", free_port()


async def test_one_address_that_answers():
    async with listening() as address:
        peer = await connect_first(Peer, [address], timeout=5)
        assert peer.transport.get_extra_info("peername")[:2] == address[:2]
        peer.transport.abort()
        await peer.closed


async def test_one_that_refuses_is_passed_over_at_once():
    loop = asyncio.get_running_loop()
    async with listening() as address:
        began = loop.time()
        peer = await connect_first(Peer, [refusing(), refusing(), address], timeout=5)
        assert loop.time() - began < STAGGER, "nobody waits for what has failed already"
        peer.transport.abort()
        await peer.closed


async def test_one_that_is_silent_costs_a_stagger_and_is_given_up_when_another_wins():
    async with silent() as deaf, listening() as address:
        peer = await connect_first(Peer, [deaf, address], timeout=5)
        assert peer.transport.get_extra_info("peername") == address
        peer.transport.abort()
        await peer.closed
        assert len(Peer.made) == 1


async def test_with_all_refusing_the_last_error_is_told():
    with pytest.raises(ConnectionRefusedError):
        await connect_first(Peer, [refusing(), refusing()], timeout=5)
    with pytest.raises(ConnectionRefusedError):
        await connect_first(Peer, [refusing()], timeout=5)


async def test_silence_ends_with_the_time_that_is_given():
    async with silent() as one, silent() as other:
        for addresses in ([one], [one, other]):
            with pytest.raises(TimeoutError):
                await connect_first(Peer, addresses, timeout=0.4)
    assert Peer.made == []


async def test_losers_that_connected_all_the_same_are_closed():
    async with listening() as address:
        peer = await connect_first(Peer, [address] * 6, timeout=5)
        for _ in range(10):
            await asyncio.sleep(0)
        for other in Peer.made:
            if other is not peer:
                await other.closed
        assert not peer.closed.done()
        peer.transport.abort()
        await peer.closed


async def test_a_race_that_is_called_off_leaves_no_connection():
    async with silent() as deaf, silent() as other:
        race = asyncio.ensure_future(connect_first(Peer, [deaf, other], timeout=5))
        await asyncio.sleep(0)
        race.cancel()
        with pytest.raises(asyncio.CancelledError):
            await race
        for _ in range(5):
            await asyncio.sleep(0)
    assert Peer.made == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
