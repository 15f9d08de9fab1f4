"""The router as delivery sees it: cached, resolve, addresses."""

import asyncio

import pytest

from mta.routing.answers import Reason
from mta.routing.cache import Result
from mta.routing.destination import Destination, Host, RoutingError
from mta.routing.router import MAX_ADDRESSES, Router
from tests.harness.clocks import SetClock
from tests.unit.routing.fakes import ZoneTransport, router_on, settled

ZONE = {
    "minasi.example": ["MX 20 b.minasi.example.", "MX 10 a.minasi.example."],
    "a.minasi.example": ["A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"],
    "b.minasi.example": ["A 192.0.2.3"],
    "sister.example": ["MX 5 a.minasi.example.", "MX 5 b.minasi.example."],
    "implicit.example": ["A 192.0.2.9"],
    "null.example": ["MX 0 ."],
    "bare.example": ["TXT x"],
    "loopback.example": ["MX 10 here.example.", "MX 20 there.example."],
    "backup.example": ["MX 10 there.example.", "MX 20 here.example.", "MX 30 worse.example."],
    "here.example": ["A 127.0.0.1"],
    "there.example": ["A 127.0.0.2"],
    "worse.example": ["A 127.0.0.3"],
    "many.example": [f"A 192.0.2.{i}" for i in range(1, 60)],
}


async def refused(router: Router, domain: str) -> RoutingError:
    with pytest.raises(RoutingError) as caught:
        await router.resolve(domain)
    return caught.value


async def test_a_warm_domain_costs_no_look_up_and_gives_the_same_destination() -> None:
    transport = ZoneTransport(ZONE)
    router = router_on(transport, SetClock(), port=2600)
    assert router.cached("minasi.example") is None
    destination = await router.resolve("minasi.example")
    assert destination.hosts == (Host("a.minasi.example", 2600, 10), Host("b.minasi.example", 2600, 20))
    assert (destination.protocol, destination.site) == ("smtp", "a.minasi.example,b.minasi.example")
    assert router.cached("minasi.example") is destination
    assert await router.resolve("minasi.example") is destination
    assert transport.asked == {("minasi.example", "MX"): 1}
    assert (router.counts()[Result.HIT], router.counts()[Result.MISS]) == (2, 1)


async def test_domains_with_the_same_hosts_share_a_site() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock())
    assert (await router.resolve("minasi.example")).site == (await router.resolve("sister.example")).site


async def test_a_domain_without_mx_is_its_own_host() -> None:
    destination = await router_on(ZoneTransport(ZONE), SetClock()).resolve("implicit.example")
    assert destination == Destination("implicit.example", "smtp", (Host("implicit.example", 25, 0),))


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        ("null.example", "5.1.10"),
        ("absent.example", "5.1.2"),
        ("a..b", "5.1.2"),
        ("[192.0.2.300]", "5.1.2"),
        ("[x", "5.1.2"),
    ],
)
async def test_a_permanent_refusal_is_known_from_then_on(domain: str, status: str) -> None:
    transport = ZoneTransport(ZONE)
    router = router_on(transport, SetClock())
    first = await refused(router, domain)
    known = router.cached(domain)
    assert isinstance(known, RoutingError)
    assert (first.permanent, first.status) == (known.permanent, known.status) == (True, status)
    second = await refused(router, domain)
    assert second is not known
    assert second.text == known.text
    assert transport.asked.total() <= 1


@pytest.mark.parametrize("reason", [Reason.SERVFAIL, Reason.TIMEOUT, Reason.REFUSED, Reason.UNREACHABLE, Reason.LOOP])
async def test_dns_trouble_is_transient_and_never_an_implicit_mx(reason: Reason) -> None:
    transport = ZoneTransport(ZONE)
    transport.trouble["implicit.example"] = reason
    error = await refused(router_on(transport, SetClock()), "implicit.example")
    assert (error.permanent, error.status, error.remote) == (False, "4.4.3", "192.0.2.53:53")


async def test_a_stale_answer_bridges_trouble() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    router = router_on(transport, clock)
    before = await router.resolve("minasi.example")
    transport.trouble["*"] = Reason.TIMEOUT
    clock.seconds += 101
    assert router.cached("minasi.example") is None
    assert await router.resolve("minasi.example") == before
    assert router.counts()[Result.STALE] == 1


