"""What the attendant may ask of a worker about its queue, by name.

Owns: which shard a request goes to, and ``LiveControl``, which lets ``mta.queue.admin`` reach the entries in memory.
Never does: the edits themselves. Loop thread only.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mta.clock import Clock
from mta.errors import DataError
from mta.log import EventLog
from mta.model.message import Message
from mta.queue.admin import QueueAdmin, answer
from mta.services.control import Args
from mta.services.delivery import Delivery
from mta.services.shard import Shard

Row = Mapping[str, Any]
#: Edits by which an operator says: try it now, whatever you think of the site.
TRY_NOW = ("queue.flush", "queue.release")


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
    """The requests over all shards of this worker; a request names its shard."""

    def __init__(self, shards: list[Shard], delivery: Delivery, events: EventLog, clock: Clock) -> None:
        self._admins = {shard.spool.shard: self._make(shard, delivery, events, clock) for shard in shards}
        self._delivery = delivery

    def _make(self, shard: Shard, delivery: Delivery, events: EventLog, clock: Clock) -> QueueAdmin:
        control = LiveControl(shard, delivery, clock)
        dsn, bounced = shard.bounces.by_operator, shard.outcomes.bounced
        return QueueAdmin(shard.spool, control, clock, events.write, make_dsn=dsn, bounced=bounced)

    async def answer(self, verb: str, args: Args, shard: int) -> AsyncIterator[Row]:
        """The rows of a request; an edit's answer ends when the edit is committed. Raises MtaError."""
        admin = self._admins.get(shard)
        if admin is None:
            raise DataError(f"this worker has no shard {shard}; ask again, its owner may have changed")
        if verb in TRY_NOW:
            self._delivery.lift_suspensions()
        async for row in answer(admin, verb, dict(args)):
            yield row
        await admin.drained()

    async def flush(self, node: str) -> int:
        """All for a domain, or with "@" in front for it and those below it: how many messages are tried now, of our
        own shards. Raises MtaError."""
        met = 0
        for shard, admin in self._admins.items():
            for row in await admin.stats():
                domain = row["domain"]
                if domain == node.removeprefix("@") or (node.startswith("@") and domain.endswith(f".{node[1:]}")):
                    async for _ in self.answer("queue.flush", {"domain": domain}, shard):
                        met += 1
        return met

    async def drift(self) -> int:
        """What the ledgers of our shards cannot account for, in recipients: 0, unless something is badly wrong."""
        rows = [await admin.audit() for admin in self._admins.values()]
        return sum(abs(row["drift"]) for row in rows if row["exact"])
