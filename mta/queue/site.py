"""A site: destinations with the same set of hosts. They share a ready queue, connections and their limit.

Owns: the ready queue of one site and the decisions when to open one more connection and when to pause.
Never does: IO; connections are opaque here and belong to ``mta.services.delivery``. Loop thread only.
"""

from collections import deque
from typing import Generic, TypeVar

from mta.queue.entry import Entry

#: Ready entries that one connection is expected to work off before another is opened. A warm connection takes a
#: message per round trip, so a few in line cost less than a handshake.
DEPTH = 6
#: Seconds that the head of the ready queue may wait before one more connection is opened whatever the depth.
PATIENCE = 0.1

C = TypeVar("C")


class Site(Generic[C]):
    """``idle`` holds warm connections, the last used one at the end. ``opening`` counts handshakes under way."""

    __slots__ = (
        "connections",
        "failures",
        "idle",
        "limit",
        "name",
        "opening",
        "paused_until",
        "ready",
        "reason",
        "used_at",
    )

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.ready: deque[Entry] = deque()
        self.idle: list[C] = []
        self.connections = 0
        self.opening = 0
        self.failures = 0
        self.paused_until = 0.0
        self.reason = ""
        self.used_at = 0.0

    def wants_connection(self, now: float) -> bool:
        """Whether to open one more now: ready entries, none opening for them yet, below the limit, not paused."""
        waiting = len(self.ready)
        if not waiting or self.connections >= self.limit or now < self.paused_until:
            return False
        if not self.connections:
            return True
        if self.connections + self.opening * (DEPTH - 1) < 1 + waiting // DEPTH:
            return True
        return not self.opening and now - self.ready[0].ready_at > PATIENCE

    def pause(self, until: float, reason: str) -> None:
        """No connection before ``until`` (monotonic seconds): every host of the site failed."""
        self.failures += 1
        self.paused_until = until
        self.reason = reason

    def succeeded(self) -> None:
        """A connection came up: forget the failures."""
        self.failures = 0
        self.paused_until = 0.0
        self.reason = ""

    def quiet(self) -> bool:
        """Nothing refers to the site any more, so it may be forgotten."""
        return not self.ready and not self.connections and not self.opening
