"""The source hands letters to the sink, over a tap that reads along."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench.process import free_port
from mta.clock import SystemClock
from mta.errors import UnavailableError
from mta.services.sink import Arrival, Sink
from mta.services.source import Letter, Source
from mta.services.tap import Tap

CLOCK = SystemClock()
LARGE = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 300_000


class Place:
    """A sink that is up, and what arrived there."""

    def __init__(self) -> None:
        self.arrived: list[Arrival] = []
        self.sink = Sink("sink.example", CLOCK, self.arrived.append, recipients={"known@sink.example"})
        self.address = ("127.0.0.1", free_port())


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    made.sink.recording = True
    await made.sink.start(*made.address)
    yield made
    await made.sink.stop()


def letter(content: bytes, to: str = "known@sink.example") -> Letter:
    return Letter("a@source.example", (to,), content)


@pytest.mark.parametrize("content", [b"Subject: x\r\n\r\n.dot\r\n", b".\r\n", LARGE], ids=["dots", "a dot", "large"])
async def test_content_arrives_as_it_was_handed_over(place: Place, content: bytes) -> None:
    (sent,) = await Source("source.example", CLOCK).run(*place.address, [letter(content)])
    assert sent.reply.code == 250
    (arrival,) = place.arrived
    assert arrival[:3] == ("a@source.example", ("known@sink.example",), content)


async def test_a_burst_shares_its_letters_between_the_connections(place: Place) -> None:
    letters = [letter(b"Subject: %d\r\n\r\n" % number) for number in range(50)]
    sent = await Source("source.example", CLOCK).run(*place.address, letters, 4)
    assert [one.reply.code for one in sent] == [250] * 50
    assert sorted(arrival.content for arrival in place.arrived) == sorted(one.content for one in letters)
    assert len(place.sink.dialogues) == 4
    assert all(one.took > 0 for one in sent)


async def test_who_is_not_known_is_refused_and_the_next_letter_goes_on(place: Place) -> None:
    letters = [letter(b"x\r\n", "nobody@sink.example"), letter(b"y\r\n")]
    sent = await Source("source.example", CLOCK).run(*place.address, letters)
    assert [str(one.reply) for one in sent] == ["550 5.1.1 no such mailbox here", "250 2.0.0 ok"]
    assert [arrival.content for arrival in place.arrived] == [b"y\r\n"]
    assert "550 5.1.1 no such mailbox here" in place.sink.dialogues[0].replies()


async def test_a_sink_that_stopped_says_421_and_refuses_until_it_is_back(place: Place) -> None:
    reader, writer = await asyncio.open_connection(*place.address)
    assert (await reader.readline()).startswith(b"220 ")
    await place.sink.stop()
    assert await reader.read() == b"421 4.3.2 going down, try again later\r\n"
    writer.close()
    with pytest.raises(UnavailableError, match=f":{place.address[1]}: "):
        await Source("source.example", CLOCK).run(*place.address, [letter(b"x\r\n")])
    await place.sink.start(*place.address)
    assert len(await Source("source.example", CLOCK).run(*place.address, [letter(b"x\r\n")])) == 1


async def test_a_tap_passes_everything_on_and_reads_along(place: Place) -> None:
    tap = Tap(place.address, CLOCK)
    address = ("127.0.0.1", free_port())
    await tap.start(*address)
    await Source("source.example", CLOCK).run(*address, [letter(b"x\r\n")])
    await place.sink.stop()
    await tap.stop()
    assert [arrival.content for arrival in place.arrived] == [b"x\r\n"]
    (at_the_tap,), (at_the_sink,) = tap.dialogues, place.sink.dialogues
    assert at_the_tap.turns == at_the_sink.turns
    assert len(at_the_tap.turns) > 10


async def test_a_tap_without_its_target_closes_what_comes(place: Place) -> None:
    await place.sink.stop()
    tap = Tap(place.address, CLOCK)
    address = ("127.0.0.1", free_port())
    await tap.start(*address)
    with pytest.raises(UnavailableError, match="at GREETING"):
        await Source("source.example", CLOCK).run(*address, [letter(b"x\r\n")])
    await tap.stop()


async def test_a_server_that_leaves_in_the_middle_is_trouble_with_a_reason() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    with pytest.raises(UnavailableError, match="at EHLO"):
        await Source("source.example", CLOCK).run(*address, [letter(b"x\r\n")], 2)
    server.close()


async def test_an_address_that_is_taken_is_named(place: Place) -> None:
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{place.address[1]}: cannot listen"):
        await Sink("other.example", CLOCK, print).start(*place.address)
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{place.address[1]}: cannot listen"):
        await Tap(place.address, CLOCK).start(*place.address)
