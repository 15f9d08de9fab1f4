"""One timer for all connections of a process: a wheel of one-second buckets.

Owns: who is looked at when. Never does: close or write; the watched object decides in ``check``. A connection is
in one bucket at a time and is looked at when that comes up, so neither a command nor a read touches a timer. It is
taken out when it is gone: of thousands of short connections a second none is kept until its deadline.
Loop thread only. An item is looked at up to one tick (1 s) late, never early, as long as the loop turns.
"""

import asyncio
import math
from typing import Protocol

TICK = 1.0
#: Of a tick, what is taken for rounding: a whole number of ticks from a tick is that tick, not the one behind it.
_ROUNDING = 1e-6


class Watched(Protocol):
    """Something with a deadline. ``bucket`` belongs to the wheel; 0: it is not watched."""

    bucket: int

    def check(self, now: float) -> float:
        """Called when the time last asked for has come: acts if its deadline has passed, and gives when to look again;
        0 leaves that as it is, which is never unless ``check`` called ``watch``. ``now``: the tick's own moment
        (monotonic seconds), so that whole seconds from now are a tick and not just behind one."""


class Wheel:
    """``watch`` puts an object in, or moves it; it leaves by answering 0, or by ``forget``.

    Ticks are counted from when the wheel was made: bucket N comes up N ticks later, however late a turn was."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Watched]] = {}
        self._began = loop.time()
        self._turned = 0
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def start(self) -> None:
        self._handle = self._loop.call_at(self._moment(self._turned + 1), self._turn)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def watch(self, item: Watched, at: float) -> None:
        """``at``: monotonic seconds of the loop's clock; past moments come up at the next tick."""
        self.forget(item)
        item.bucket = max(math.ceil((at - self._began) / TICK - _ROUNDING), self._turned + 1)
        self._buckets.setdefault(item.bucket, set()).add(item)

    def forget(self, item: Watched) -> None:
        """Out of the wheel, and out of memory as far as this is concerned. Idempotent."""
        if item.bucket:
            bucket = self._buckets.get(item.bucket)
            if bucket is not None:
                bucket.discard(item)
            item.bucket = 0

    def _moment(self, tick: int) -> float:
        return self._began + tick * TICK

    def _turn(self) -> None:
        last = max(math.floor((self._loop.time() - self._began) / TICK + _ROUNDING), self._turned + 1)
        now = self._moment(last)
        self._handle = self._loop.call_at(self._moment(last + 1), self._turn)
        while self._turned < last:
            self._turned += 1
            for item in self._buckets.pop(self._turned, ()):
                item.bucket = 0
                self._look(item, now)

    def _look(self, item: Watched, now: float) -> None:
        """A bug in one connection must not cost the others their deadlines."""
        try:
            again = item.check(now)
        except Exception as error:
            self._loop.call_exception_handler({"message": f"deadline of {item!r}", "exception": error})
            return
        if again:
            self.watch(item, again)
