"""Routing through a recursive resolver (unbound) that asks a real zone server (nsd), as in production."""

from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from mta.clock import SystemClock
from mta.routing.destination import RoutingError
from mta.routing.nameservers import name_servers
from mta.routing.resolver import Resolver
from mta.routing.router import Router
from mta.routing.routes import Routes
from tests.harness.zone_server import RealResolver, RealZoneServer, running

ZONE = """
$TTL 300
@         SOA ns hostmaster 1 3600 600 86400 60
@         NS ns
@         MX 10 first
ns        A 127.0.0.1
first     A 127.0.0.11
first     AAAA 2001:db8::11
implicit  A 127.0.0.13
null      MX 0 .
alias     CNAME minasi.example.
round     CNAME trip
trip      CNAME round
"""
BIG = "".join(f"big MX {i} host-number-{i}-of-a-large-provider\n" for i in range(200))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealResolver]:
    directory = tmp_path_factory.mktemp("unbound")
    with (
        running(RealZoneServer(directory, {"minasi.example": ZONE + BIG}, "minasi.example")) as zones,
        running(RealResolver(directory, "minasi.example", zones)) as resolver,
    ):
        yield resolver


@pytest.fixture
async def router(server: RealResolver) -> AsyncIterator[Router]:
    clock, random, none = SystemClock(), Random(1), frozenset[str]()
    resolver = Resolver(name_servers([server.address]), 5.0, clock, random=random)
    made = Router(Routes(), resolver, port=2600, own_names=none, own_addresses=none, random=random, clock=clock)
    yield made
    await made.close()
    await resolver.close()


@pytest.mark.parametrize(
    ("domain", "site"),
    [
        ("minasi.example", "first.minasi.example"),
        ("alias.minasi.example", "first.minasi.example"),
        ("implicit.minasi.example", "implicit.minasi.example"),
    ],
)
async def test_a_domain_has_the_site_that_its_zone_says(router: Router, domain: str, site: str) -> None:
    assert (await router.resolve(domain)).site == site


async def test_a_host_has_both_kinds_of_addresses(router: Router) -> None:
    host = (await router.resolve("minasi.example")).hosts[0]
    assert await router.addresses(host) == [("2001:db8::11", 2600), ("127.0.0.11", 2600)]


async def test_a_big_answer_comes_whole(router: Router) -> None:
    assert (await router.resolve("big.minasi.example")).hosts[19].preference == 19


@pytest.mark.parametrize(
    ("domain", "permanent", "status"),
    [
        ("null.minasi.example", True, "5.1.10"),
        ("absent.minasi.example", True, "5.1.2"),
        ("round.minasi.example", False, "4.4.3"),
    ],
)
async def test_what_cannot_be_reached_is_told_apart(router: Router, domain: str, permanent: bool, status: str) -> None:
    with pytest.raises(RoutingError) as caught:
        await router.resolve(domain)
    assert (caught.value.permanent, caught.value.status) == (permanent, status)