async def test_a_stale_refusal_sends_nothing_back() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    router = router_on(transport, clock)
    assert (await refused(router, "null.example")).permanent
    transport.trouble["*"] = Reason.TIMEOUT
    clock.seconds += 101
    error = await refused(router, "null.example")
    assert (error.permanent, error.status) == (False, "4.4.3")


async def test_a_domain_in_use_is_refreshed_before_it_expires() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    router = router_on(transport, clock)
    old = await router.resolve("minasi.example")
    transport.load({"minasi.example": ["MX 1 new.example."]}, ttl=100)
    clock.seconds += 91
    assert router.cached("minasi.example") is old
    assert router.cached("minasi.example") is old
    await settled()
    assert transport.asked.total() == 2
    new = router.cached("minasi.example")
    assert isinstance(new, Destination)
    assert new.site == "new.example"
    clock.seconds += 50
    assert router.cached("minasi.example") is new
    assert router.counts()[Result.REFRESH] == 1


async def test_a_refresh_that_fails_is_not_repeated_before_the_answer_ends() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    router = router_on(transport, clock)
    old = await router.resolve("minasi.example")
    transport.trouble["*"] = Reason.TIMEOUT
    clock.seconds += 91
    for _ in range(5):
        assert router.cached("minasi.example") == old
        await settled()
    assert transport.asked.total() == 2
    assert router.counts()[Result.STALE] == 0


async def test_a_thousand_messages_for_a_cold_domain_are_one_query() -> None:
    transport = ZoneTransport(ZONE)
    router = router_on(transport, SetClock())
    transport.gate.clear()
    herd = [asyncio.create_task(router.resolve("minasi.example")) for _ in range(1000)]
    await settled()
    transport.gate.set()
    assert len({id(destination) for destination in await asyncio.gather(*herd)}) == 1
    assert transport.asked.total() == 1
    assert router.counts()[Result.COALESCED] == 999


async def test_a_route_goes_before_mx_and_needs_no_dns() -> None:
    transport = ZoneTransport(ZONE)
    routes = [
        ("minasi.example", "lmtp+unix:/run/store.sock"),
        ("*.test", "smtp://[::1]:2600"),
        ("gone.example", "discard:"),
    ]
    router = router_on(transport, SetClock(), routes=routes)
    store = router.cached("minasi.example")
    assert isinstance(store, Destination)
    assert (store.protocol, store.hosts) == ("lmtp", (Host("/run/store.sock", 0, 0),))
    assert await router.addresses(store.hosts[0]) == [("/run/store.sock", 0)]
    assert router.cached("minasi.example") is store
    test = await router.resolve("a.test")
    assert await router.addresses(test.hosts[0]) == [("::1", 2600)]
    assert (await router.resolve("gone.example")).protocol == "discard"
    assert not transport.asked


async def test_an_address_literal_is_a_destination_of_its_own() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock(), port=2600)
    v4, v6 = await router.resolve("[192.0.2.7]"), await router.resolve("[IPv6:2001:db8::7]")
    assert (v4.site, v6.site) == ("[192.0.2.7]", "[2001:db8::7]")
    assert await router.addresses(v4.hosts[0]) == [("192.0.2.7", 2600)]
    assert await router.addresses(v6.hosts[0]) == [("2001:db8::7", 2600)]


async def test_a_smart_host_takes_address_literals_too() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock(), routes=[("*", "smtp://127.0.0.1:2600")])
    assert (await router.resolve("[192.0.2.7]")).site == "smtp://127.0.0.1:2600"


async def test_families_take_turns_and_ipv6_goes_first() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock(), port=2600)
    found = await router.addresses(Host("a.minasi.example", 2600, 10))
    assert found[0] == ("2001:db8::1", 2600)
    assert sorted(found[1:]) == [("192.0.2.1", 2600), ("192.0.2.2", 2600)]


async def test_the_addresses_of_a_host_are_bounded_and_spread() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock())
    draws = [await router.addresses(Host("many.example", 25, 0)) for _ in range(10)]
    assert all(len(draw) == MAX_ADDRESSES for draw in draws)
    assert len({draw[0] for draw in draws}) > 1


