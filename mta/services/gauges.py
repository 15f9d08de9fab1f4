"""Gauges: the numbers of this worker that are looked up rather than counted, once a second.

Owns: queue depth by state, age of the oldest message, free space, the results of DNS look-ups. Never does: walk the
spool; every number is a few reads, and held entries are counted up to a bound. Loop thread only.
"""

import os
import resource

from mta.clock import Clock
from mta.log import EventLog
from mta.metrics import layout
from mta.model.message import HELD, due_key
from mta.policy.stress import Look
from mta.routing.cache import Result
from mta.services.delivery import Delivery
from mta.services.shard import Shard
from mta_ext.counters import Counters

#: Held entries are counted one by one, up to this many a shard.
HELD_COUNTED = 1000

_DNS = {
    Result.HIT: layout.DNS_HIT,
    Result.MISS: layout.DNS_MISS,
    Result.STALE: layout.DNS_STALE,
    Result.NEGATIVE: layout.DNS_NEGATIVE,
    Result.COALESCED: layout.DNS_COALESCED,
    Result.REFRESH: layout.DNS_REFRESH,
    Result.ERROR: layout.DNS_ERROR,
}


class Gauges:
    """``update`` writes them into the worker's row."""

    def __init__(
        self, shards: list[Shard], delivery: Delivery, events: EventLog, counters: Counters, clock: Clock
    ) -> None:
        self._shards = shards
        self._delivery = delivery
        self._events = events
        self._counters = counters
        self._clock = clock
        #: Recipients in the queue at the last update.
        self.outstanding = 0

    def update(self) -> None:
        counters = self._counters
        in_flight = self._delivery.in_flight()
        live = sum(len(shard.scheduler) for shard in self._shards)
        held = sum(self._held(shard) for shard in self._shards)
        self.outstanding = sum(shard.spool.ledger().outstanding() for shard in self._shards)
        counters.set(layout.QUEUE_INFLIGHT, in_flight)
        counters.set(layout.QUEUE_READY, max(0, live - in_flight))
        counters.set(layout.QUEUE_HELD, held)
        counters.set(layout.QUEUE_SCHEDULED, max(0, self.outstanding - live - held))
        counters.set(layout.QUEUE_OLDEST_MS, max(self._oldest(shard) for shard in self._shards))
        counters.set(layout.SPOOL_FREE, max(0, min(shard.spool.free_octets() for shard in self._shards)))
        counters.set(layout.LOG_LOST, self._events.lost)
        for result, count in self._delivery.router.counts().items():
            counters.set(_DNS[result], count)

    def _held(self, shard: Shard) -> int:
        return len(shard.spool.due(due_key(HELD - 1, (1 << 64) - 1, 0xFFFF), HELD, HELD_COUNTED))

    def _oldest(self, shard: Shard) -> int:
        """Age of the first message by id, in milliseconds; ids sort by time of arrival."""
        first = shard.spool.messages(0, 1)
        return max(0, self._clock.now_ms() - first[0].arrival) if first else 0


class StressGauge:
    """What stress is measured by. ``connections``: how many there may be; ``memory``: octets that count as full, 0: any
    is fine."""

    def __init__(self, connections: int, memory: int) -> None:
        self._connections = connections
        self._memory = memory
        self._descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def look(self, connections: int, lag: float, commit: float) -> Look:
        """``lag`` and ``commit``: the worst of the last second. A few reads; for the heartbeat."""
        memory = anonymous_memory() / self._memory if self._memory else 0.0
        return Look(connections / self._connections, lag, commit, memory, _descriptors() / self._descriptors)


def anonymous_memory() -> int:
    """Octets of this process that are its own: pages of the spool's file come and go as the kernel likes. 0 where the
    kernel does not tell, as when no file can be opened: then the descriptors tell of the stress."""
    try:
        with open("/proc/self/status", "rb") as status:
            line = next((line for line in status if line.startswith(b"RssAnon:")), b"RssAnon: 0 kB")
    except OSError:
        return 0
    return int(line.split()[1]) * 1024


def _descriptors() -> int:
    """How many are open, or fewer: the kernel gives the lowest free number. Near the limit there are few gaps."""
    try:
        probe = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.close(probe)
    return probe
