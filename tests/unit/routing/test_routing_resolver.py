"""The resolver on a transport without a network: cache first, then DNS, then what is stale; every result counted."""

import asyncio

import pytest

from mta.routing.answers import MAX_CHAIN, DnsTrouble, Kind, MxRecord, Reason
from mta.routing.cache import STALE_RECHECK, Result
from mta.services.zone import zone_from_text
from tests.harness.clocks import SetClock
from tests.unit.routing.fakes import ZoneTransport, resolver_on, settled

ZONE = {
    "minasi.example": ["MX 10 mx.minasi.example.", "A 192.0.2.1"],
    "mx.minasi.example": ["A 192.0.2.25", "AAAA 2001:db8::25"],
    "alias.example": ["CNAME minasi.example."],
    "loop.example": ["CNAME pool.example."],
    "pool.example": ["CNAME loop.example."],
    "v4.example": ["A 192.0.2.4", "A 0.0.0.0", "A 224.0.0.1"],
    "bare.example": ["TXT nothing"],
}


async def test_the_second_look_up_comes_from_the_cache() -> None:
    transport = ZoneTransport(ZONE)
    resolver = resolver_on(transport, SetClock())
    first = await resolver.mx("minasi.example")
    assert first.answer.records == (MxRecord(10, "mx.minasi.example"),)
    assert await resolver.mx("minasi.example") is first
    assert transport.asked == {("minasi.example", "MX"): 1}
    assert (resolver.counts[Result.MISS], resolver.counts[Result.HIT]) == (1, 1)


async def test_both_address_families_are_asked_at_the_same_time() -> None:
    transport = ZoneTransport(ZONE)
    resolver = resolver_on(transport, SetClock())
    transport.gate.clear()
    waiting = asyncio.create_task(resolver.addresses("mx.minasi.example"))
    await settled()
    assert set(transport.asked) == {("mx.minasi.example", "A"), ("mx.minasi.example", "AAAA")}
    transport.gate.set()
    assert await waiting == ["2001:db8::25", "192.0.2.25"]
    assert await resolver.addresses("mx.minasi.example") == ["2001:db8::25", "192.0.2.25"]
    assert transport.asked.total() == 2, "and both are kept"


async def test_addresses_that_no_host_can_have_are_left_out() -> None:
    assert await resolver_on(ZoneTransport(ZONE), SetClock()).addresses("v4.example") == ["192.0.2.4"]


async def test_an_alias_leads_to_the_records_of_its_target() -> None:
    resolver = resolver_on(ZoneTransport(ZONE), SetClock())
    assert (await resolver.mx("alias.example")).answer.records == (MxRecord(10, "mx.minasi.example"),)
    assert await resolver.addresses("alias.example") == ["192.0.2.1"]


async def test_a_loop_of_aliases_is_trouble_and_ends() -> None:
    transport = ZoneTransport(ZONE)
    with pytest.raises(DnsTrouble) as caught:
        await resolver_on(transport, SetClock()).mx("loop.example")
    assert caught.value.reason is Reason.LOOP
    assert transport.asked.total() == 1


SOA = "$TTL 300\n@ SOA ns h 1 2 3 4 60\n"


async def test_an_alias_into_another_zone_is_followed_and_lasts_as_long_as_its_shortest_part() -> None:
    transport, clock = ZoneTransport({}), SetClock()
    near = zone_from_text(SOA + "out 20 CNAME far.test.\nround CNAME round.far.test.\n", "near.test")
    far = zone_from_text(SOA + "@ MX 5 mx\nround CNAME round.near.test.\n", "far.test")
    transport.serve(near, far)
    resolver = resolver_on(transport, clock)
    lookup = await resolver.mx("out.near.test")
    assert lookup.answer.records == (MxRecord(5, "mx.far.test"),)
    assert lookup.expires == clock.seconds + 20
    assert transport.asked == {("out.near.test", "MX"): 1, ("far.test", "MX"): 1}
    with pytest.raises(DnsTrouble) as caught:
        await resolver.mx("round.near.test")
    assert caught.value.reason is Reason.LOOP
    assert transport.asked.total() == 2 + MAX_CHAIN


async def test_no_data_and_no_such_name_are_remembered_as_negative() -> None:
    transport, clock = ZoneTransport(ZONE), SetClock()
    resolver = resolver_on(transport, clock)
    assert (await resolver.mx("bare.example")).answer.kind is Kind.NODATA
    assert (await resolver.mx("absent.example")).answer.kind is Kind.NXDOMAIN
    assert await resolver.addresses("bare.example") == []
    asked = transport.asked.total()
    assert (await resolver.mx("absent.example")).answer.kind is Kind.NXDOMAIN
    assert await resolver.addresses("bare.example") == []
    assert transport.asked.total() == asked
    assert resolver.counts[Result.NEGATIVE] == 3


async def test_a_thousand_equal_look_ups_at_once_are_one_query() -> None:
    transport = ZoneTransport(ZONE)
    resolver = resolver_on(transport, SetClock())
    transport.gate.clear()
    herd = [asyncio.create_task(resolver.mx("minasi.example")) for _ in range(1000)]
    await settled()
    transport.gate.set()
    assert len({id(lookup) for lookup in await asyncio.gather(*herd)}) == 1
    assert transport.asked.total() == 1
    assert (resolver.counts[Result.MISS], resolver.counts[Result.COALESCED]) == (1, 999)