async def test_a_host_without_any_address_is_5_4_4() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock())
    for name in ("bare.example", "absent.example"):
        with pytest.raises(RoutingError) as caught:
            await router.addresses(Host(name, 25, 0))
        assert (caught.value.permanent, caught.value.status, caught.value.remote) == (True, "5.4.4", name)


async def test_a_host_of_a_route_without_any_address_sends_no_mail_back() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock(), routes=[("*", "smtp://absent.example:25")])
    (host,) = (await router.resolve("arlington.example")).hosts
    with pytest.raises(RoutingError) as caught:
        await router.addresses(host)
    assert (caught.value.permanent, caught.value.status, caught.value.remote) == (False, "4.4.4", "absent.example")


async def test_a_host_whose_look_up_fails_is_transient() -> None:
    transport = ZoneTransport(ZONE)
    transport.trouble["bare.example"] = Reason.SERVFAIL
    with pytest.raises(RoutingError) as caught:
        await router_on(transport, SetClock()).addresses(Host("bare.example", 25, 0))
    assert (caught.value.permanent, caught.value.status) == (False, "4.4.3")


OURS = frozenset({"127.0.0.1:2525"})


async def test_a_best_mx_with_our_address_and_port_is_a_loop() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock(), port=2525, own_addresses=OURS)
    error = await refused(router, "loopback.example")
    assert (error.permanent, error.status, error.remote) == (True, "5.4.6", "here.example")


async def test_as_a_backup_we_deliver_to_better_hosts_only() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock(), port=2525, own_addresses=OURS)
    assert [host.name for host in (await router.resolve("backup.example")).hosts] == ["there.example"]


async def test_our_address_with_another_port_is_another_server_and_costs_no_look_up() -> None:
    transport = ZoneTransport(ZONE)
    router = router_on(transport, SetClock(), port=2600, own_addresses=OURS)
    destination = await router.resolve("loopback.example")
    assert [host.name for host in destination.hosts] == ["here.example", "there.example"]
    assert transport.asked == {("loopback.example", "MX"): 1}
    assert await router.addresses(destination.hosts[0]) == [("127.0.0.1", 2600)]


async def test_an_mx_with_our_name_is_a_loop() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock(), own_names=frozenset({"a.minasi.example"}))
    assert (await refused(router, "minasi.example")).status == "5.4.6"


async def test_a_host_that_turns_out_to_be_us_is_refused_late_and_the_domain_is_decided_anew() -> None:
    transport, clock = ZoneTransport(ZONE), SetClock()
    router = router_on(transport, clock, port=2525, own_addresses=OURS)
    transport.trouble["here.example"] = Reason.TIMEOUT
    destination = await router.resolve("loopback.example")
    transport.trouble.clear()
    clock.seconds += 6
    with pytest.raises(RoutingError) as caught:
        await router.addresses(destination.hosts[0])
    assert (caught.value.permanent, caught.value.status) == (True, "5.4.6")
    assert (await refused(router, "loopback.example")).status == "5.4.6"


async def test_a_route_or_literal_to_our_own_listener_is_a_loop() -> None:
    router = router_on(
        ZoneTransport(ZONE), SetClock(), port=2525, own_addresses=OURS, routes=[("r.test", "smtp://127.0.0.1:2525")]
    )
    for domain in ("r.test", "[127.0.0.1]"):
        host = (await router.resolve(domain)).hosts[0]
        with pytest.raises(RoutingError, match="loops"):
            await router.addresses(host)


async def test_every_connection_may_begin_with_another_of_equal_hosts() -> None:
    router = router_on(ZoneTransport(ZONE), SetClock())
    destination = await router.resolve("sister.example")
    assert {router.in_order(destination)[0].name for _ in range(30)} == {"a.minasi.example", "b.minasi.example"}


async def test_closing_ends_a_refresh_under_way() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    router = router_on(transport, clock)
    await router.resolve("minasi.example")
    transport.gate.clear()
    clock.seconds += 91
    assert router.cached("minasi.example") is not None
    await settled()
    await router.close()
    transport.gate.set()
