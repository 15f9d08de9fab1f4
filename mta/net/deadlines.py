"""One timer for all connections of a process: a wheel of one-second buckets.

Owns: who is looked at when. Never does: close or write; the watched object decides in ``check``. A connection is
in one bucket at a time and is looked at when that comes up, so neither a command nor a read touches a timer.
Loop thread only. Deadlines are late by up to one tick (1 s), never early.
"""

import asyncio
from typing import Protocol

TICK = 1.0


class Watched(Protocol):
    """Something with a deadline."""

    def check(self, now: float) -> float:
        """Called when the time last asked for has come (monotonic seconds): acts if its deadline has passed, and
        gives when to look again; 0 stops the watching."""


class Wheel:
    """``watch`` puts an object in; it leaves by answering 0."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, list[Watched]] = {}
        self._turned = int(loop.time())
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._handle = self._loop.call_later(TICK, self._turn)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def watch(self, item: Watched, at: float) -> None:
        """``at``: monotonic seconds of the loop's clock; past moments come up at the next tick."""
        bucket = max(int(at) + 1, self._turned + 1)
        self._buckets.setdefault(bucket, []).append(item)

    def _turn(self) -> None:
        self._handle = self._loop.call_later(TICK, self._turn)
        now = self._loop.time()
        while self._turned < int(now):
            self._turned += 1
            for item in self._buckets.pop(self._turned, ()):
                again = item.check(now)
                if again:
                    self.watch(item, again)
