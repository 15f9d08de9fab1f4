"""The TTL cache of DNS answers: what is fresh, what is ageing, what is stale and still better than nothing.

Owns: expiry, the bound on size (least recently used leaves), the memory of failures, and the counters per result.
Pure: the moment (monotonic seconds) is passed in. One thread. Never does: look up, or decide what an answer means.
"""

from collections import Counter
from collections.abc import Hashable, MutableMapping
from enum import StrEnum
from random import Random
from typing import Any, Final, TypeVar

import msgspec

from mta.routing.answers import Answer, DnsTrouble, Kind

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Entries; about 1 KiB each.
CACHE_SIZE: Final = 8192
#: Seconds that an answer may outlive its TTL while DNS is in trouble (RFC 8767 §5 recommends one to three days).
MAX_STALE: Final = 86_400.0
#: Seconds before DNS is asked again for a name that is being served stale (RFC 8767 §5: at least 30).
STALE_RECHECK: Final = 30.0
#: Seconds that a failure is remembered when there is no stale answer (RFC 9520 §3.2: at least 1, at most 300).
FAILURE_TTL: Final = 5.0
#: The part of the TTL after which a name that is asked again is refreshed; drawn per answer, so that names which were
#: looked up together do not come back together.
REFRESH_FROM: Final = 0.8
REFRESH_TO: Final = 0.9


class Result(StrEnum):
    """Label ``result`` of ``mta_dns_cache_total``."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"
    NEGATIVE = "negative"
    COALESCED = "coalesced"
    REFRESH = "refresh"
    ERROR = "error"


class Lookup(msgspec.Struct, frozen=True):
    """An answer and how long it holds, in monotonic seconds. ``stale``: past its TTL, DNS being in trouble."""

    answer: Answer[Any]
    refresh_at: float
    expires: float
    stale: bool = False


Counts = Counter[Result]


class Cache:
    """Answers by key. All times are monotonic seconds."""

    def __init__(self, random: Random, size: int = CACHE_SIZE) -> None:
        self._random = random
        self._size = size
        self._lookups: dict[Hashable, Lookup] = {}
        self._failures: dict[Hashable, tuple[float, DnsTrouble]] = {}

    def __len__(self) -> int:
        return len(self._lookups)

    def fresh(self, key: Hashable, now: float) -> Lookup | None:
        """The answer while its TTL lasts."""
        lookup = self._lookups.get(key)
        if lookup is None or now >= lookup.expires:
            return None
        self._lookups[key] = self._lookups.pop(key)  # to the young end
        return lookup

    def stale(self, key: Hashable, now: float) -> Lookup | None:
        """The answer up to a day after its TTL. Never NXDOMAIN: mail is not sent back on the strength of old news."""
        lookup = self._lookups.get(key)
        if lookup is None or lookup.answer.kind is Kind.NXDOMAIN or now >= lookup.expires + MAX_STALE:
            return None
        again = now + STALE_RECHECK
        return Lookup(lookup.answer, again, again, stale=True)

    def failure(self, key: Hashable, now: float) -> DnsTrouble | None:
        """Trouble so recent that asking again would only add to it."""
        until, trouble = self._failures.get(key, (0.0, None))
        return trouble if now < until else None

    def store(self, key: Hashable, answer: Answer[Any], now: float) -> Lookup:
        """Keeps the answer for its TTL; the failure that was remembered for the key is over."""
        self._failures.pop(key, None)
        refresh = now + answer.ttl * self._random.uniform(REFRESH_FROM, REFRESH_TO)
        lookup = Lookup(answer, refresh, now + answer.ttl)
        put_bounded(self._lookups, key, lookup, self._size)
        return lookup

    def fail(self, key: Hashable, trouble: DnsTrouble, now: float) -> None:
        """Remembers that DNS was just asked in vain: for 30 s when a stale answer bridges it, else for 5 s."""
        pause = FAILURE_TTL if self.stale(key, now) is None else STALE_RECHECK
        put_bounded(self._failures, key, (now + pause, trouble), self._size)


def put_bounded(table: MutableMapping[K, V], key: K, value: V, size: int) -> None:
    """Sets ``key`` at the young end of a dict; the oldest key leaves when there are more than ``size``."""
    table.pop(key, None)
    table[key] = value
    if len(table) > size:
        del table[next(iter(table))]
