"""How much of the queue one site, or one look-up, may have in memory."""

import asyncio

import pytest

from mta.metrics import MetricsTable
from mta.model.message import due_key
from mta.net.deadlines import Wheel
from mta.net.remote import RemoteDeadlines
from mta.queue.entry import Entry
from mta.routing.destination import Destination, Host
from mta.services.delivery import RESOLVING, Delivery, SiteDelivery
from mta.services.dialing import DeliverySettings

READY_LIMIT = 3
#: What may become live in all, where that is not what the test is about.
FREE = 1000
SETTINGS = DeliverySettings("hermes.example", 20, 10, 1000, 30.0, RemoteDeadlines(300.0, 600.0), READY_LIMIT, 60.0)
SITE = Destination("mx.a.example", "smtp", (Host("mx.a.example", 25, 0),))


class Clock:
    seconds = 100.0

    def now_ms(self) -> int:
        return 1000

    def monotonic(self) -> float:
        return self.seconds


class Router:
    """Knows a.example; every other domain waits for the DNS."""

    def cached(self, domain: str) -> Destination | None:
        return SITE if domain == "a.example" else None

    async def resolve(self, domain: str) -> Destination:
        return await asyncio.get_running_loop().create_future()


def entry(number: int, domain: str = "a.example") -> Entry:
    return Entry(None, due_key(1, number, 0), domain, None, None, 100.0)


@pytest.fixture
async def delivery():
    table = MetricsTable.create(1)
    delivery = Delivery(SETTINGS, Router(), Wheel(asyncio.get_running_loop()), Clock(), table.row(0), table.shares(0))
    yield delivery
    delivery.abort()


def site_of(delivery: Delivery) -> SiteDelivery:
    return delivery.sites.setdefault(SITE.site, SiteDelivery(delivery, SITE))


async def test_a_site_takes_as_many_entries_as_its_line_may_have(delivery):
    site = site_of(delivery)
    for number in range(READY_LIMIT):
        assert delivery.has_room("a.example", FREE)
        site.queue.ready.append(entry(number))
    assert not delivery.has_room("a.example", FREE)
    site.queue.ready.popleft()
    assert delivery.has_room("a.example", FREE)


async def test_a_paused_site_takes_nothing_until_its_pause_is_over(delivery):
    site_of(delivery).queue.pause(160.0, "connection refused")
    assert not delivery.has_room("a.example", FREE)
    delivery.clock.seconds = 160.0
    assert delivery.has_room("a.example", FREE)


async def test_a_paused_site_with_a_connection_left_goes_on(delivery):
    queue = site_of(delivery).queue
    queue.connections = 1
    queue.pause(160.0, "the other host refused")
    assert delivery.has_room("a.example", FREE)


async def test_a_line_is_never_longer_than_what_is_left_over(delivery):
    site = site_of(delivery)
    site.queue.ready.append(entry(1))
    assert delivery.has_room("a.example", 2)
    assert not delivery.has_room("a.example", 1)


async def test_so_many_wait_for_one_look_up_and_no_more(delivery):
    for number in range(RESOLVING):
        assert delivery.has_room("b.example", FREE)
        delivery.take(entry(number, "b.example"))
    assert not delivery.has_room("b.example", FREE)
    assert delivery.has_room("c.example", FREE)
