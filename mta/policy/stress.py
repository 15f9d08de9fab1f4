"""Stress: whether this worker has more to do than it can, and what it does less of until it has not.

Owns: the marks and the decision. Never does: measure, close or log. Each measure has a mark at which stress begins and
a lower one below which it may end; it ends when all measures have been below theirs for ``CALM`` looks in a row, so
that it does not come and go. A look is taken once a second, with the heartbeat.
"""

from typing import Final, NamedTuple

#: The lower mark as a share of the upper one.
LOW: Final = 0.75
#: Looks without any trouble after which stress ends.
CALM: Final = 5
#: Seconds that the loop may be late, and that a commit may take, before that is stress.
LAG: Final = 0.5
COMMIT: Final = 1.0
#: Share of the file descriptors in use.
DESCRIPTORS: Final = 0.9
#: What a client we do not know gets under stress: seconds for a command and for the smallest content, and errors.
COMMAND_TIMEOUT: Final = 10.0
CONTENT_TIMEOUT: Final = 60.0
ERRORS: Final = 3
#: Of the idle clients we do not know, the newest ones of this share are let go with each look.
SHED: Final = 0.25


class Look(NamedTuple):
    """What was measured. Shares are of what there may be at most, seconds are the worst of the last second."""

    connections: float = 0.0
    lag: float = 0.0
    commit: float = 0.0
    memory: float = 0.0
    descriptors: float = 0.0


class Stress:
    """``connections``: the share at which stress begins. ``memory`` of a look is a share of what is configured."""

    def __init__(self, connections: float) -> None:
        self._marks = Look(connections, LAG, COMMIT, 1.0, DESCRIPTORS)
        self._calm = 0
        #: The measures that are to blame, "" when there is no stress.
        self.reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)

    def look(self, seen: Look) -> bool:
        """One look; True when stress has begun or ended with it."""
        over = [name for name, mark, value in self._each(seen) if value >= mark]
        if not self.reason:
            self.reason, self._calm = ", ".join(over), 0
            return bool(over)
        calm = all(value < mark * LOW for _, mark, value in self._each(seen))
        self._calm = self._calm + 1 if calm else 0
        if self._calm < CALM:
            return False
        self.reason = ""
        return True

    def shed(self, idle: int) -> int:
        """How many of the idle clients are to go now."""
        return max(1, int(idle * SHED)) if self.reason and idle else 0

    def _each(self, seen: Look) -> list[tuple[str, float, float]]:
        # A mark of 0 is none.
        rows = zip(Look._fields, self._marks, seen, strict=True)
        return [(name, mark, value) for name, mark, value in rows if mark]
