"""Routing against a real name server (nsd): what it says, what it cannot say, and what is left when it is gone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from mta.routing.cache import Result
from mta.routing.destination import RoutingError
from mta.routing.nameservers import name_servers
from mta.routing.resolver import Resolver
from mta.routing.router import Router
from mta.routing.routes import Routes
from tests.harness.clocks import SetClock
from tests.harness.zone_server import RealZoneServer, running

ZONE = """
$TTL 300
@            SOA ns hostmaster 1 3600 600 86400 60
@            NS ns
@            MX 20 second
@            MX 10 first
ns           A 127.0.0.1
first        A 127.0.0.11
first        AAAA ::1
second       A 127.0.0.12
implicit     A 127.0.0.13
null         MX 0 .
bare         TXT "no address and no MX"
alias        CNAME minasi.example.
outward      CNAME sister.test.
dangling     CNAME absent
round        CNAME trip
trip         CNAME round
literal      MX 10 127.0.0.1.
literal      MX 20 second
hostalias    MX 10 mailalias
mailalias    CNAME first
short        1 MX 10 first
"""
BIG = "".join(f"big MX {i} host-number-{i}-of-a-large-provider\n" for i in range(200))
SISTER = """$TTL 300
@ SOA ns.minasi.example. h.minasi.example. 1 3600 600 86400 60
@ NS ns.minasi.example.
@ MX 5 mx
mx A 127.0.0.14
"""
BROKEN = "this is no zone\n"


class Setup:
    """A router on a real server; ``clock`` is moved by the test."""

    def __init__(self, server: RealZoneServer, timeout: float = 5.0) -> None:
        self.clock = SetClock()
        self.resolver = Resolver(name_servers([server.address]), timeout, self.clock, random=Random(1))
        self.router = Router(
            Routes(),
            self.resolver,
            port=2600,
            own_names=frozenset(),
            own_addresses=frozenset(),
            random=Random(1),
            clock=self.clock,
        )

    async def refused(self, domain: str) -> tuple[bool, str]:
        with pytest.raises(RoutingError) as caught:
            await self.router.resolve(domain)
        return caught.value.permanent, caught.value.status

    async def hosts(self, domain: str) -> list[tuple[int, str]]:
        return [(host.preference, host.name) for host in (await self.router.resolve(domain)).hosts]


ZONES = {"minasi.example": ZONE + BIG, "sister.test": SISTER, "broken.test": BROKEN}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealZoneServer]:
    with running(RealZoneServer(tmp_path_factory.mktemp("nsd"), ZONES, "minasi.example")) as started:
        yield started


@pytest.fixture
async def setup(server: RealZoneServer) -> AsyncIterator[Setup]:
    made = Setup(server)
    yield made
    await made.router.close()
    await made.resolver.close()


async def test_hosts_come_by_preference_and_with_their_addresses(setup: Setup) -> None:
    destination = await setup.router.resolve("minasi.example")
    assert [(h.preference, h.name) for h in destination.hosts] == [
        (10, "first.minasi.example"),
        (20, "second.minasi.example"),
    ]
    assert await setup.router.addresses(destination.hosts[0]) == [("::1", 2600), ("127.0.0.11", 2600)]
    assert await setup.router.addresses(destination.hosts[1]) == [("127.0.0.12", 2600)]


async def test_a_name_with_an_address_only_is_its_own_mx(setup: Setup) -> None:
    assert await setup.hosts("implicit.minasi.example") == [(0, "implicit.minasi.example")]


async def test_a_name_with_neither_is_found_out_by_its_addresses(setup: Setup) -> None:
    host = (await setup.router.resolve("bare.minasi.example")).hosts[0]
    with pytest.raises(RoutingError) as caught:
        await setup.router.addresses(host)
    assert (caught.value.permanent, caught.value.status) == (True, "5.4.4")


async def test_null_mx_and_absent_domains_are_permanent(setup: Setup) -> None:
    assert await setup.refused("null.minasi.example") == (True, "5.1.10")
    assert await setup.refused("absent.minasi.example") == (True, "5.1.2")
    assert await setup.refused("dangling.minasi.example") == (True, "5.1.2")


async def test_aliases_are_followed_within_the_zone_and_out_of_it(setup: Setup) -> None:
    assert await setup.hosts("alias.minasi.example") == await setup.hosts("minasi.example")
    assert await setup.hosts("outward.minasi.example") == [(5, "mx.sister.test")]


async def test_an_mx_host_that_is_an_alias_has_the_addresses_of_its_target(setup: Setup) -> None:
    host = (await setup.router.resolve("hostalias.minasi.example")).hosts[0]
    assert await setup.router.addresses(host) == [("::1", 2600), ("127.0.0.11", 2600)]


async def test_a_loop_of_aliases_is_transient(setup: Setup) -> None:
    assert await setup.refused("round.minasi.example") == (False, "4.4.3")


async def test_an_address_in_place_of_an_mx_host_is_skipped(setup: Setup) -> None:
    assert await setup.hosts("literal.minasi.example") == [(20, "second.minasi.example")]


async def test_a_zone_that_cannot_be_served_is_transient_and_never_an_implicit_mx(setup: Setup) -> None:
    assert await setup.refused("broken.test") == (False, "4.4.3")


async def test_a_zone_that_is_not_served_here_is_transient(setup: Setup) -> None:
    assert await setup.refused("elsewhere.invalid") == (False, "4.4.3")


async def test_two_hundred_mx_records_come_whole_over_tcp(setup: Setup) -> None:
    expected = [(i, f"host-number-{i}-of-a-large-provider.minasi.example") for i in range(20)]
    assert await setup.hosts("big.minasi.example") == expected


async def test_a_thousand_messages_at_once_ask_once(setup: Setup) -> None:
    await asyncio.gather(*(setup.router.resolve("minasi.example") for _ in range(1000)))
    counts = setup.router.counts()
    assert (counts[Result.MISS], counts[Result.COALESCED]) == (1, 999)


async def test_mail_goes_on_by_the_last_answer_while_the_name_server_is_down(tmp_path: Path) -> None:
    with running(RealZoneServer(tmp_path, {"minasi.example": ZONE}, "minasi.example")) as server:
        setup = Setup(server)
        before = await setup.router.resolve("minasi.example")
        addresses = await setup.router.addresses(before.hosts[1])
        server.stop()
        setup.clock.seconds += 301.0
        assert setup.router.cached("minasi.example") is None
        assert await setup.router.resolve("minasi.example") == before
        assert await setup.router.addresses(before.hosts[1]) == addresses
        assert await setup.refused("implicit.minasi.example") == (False, "4.4.3")
        # MX, A and AAAA of the second host; that it has no AAAA is old news as well
        assert setup.router.counts()[Result.STALE] == 3
        server.start()
        setup.clock.seconds += 31.0
        await setup.router.resolve("minasi.example")
        assert await setup.hosts("implicit.minasi.example") == [(0, "implicit.minasi.example")]
        assert setup.router.counts()[Result.STALE] == 3
        await setup.router.close()
        await setup.resolver.close()


async def test_a_short_ttl_ends_and_the_domain_is_asked_again(setup: Setup) -> None:
    await setup.router.resolve("short.minasi.example")
    assert setup.router.cached("short.minasi.example") is not None
    setup.clock.seconds += 1.0
    assert setup.router.cached("short.minasi.example") is None
    await setup.router.resolve("short.minasi.example")
    assert setup.router.counts()[Result.MISS] == 2