async def test_one_who_gives_up_waiting_does_not_take_the_others_with_him() -> None:
    transport = ZoneTransport(ZONE)
    resolver = resolver_on(transport, SetClock())
    transport.gate.clear()
    impatient = asyncio.create_task(resolver.mx("minasi.example"))
    patient = asyncio.create_task(resolver.mx("minasi.example"))
    await settled()
    impatient.cancel()
    await settled()
    transport.gate.set()
    assert (await patient).answer.kind is Kind.FOUND
    assert impatient.cancelled()


async def test_a_name_asked_again_near_its_end_is_refreshed_in_the_background() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    resolver = resolver_on(transport, clock)
    old = await resolver.mx("minasi.example")
    clock.seconds += 79
    assert await resolver.mx("minasi.example") is old
    await settled()
    assert transport.asked.total() == 1
    clock.seconds += 12
    assert await resolver.mx("minasi.example") is old
    assert await resolver.mx("minasi.example") is old
    await settled()
    assert transport.asked.total() == 2
    assert resolver.counts[Result.REFRESH] == 1
    clock.seconds += 50
    assert await resolver.mx("minasi.example") is not old
    assert transport.asked.total() == 2


async def test_a_refresh_that_fails_leaves_the_fresh_answer_and_is_not_repeated_at_once() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    resolver = resolver_on(transport, clock)
    old = await resolver.mx("minasi.example")
    transport.trouble["*"] = Reason.TIMEOUT
    clock.seconds += 91
    for _ in range(5):
        assert await resolver.mx("minasi.example") is old
        await settled()
    assert transport.asked.total() == 2


async def test_a_dead_resolver_leaves_the_stale_answer_and_is_asked_again_after_a_pause() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    resolver = resolver_on(transport, clock)
    await resolver.mx("minasi.example")
    transport.trouble["*"] = Reason.UNREACHABLE
    clock.seconds += 101
    for _ in range(10):
        lookup = await resolver.mx("minasi.example")
        assert lookup.stale
        assert lookup.answer.kind is Kind.FOUND
    assert transport.asked.total() == 2
    assert resolver.counts[Result.STALE] == 10
    transport.trouble.clear()
    clock.seconds += STALE_RECHECK
    assert not (await resolver.mx("minasi.example")).stale
    assert transport.asked.total() == 3


async def test_trouble_without_a_stale_answer_is_an_error_and_not_asked_again_at_once() -> None:
    transport, clock = ZoneTransport(ZONE), SetClock()
    resolver = resolver_on(transport, clock)
    transport.trouble["minasi.example"] = Reason.SERVFAIL
    for _ in range(3):
        with pytest.raises(DnsTrouble, match=r"minasi\.example: the name server failed \(192\.0\.2\.53:53\)"):
            await resolver.mx("minasi.example")
    assert transport.asked.total() == 1
    assert resolver.counts[Result.ERROR] == 3
    clock.seconds += 6
    transport.trouble.clear()
    assert (await resolver.mx("minasi.example")).answer.kind is Kind.FOUND


async def test_a_name_that_did_not_exist_is_trouble_and_not_absent_when_dns_fails_later() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    resolver = resolver_on(transport, clock)
    await resolver.mx("absent.example")
    transport.trouble["*"] = Reason.TIMEOUT
    clock.seconds += 101
    with pytest.raises(DnsTrouble):
        await resolver.mx("absent.example")


async def test_one_family_in_trouble_does_not_hide_the_other() -> None:
    transport = ZoneTransport(ZONE)
    real = transport.query

    async def no_aaaa(name: str, rdtype: object) -> object:
        if getattr(rdtype, "name", "") == "AAAA":
            raise DnsTrouble(Reason.SERVFAIL, name)
        return await real(name, rdtype)  # type: ignore[arg-type]

    transport.query = no_aaaa  # type: ignore[method-assign,assignment]
    resolver = resolver_on(transport, SetClock())
    assert await resolver.addresses("mx.minasi.example") == ["192.0.2.25"]
    with pytest.raises(DnsTrouble):
        await resolver.addresses("bare.example")


async def test_stale_news_of_no_address_is_trouble() -> None:
    transport, clock = ZoneTransport(ZONE, ttl=100), SetClock()
    resolver = resolver_on(transport, clock)
    assert await resolver.addresses("bare.example") == []
    transport.trouble["*"] = Reason.TIMEOUT
    clock.seconds += 101
    with pytest.raises(DnsTrouble):
        await resolver.addresses("bare.example")


async def test_closing_ends_what_is_under_way() -> None:
    transport = ZoneTransport(ZONE)
    resolver = resolver_on(transport, SetClock())
    transport.gate.clear()
    waiting = asyncio.create_task(resolver.mx("minasi.example"))
    await settled()
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert transport.closed


async def test_servers_that_do_not_answer_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    transport, clock = ZoneTransport(ZONE), SetClock()
    resolver = resolver_on(transport, clock)

    async def told(name: str, reason: Reason) -> int:
        transport.trouble["*"] = reason
        with caplog.at_level("WARNING", "mta.dns"), pytest.raises(DnsTrouble):
            await resolver.mx(name)
        return len(caplog.records)

    assert await told("a.example", Reason.SERVFAIL) == 0  # that name's own trouble
    assert await told("b.example", Reason.UNREACHABLE) == 1
    assert "b.example: no name server can be reached (192.0.2.53:53)" in caplog.text
    assert await told("c.example", Reason.TIMEOUT) == 1
    clock.seconds += 61
    assert await told("d.example", Reason.TIMEOUT) == 2
