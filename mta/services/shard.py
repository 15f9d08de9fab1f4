"""A shard at work: one spool with its scheduler, its outcomes and its administration.

Owns: the wiring of what belongs to one LMDB environment. A worker has its own shard, and perhaps orphans that it works
off (shards of workers that are no more). Never does: decide or transport. Loop thread only.
"""

from collections.abc import Callable

from mta.clock import Clock
from mta.log import EventLog
from mta.model.spoolid import IdSource
from mta.policy.retry import RetryPolicy
from mta.queue.scheduler import Deliverer, Scheduler
from mta.services.bounces import Bounces
from mta.services.expansions import Expansions
from mta.services.outcomes import Outcomes
from mta.spool.protocol import Spool, SpoolFailed
from mta_ext.counters import Counters


class Shard:
    """``start`` opens the spool; ``refill`` brings what is due; ``stop`` commits and closes."""

    def __init__(
        self,
        spool: Spool,
        retry: RetryPolicy,
        deliverer: Deliverer,
        events: EventLog,
        counters: Counters,
        clock: Clock,
        *,
        hostname: str,
        live: int,
        content_memory: int,
        give_up_after: float,
    ) -> None:
        self.spool = spool
        self.scheduler = Scheduler(spool, clock, deliverer, limit=live, content_memory=content_memory)
        self.scheduler.home = self
        # An id leads to its shard, also for what we write ourselves into an orphan.
        self.ids = IdSource(spool.shard, clock)
        self.bounces = Bounces(spool, self.ids, clock, hostname, give_up_after)
        self.outcomes = Outcomes(spool, self.scheduler, retry, self.bounces, events, counters, clock)
        self.expansions = Expansions(spool, self.scheduler, self.outcomes, self.ids, clock)

    def start(self, on_failure: Callable[[SpoolFailed], None], on_commit: Callable[[float, int], None]) -> None:
        """``on_commit`` hears of each commit: seconds and messages. Raises StorageError."""
        self.spool.on_commit = on_commit
        self.spool.start(on_failure)

    async def stop(self) -> None:
        await self.spool.stop()
