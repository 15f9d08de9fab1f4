"""Lists of addresses in real name servers: asked directly (nsd) and through a recursive resolver (unbound)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from mta.clock import SystemClock
from mta.config.units import network
from mta.policy.blocklists import BlockList, label_of, verdict
from mta.routing.answers import DnsTrouble
from mta.routing.cache import Result
from mta.routing.nameservers import name_servers
from mta.routing.resolver import Resolver
from tests.harness.zone_server import RealResolver, RealZoneServer, running

ZONE = """
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
9.0.0.127 A 127.0.0.2
9.0.0.127 A 127.0.0.4
9.0.0.127 TXT "look there for why"
*.100.51.198 A 127.0.0.10
b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.2
mute TXT "no address"
"""
ORIGIN = "list.example"
LIST = BlockList(ORIGIN, 1.0, (network("127.0.0.0/24"),))


@pytest.fixture(scope="module", params=["nsd", "unbound"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("lists")
    with running(RealZoneServer(directory, {ORIGIN: ZONE}, ORIGIN)) as zones:
        if request.param == "nsd":
            yield zones.address
            return
        with running(RealResolver(directory, ORIGIN, zones)) as resolver:
            yield resolver.address


@pytest.fixture
async def resolver(address: str) -> AsyncIterator[Resolver]:
    made = Resolver(name_servers([address]), 5.0, SystemClock(), random=Random(1))
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("client", "answers", "blamed"),
    [
        ("127.0.0.9", {"127.0.0.2", "127.0.0.4"}, ORIGIN),
        ("198.51.100.200", {"127.0.0.10"}, ORIGIN),
        ("2001:db8:1:2:3:4:567:89ab", {"127.0.0.2"}, ORIGIN),
        ("127.0.0.8", set(), None),
        ("2001:db8::1", set(), None),
    ],
)
async def test_a_list_says_who_is_on_it(resolver: Resolver, client: str, answers: set[str], blamed: str | None) -> None:
    said = await resolver.listing(f"{label_of(client)}.{ORIGIN}")
    assert set(said) == answers
    assert verdict([LIST], [said], 1.0) == blamed


async def test_a_name_without_an_address_is_not_listed(resolver: Resolver) -> None:
    assert await resolver.listing(f"mute.{ORIGIN}") == ()


async def test_many_clients_of_one_network_ask_once_and_yes_and_no_are_kept(resolver: Resolver) -> None:
    for client in ("127.0.0.9", "127.0.0.7"):
        name = f"{label_of(client)}.{ORIGIN}"
        said = await asyncio.gather(*(resolver.listing(name) for _ in range(20)))
        assert len(set(said)) == 1
        await resolver.listing(name)
    assert resolver.counts[Result.MISS] == 2
    assert resolver.counts[Result.COALESCED] == 38
    assert resolver.counts[Result.HIT] == resolver.counts[Result.NEGATIVE] == 1


async def test_a_list_that_is_gone_is_trouble_and_no_answer() -> None:
    lost = Resolver(name_servers(["127.0.0.1:9"]), 0.3, SystemClock(), random=Random(1))
    with pytest.raises(DnsTrouble):
        await lost.listing(f"9.0.0.127.{ORIGIN}")
    await lost.close()
