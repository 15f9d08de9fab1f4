"""One question to all shards: order, paging, sums, and errors."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mta.attendant.fanout import PAGE, Fanout
from mta.clock import SystemClock
from mta.errors import DataError, TemporaryError, UsageError
from mta.model.spoolid import IdSource, format_id

Row = dict[str, Any]


class Ticking:
    """A clock that moves on by a millisecond each time it is read."""

    def __init__(self) -> None:
        self._now = 1_800_000_000_000

    def now_ms(self) -> int:
        self._now += 1
        return self._now

    def monotonic(self) -> float:
        return self._now / 1000


class Shards:
    """Shards that answer from lists, and remember what they were asked."""

    def __init__(self, messages: int, shards: int = 2) -> None:
        clock = Ticking()
        sources = [IdSource(shard, clock) for shard in range(shards)]
        self.ids: list[list[str]] = [[] for _ in range(shards)]
        for n in range(messages):
            self.ids[n % shards].append(format_id(sources[n % shards].next()))
        self.asked: list[tuple[str, Row, int]] = []
        self.down: set[int] = set()

    async def ask(self, verb: str, args: Row, shard: int) -> AsyncIterator[Row]:
        self.asked.append((verb, args, shard))
        if shard in self.down:
            raise TemporaryError(f"worker-{shard} is not running")
        if verb == "audit":
            yield {"accepted": 5, "queued": 3, "drift": 1, "exact": shard == 0}
        elif verb == "queue.stats":
            yield {"domain": "both.example", "total": 2, "5": 2}
            yield {"domain": f"only{shard}.example", "total": 1 + shard, "10": 1 + shard}
        else:
            chosen = args.get("ids") or [i for i in self.ids[shard] if i > args.get("after", "")][: args["limit"]]
            for queue_id in chosen:
                yield {"queue_id": queue_id}

    def fanout(self) -> Fanout:
        return Fanout(lambda: list(range(len(self.ids))), self.ask, lambda: 77)


async def test_a_listing_merges_the_shards_in_order_of_arrival_and_page_by_page() -> None:
    shards = Shards(2 * PAGE + 20)
    rows = [row["queue_id"] async for row in shards.fanout().listed({})]
    assert rows == sorted(shards.ids[0] + shards.ids[1])
    assert [shard for _, _, shard in shards.asked].count(0) == 2


async def test_a_limit_ends_the_listing_without_asking_for_more() -> None:
    shards = Shards(3 * PAGE)
    assert len([row async for row in shards.fanout().listed({"limit": 3})]) == 3
    assert len(shards.asked) == 2


async def test_an_edit_of_named_messages_asks_only_the_shards_that_made_them() -> None:
    shards = Shards(4)
    wanted = shards.ids[1]
    rows = [row async for row in shards.fanout().edit("hold", {"ids": wanted})]
    assert [row["queue_id"] for row in rows] == wanted
    assert [shard for _, _, shard in shards.asked] == [1]


async def test_an_edit_of_everything_goes_through_every_page_and_is_bounded_in_time() -> None:
    shards = Shards(2 * PAGE + 2)
    rows = [row async for row in shards.fanout().edit("flush", {"everything": True})]
    assert len(rows) == 2 * PAGE + 2
    assert {args["until"] for _, args, _ in shards.asked} == {77}


async def test_a_limited_edit_changes_no_more_than_it_reports() -> None:
    shards = Shards(4 * PAGE)
    rows = [row async for row in shards.fanout().edit("hold", {"everything": True, "limit": PAGE + 20})]
    assert len(rows) == PAGE + 20
    assert [args["limit"] for _, args, _ in shards.asked] == [PAGE, 20]
    with pytest.raises(UsageError, match="limit"):
        [row async for row in shards.fanout().edit("hold", {"everything": True, "limit": "many"})]


async def test_counts_of_all_shards_are_added_up() -> None:
    fanout = Shards(0).fanout()
    assert await fanout.audit() == {"accepted": 10, "queued": 6, "drift": 2, "exact": False}
    assert [(row["domain"], row["total"]) for row in await fanout.stats()] == [
        ("both.example", 4),
        ("only1.example", 2),
        ("only0.example", 1),
    ]


async def test_a_message_of_a_shard_that_is_not_here_is_unknown() -> None:
    shards = Shards(2)
    stranger = format_id(IdSource(9, SystemClock()).next())
    with pytest.raises(DataError, match="no shard 9"):
        [row async for row in shards.fanout().about("why", stranger)]


async def test_a_shard_that_is_down_is_an_error_and_not_a_shorter_list() -> None:
    shards = Shards(2)
    shards.down.add(1)
    with pytest.raises(TemporaryError, match="worker-1"):
        [row async for row in shards.fanout().listed({})]
