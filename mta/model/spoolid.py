"""Spool ids: 64 bits that sort by time, printed as 13 characters of Crockford base 32.

Layout, high to low: 42 bits of milliseconds since 1970 (lasts until 2109), 8 bits of shard, 14 bits of counter.
Owns: making, printing and parsing ids. Never does: IO. One IdSource belongs to one worker's loop thread.
"""

from mta.clock import Clock
from mta.errors import DataError

SHARD_BITS = 8
COUNTER_BITS = 14
MAX_SHARDS = 1 << SHARD_BITS
_COUNTER_MASK = (1 << COUNTER_BITS) - 1
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {c: i for i, c in enumerate(_ALPHABET)}
_TRIPLE = [a + b + c for a in _ALPHABET for b in _ALPHABET for c in _ALPHABET]
TEXT_LENGTH = 13


class IdSource:
    """Gives ids that only grow, also when the wall clock is set back. Loop thread only."""

    def __init__(self, shard: int, clock: Clock) -> None:
        if not 0 <= shard < MAX_SHARDS:
            raise ValueError(f"shard {shard} is outside 0…{MAX_SHARDS - 1}")
        self._shard = shard << COUNTER_BITS
        self._clock = clock
        self._ms = 0
        self._counter = 0

    def next(self) -> int:
        ms = self._clock.now_ms()
        if ms > self._ms:
            self._ms, self._counter = ms, 0
        else:
            self._counter += 1
            if self._counter > _COUNTER_MASK:
                self._ms, self._counter = self._ms + 1, 0
        return self._ms << (SHARD_BITS + COUNTER_BITS) | self._shard | self._counter


def format_id(spool_id: int) -> str:
    """13 characters, no look-alikes, so that text order is time order."""
    return (
        _ALPHABET[spool_id >> 60]
        + _TRIPLE[spool_id >> 45 & 0x7FFF]
        + _TRIPLE[spool_id >> 30 & 0x7FFF]
        + _TRIPLE[spool_id >> 15 & 0x7FFF]
        + _TRIPLE[spool_id & 0x7FFF]
    )


def parse_id(text: str) -> int:
    """The id that :func:`format_id` printed; lower case is taken too. Raises DataError for anything else."""
    upper = text.upper()
    if len(upper) != TEXT_LENGTH or any(c not in _VALUE for c in upper) or _VALUE[upper[0]] > 15:
        raise DataError(f"{text[:40]!r} is not a queue id: 13 characters of 0-9 and A-Z without I, L, O, U")
    value = 0
    for c in upper:
        value = value << 5 | _VALUE[c]
    return value


def shard_of(spool_id: int) -> int:
    """The shard that made the id (adopted shards keep their messages' ids)."""
    return spool_id >> COUNTER_BITS & (MAX_SHARDS - 1)
