"""What the attendant may ask of a worker about its queue, by name.

Owns: the table of verbs, and ``LiveControl``, which lets ``mta.queue.admin`` reach the entries in memory. Never does:
the edits themselves. Loop thread only.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from mta.clock import Clock
from mta.errors import DataError
from mta.log import Event, EventLog
from mta.model.message import Message
from mta.queue.admin import QueueAdmin
from mta.queue.listing import Filters
from mta.services.control import Args, Verb
from mta.services.delivery import Delivery
from mta.services.shard import Shard

Row = Mapping[str, Any]
EDITS = ("flush", "hold", "release", "remove", "bounce")


class LiveControl:
    """One shard's entries in memory, as an operator's edits need them."""

    def __init__(self, shard: Shard, delivery: Delivery, clock: Clock) -> None:
        self._clock = clock
        self._shard = shard
        self._delivery = delivery

    def _message(self, spool_id: int) -> Message | None:
        return self._shard.spool.load(spool_id)

    def recall(self, spool_id: int) -> bool:
        message = self._message(spool_id)
        return message is None or self._shard.scheduler.recall(message)

    def wake(self) -> None:
        self._shard.scheduler.wake()

    def live(self, spool_id: int) -> bool:
        message = self._message(spool_id)
        return message is not None and bool(self._shard.scheduler.find(message))

    def waiting(self, spool_id: int) -> list[dict[str, Any]]:
        message = self._message(spool_id)
        if message is None:
            return []
        live = {entry.domain: entry for entry in self._shard.scheduler.find(message)}
        now = self._clock.now_ms()
        due = {r.domain for r in message.queued() if r.due <= now}
        return [self._delivery.constraint(domain, live.get(domain)) for domain in sorted(due | live.keys())]


class QueueVerbs:
    """The verbs over all shards of this worker; a request names its shard."""

    def __init__(self, shards: list[Shard], delivery: Delivery, events: EventLog, clock: Clock) -> None:
        self._admins = {
            shard.spool.shard: QueueAdmin(
                shard.spool,
                LiveControl(shard, delivery, clock),
                clock,
                lambda row: events.write(msgspec.convert(row, Event)),
                make_dsn=lambda message, recipients, reason, shard=shard: shard.bounces.failed(  # type: ignore[misc]
                    message, recipients, clock.now_ms()
                ),
            )
            for shard in shards
        }

    def table(self) -> dict[str, Verb]:
        """Name → generator of rows."""
        verbs: dict[str, Verb] = {
            "queue.list": self._list,
            "queue.show": self._show,
            "queue.cat": self._cat,
            "queue.stats": self._stats,
            "why": self._why,
            "audit": self._audit,
        }
        for verb in EDITS:
            verbs[f"queue.{verb}"] = self._editor(verb)
        return verbs

    def _admin(self, shard: int) -> QueueAdmin:
        admin = self._admins.get(shard)
        if admin is None:
            raise DataError(f"this worker has no shard {shard}; ask again, its owner may have changed")
        return admin

    async def _list(self, args: Args, shard: int) -> AsyncIterator[Row]:
        async for row in self._admin(shard).listed(Filters.of(dict(args))):
            yield row

    async def _show(self, args: Args, shard: int) -> AsyncIterator[Row]:
        yield self._admin(shard).show(args["id"])

    async def _cat(self, args: Args, shard: int) -> AsyncIterator[Row]:
        async for chunk in self._admin(shard).content(args["id"]):
            yield {"content": chunk}

    async def _stats(self, args: Args, shard: int) -> AsyncIterator[Row]:
        for row in await self._admin(shard).stats():
            yield row

    async def _why(self, args: Args, shard: int) -> AsyncIterator[Row]:
        for row in self._admin(shard).why(args["id"]):
            yield row

    async def _audit(self, args: Args, shard: int) -> AsyncIterator[Row]:
        yield await self._admin(shard).audit()

    def _editor(self, verb: str) -> Verb:
        async def edit(args: Args, shard: int) -> AsyncIterator[Row]:
            admin = self._admin(shard)
            async for row in admin.edit(verb, Filters.of(dict(args))):
                yield row
            await admin.drained()

        return edit
