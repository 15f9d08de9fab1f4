"""What one host of a site lacks another may have: each is asked once an attempt, and the message fails when none of
them can take it. As long as one has not been reached, nobody knows."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench.process import free_port
from mta.metrics.layout import DEFERRED, DELIVERED, FAILED
from mta.model.message import Message, Recipient
from mta.routing.destination import Destination, Host, without
from tests.harness.scripted_remote import EXTENSIONS, Received, ScriptedRemote, ScriptedServer
from tests.harness.works import CLOCK, LIMIT, Works

SIGNED = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n"
SEVEN = ("PIPELINING", "SIZE", "SMTPUTF8")
#: What the first host offers, what the second, and what is lacking at the first.
CASES = {
    "SMTPUTF8": (EXTENSIONS, (*EXTENSIONS, "SMTPUTF8"), "5.6.7"),
    "BY": (EXTENSIONS, (*EXTENSIONS, "DELIVERBY"), "5.3.3"),
    "least BY": ((*EXTENSIONS, "DELIVERBY 600"), (*EXTENSIONS, "DELIVERBY 10"), "5.4.7"),
    "SIZE": (("PIPELINING", "SIZE 6000", "8BITMIME"), EXTENSIONS, "5.3.4"),
    "signed": (SEVEN, EXTENSIONS, "5.6.3"),
}


def demand(works: Works, case: str) -> Message:
    """A message that the first host of the case cannot take."""
    person = Recipient("r@b.example", "b.example")
    if case == "SMTPUTF8":
        return works.post(Recipient("jürgen@b.example", "b.example"), smtputf8=True)
    if case == "SIZE":
        return works.post(person, content=b"Subject: x\r\n\r\n" + b"line\r\n" * 1500)
    if case == "signed":
        return works.post(person, content=SIGNED, eight_bit=True)
    return works.post(person, deliver_by=CLOCK.now_ms() + 90_000, by_mode="R")


@pytest.fixture
async def works(tmp_path: Path) -> AsyncIterator[Works]:
    made = Works(tmp_path)
    yield made
    await made.end()


class Hosts(AsyncExitStack):
    """Servers mx0.example, mx1.example … that offer ``each``; None: nobody listens there."""

    def __init__(self, works: Works, *each: tuple[str, ...] | None) -> None:
        super().__init__()
        self.works = works
        self.servers = [each and ScriptedServer(lambda each=each: ScriptedRemote(extensions=each)) for each in each]

    async def __aenter__(self) -> "Hosts":
        for server in self.servers:
            if server is not None:
                await self.enter_async_context(server)
        self.works.router.lead_to(*(free_port() if server is None else server.port for server in self.servers))
        return self

    def connections(self) -> list[int]:
        return [0 if server is None else len(server.remotes) for server in self.servers]

    def mail(self, host: int) -> list[Received]:
        """What the host received, reports left out."""
        server = self.servers[host]
        assert server is not None
        return [each for remote in server.remotes for each in remote.received if each.reverse_path]

    async def end(self) -> None:
        self.works.delivery.drain()
        await self.works.connections_end()
        self.works.nothing_left()


@pytest.mark.parametrize("case", CASES)
async def test_what_the_first_host_lacks_the_second_may_have(works: Works, case: str):
    first, second, _status = CASES[case]
    async with Hosts(works, first, second) as hosts:
        demand(works, case)
        await works.until(DELIVERED, 1)
        assert (len(hosts.mail(0)), len(hosts.mail(1))) == (0, 1)
        assert hosts.connections() == [1, 1]
        await hosts.end()
    assert works.counters.get(DEFERRED) == works.counters.get(FAILED) == 0
    [event] = works.happened()
    assert event["peer_address"]["name"] == "mx1.example"
    assert event["site"] == f"site.example without mx0.example:{hosts.servers[0].port}"


@pytest.mark.parametrize("case", CASES)
async def test_what_all_of_them_lack_comes_back(works: Works, case: str):
    first, _second, status = CASES[case]
    async with Hosts(works, first, first, first) as hosts:
        demand(works, case)
        await works.until(FAILED, 1)
        await works.until(DELIVERED, 1)
        assert [hosts.mail(n) for n in range(3)] == [[], [], []]
        assert hosts.connections() == [1, 1, 1]
        await hosts.end()
    assert works.counters.get(DEFERRED) == 0
    [bounce] = [event for event in works.happened() if event["type"] == "Bounce"]
    assert bounce["response"]["enhanced_code"] == status


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("order", [("lacks", "is away"), ("is away", "lacks")], ids=" ".join)
async def test_as_long_as_one_host_is_away_nothing_is_decided(works: Works, case: str, order: tuple[str, str]):
    first, second, _status = CASES[case]
    async with Hosts(works, *(first if each == "lacks" else None for each in order)) as hosts:
        demand(works, case)
        await works.until(DEFERRED, 1, refill=False)
        assert works.counters.get(FAILED) == 0
        works.delivery.drain()
        await works.connections_end()
    works.delivery.draining = False
    works.delivery.lift_suspensions()
    async with Hosts(works, *(first if each == "lacks" else second for each in order)) as hosts:
        await works.until(DELIVERED, 1)
        assert len(hosts.mail(order.index("is away"))) == 1
        await hosts.end()


async def test_both_ways_stay_warm(works: Works):
    """Mail that needs more and mail that does not take turns: each has connections, and none is opened twice."""
    first, second, _status = CASES["SMTPUTF8"]
    async with Hosts(works, first, second) as hosts:
        for n in range(20):
            works.post(Recipient("r@b.example", "b.example"))
            demand(works, "SMTPUTF8")
            await works.until(DELIVERED, 2 * n + 2)
        assert (len(hosts.mail(0)), len(hosts.mail(1))) == (20, 20)
        assert hosts.connections() == [1, 1]
        await hosts.end()


async def test_a_crowd_keeps_to_the_limit_on_each_way(works: Works):
    first, second, _status = CASES["SMTPUTF8"]
    async with Hosts(works, first, second) as hosts:
        for _ in range(100):
            demand(works, "SMTPUTF8")
        await works.until(DELIVERED, 100)
        assert len(hosts.mail(1)) == 100
        assert max(hosts.connections()) <= LIMIT
        await hosts.end()


async def test_many_hosts_are_asked_once_each_and_always_in_the_same_order(works: Works, monkeypatch):
    """Equal hosts come in another order for each connection; parts of the site must not become as many as orders."""
    shuffle = random.Random(7)
    monkeypatch.setattr(
        works.router, "in_order", lambda destination: shuffle.sample(destination.hosts, len(destination.hosts))
    )
    async with Hosts(works, *[EXTENSIONS] * 20) as hosts:
        demand(works, "SMTPUTF8")
        await works.until(FAILED, 1)
        await works.until(DELIVERED, 1)
        assert hosts.connections() == [1] * 20
        parts = len(works.delivery.sites)
        assert parts == 20
        demand(works, "SMTPUTF8")
        await works.until(FAILED, 2)
        await works.until(DELIVERED, 2)
        assert len(works.delivery.sites) == parts
        assert sum(hosts.connections()) <= 21, "the second goes over warm connections"
        await hosts.end()


async def test_who_waits_for_a_part_counts_in_the_line_of_the_site(works: Works):
    """Else a part that hangs would take in all that may be live."""
    first, _second, _status = CASES["SMTPUTF8"]
    async with Hosts(works, first, None):
        works.send()
        await works.until(DELIVERED, 1)
        demand(works, "SMTPUTF8")
        await works.until(DEFERRED, 1, refill=False)
        [whole, part] = works.delivery.sites.values()
        assert (whole.parts, part.whole) == ([part], whole)
        demand(works, "SMTPUTF8")
        await works.until(DEFERRED, 2, refill=False)
        assert not part.queue.ready, "who comes while the part is paused waits for the next attempt"
        works.delivery.lift_suspensions()
        assert works.delivery.has_room("b.example", 5)
        part.queue.limit = 0  # as if all its connections were taken
        for _ in range(5):
            demand(works, "SMTPUTF8")
        await works.until(DELIVERED, 1)
        while len(part.queue.ready) < 5:
            await works.turn()
        assert not works.delivery.has_room("b.example", 5)
        assert works.delivery.has_room("b.example", 6)
        [waiting, *_] = part.queue.ready
        assert "without mx0" in works.delivery.constraint("b.example", waiting)["detail"]


def test_a_part_is_named_by_what_is_left_out():
    one, two, three = (Host(f"mx{n}.example", 25, n) for n in range(3))
    site = Destination("mx", "smtp", (one, two, three))
    part = without(site, [two])
    assert part == Destination("mx without mx1.example", "smtp", (one, three), whole="mx")
    assert without(part, [two, one]) == without(without(site, [one]), [one, two])
    assert without(part, [one, two, three]) is None
    assert without(site, [Host("mx0.example", 2525, 0)]).hosts == site.hosts
