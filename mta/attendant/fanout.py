"""One question to the whole queue: asks every shard and merges the rows into one answer.

Owns: which shards a request concerns, the order of merged rows, sums over shards, paging. Never does: IO of its own;
``Ask`` reaches a shard, through a worker or in the files of a stopped server.

Listings and edits of many messages go page by page, so that a slow reader holds nothing in memory anywhere.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from mta.errors import DataError, MtaError
from mta.model.spoolid import parse_id, shard_of
from mta.queue.listing import Filters

Row = dict[str, Any]
#: (verb, arguments, shard) → rows. Raises MtaError.
Ask = Callable[[str, Row, int], AsyncIterator[Row]]

#: Messages asked from a shard in one request.
PAGE = 500
EDITS = ("flush", "hold", "release", "remove", "bounce")


class Fanout:
    """Requests over all shards of one server. ``shards`` tells which there are right now."""

    def __init__(self, shards: Callable[[], list[int]], ask: Ask, now_ms: Callable[[], int]) -> None:
        self._shards = shards
        self._ask = ask
        self._now_ms = now_ms

    async def about(self, verb: str, queue_id: str) -> AsyncIterator[Row]:
        """A request about one message (``queue.show``, ``queue.cat``, ``why``). DataError: no such id."""
        async for row in self._ask(verb, {"id": queue_id}, self._shard(queue_id)):
            yield row

    async def listed(self, args: Row) -> AsyncIterator[Row]:
        """``queue.list`` in the order of arrival. A shard that does not answer ends the listing with its error."""
        limit = int(args.get("limit", 0))
        sources = [self._pages("queue.list", args, shard) for shard in self._shards()]
        given = 0
        async for row in _merged(sources):
            yield row
            given += 1
            if given == limit:
                return

    async def edit(self, verb: str, args: Row) -> AsyncIterator[Row]:
        """``queue.flush`` and the like: the named messages, or shard after shard all that match.

        Raises UsageError before anything is changed when an argument is wrong.
        """
        left = Filters.of(args).limit
        if args.get("ids"):
            by_shard: dict[int, list[str]] = {}
            for queue_id in args["ids"]:
                by_shard.setdefault(self._shard(queue_id), []).append(queue_id)
            for shard, ids in by_shard.items():
                async for row in self._ask(f"queue.{verb}", args | {"ids": ids}, shard):
                    yield row
            return
        bounded = args | {"until": self._now_ms()}  # not the DSNs that the edit itself makes
        for shard in self._shards():
            async for row in self._pages(f"queue.{verb}", bounded, shard, left):
                yield row
                left -= 1
                if left == 0:
                    return

    async def stats(self) -> list[Row]:
        """``queue.stats``: the domains of all shards, the most loaded first."""
        domains: dict[str, Row] = {}
        for shard in self._shards():
            async for row in self._ask("queue.stats", {}, shard):
                _add(domains.setdefault(row["domain"], {"domain": row["domain"]}), row)
        return sorted(domains.values(), key=lambda row: (-row["total"], row["domain"]))

    async def audit(self) -> Row:
        """``audit``: the books of all shards added up."""
        total: Row = {}
        exact = True
        for shard in self._shards():
            async for row in self._ask("audit", {}, shard):
                exact = exact and bool(row.get("exact", True))
                _add(total, row)
        return total | {"exact": exact}

    async def _pages(self, verb: str, args: Row, shard: int, limit: int = 0) -> AsyncIterator[Row]:
        """``limit`` above 0: no more rows are asked for, so that an edit changes no more than it reports."""
        after = str(args.get("after", ""))
        left = limit
        while True:
            met, page = 0, min(PAGE, left) if limit > 0 else PAGE
            async for row in self._ask(verb, args | {"after": after, "limit": page}, shard):
                yield row
                after = row["queue_id"]
                met += 1
            left -= met
            if met < page or (limit > 0 and left == 0):
                return

    def _shard(self, queue_id: str) -> int:
        shard = shard_of(parse_id(queue_id))
        if shard not in self._shards():
            raise DataError(f"{queue_id} is not in the queue: this server has no shard {shard}")
        return shard


async def _merged(sources: list[AsyncIterator[Row]]) -> AsyncIterator[Row]:
    """Rows of sources that are each sorted by queue id, sorted. Ids sort by time of arrival."""
    heads: list[tuple[Row, AsyncIterator[Row]]] = []
    for source in sources:
        async for row in source:
            heads.append((row, source))
            break
    while heads:
        first = min(range(len(heads)), key=lambda i: str(heads[i][0]["queue_id"]))
        row, source = heads[first]
        yield row
        following = await anext(source, None)
        if following is None:
            del heads[first]
        else:
            heads[first] = (following, source)


def _add(total: Row, row: Row) -> None:
    for name, value in row.items():
        if isinstance(value, int) and not isinstance(value, bool):
            total[name] = total.get(name, 0) + value


def http_status(error: MtaError) -> int:
    """The status that fits an error of ours."""
    return {64: 400, 65: 404, 69: 503, 75: 503, 77: 403}.get(error.exit_code, 500)
