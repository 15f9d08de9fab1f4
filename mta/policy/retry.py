"""When a deferred recipient is tried again, given up, or its sender warned (RFC 5321 §4.5.4.1).

Owns: the schedule. Never does: read a clock; moments are milliseconds since 1970 and passed in.
"""

from collections.abc import Callable, Sequence

from mta.model.message import Message, Recipient

#: Share of an interval that is spread at random, so that what failed together does not come back together.
SPREAD = 0.1


class RetryPolicy:
    """``retry_after``: seconds after the first, second … attempt, the last one repeats. 0 for ``warn_after``: never.

    ``random`` gives numbers in 0…1.
    """

    def __init__(
        self, retry_after: Sequence[float], give_up_after: float, warn_after: float, random: Callable[[], float]
    ) -> None:
        if not retry_after:
            raise ValueError("retry_after needs at least one interval")
        self._intervals = tuple(retry_after)
        self._give_up = int(give_up_after * 1000)
        self._warn = int(warn_after * 1000)
        self._random = random

    def next_due(self, attempts: int, now: int, deadline: int = 0) -> int:
        """The moment of the next attempt after ``attempts`` have been made (at least 1); one is made at the sender's
        ``deadline`` (0: there is none), after which something has to be told."""
        interval = self._intervals[min(max(attempts, 1), len(self._intervals)) - 1]
        due = now + max(1, int(interval * 1000 * (1 + SPREAD * self._random())))
        return min(due, deadline) if deadline > now else due

    def give_up_at(self, since: int) -> int:
        """After this moment a transient failure is final. ``since``: ``Message.waiting_since``."""
        return since + self._give_up

    def too_late(self, message: Message, now: int) -> bool:
        """Its sender wants it back rather than delivered after the deadline (DELIVERBY, mode "R")."""
        return bool(message.deliver_by) and now >= message.deliver_by and message.by_mode.startswith("R")

    def expired(self, since: int, now: int) -> bool:
        return now >= since + self._give_up

    def to_warn(self, message: Message, waiting: Sequence[Recipient], now: int) -> list[Recipient]:
        """Those of the waiting recipients whose sender is now told of the delay: once, and never for a DSN. A deadline
        of the mode "N" that has passed is told at once (RFC 2852 §4)."""
        if message.generated or not message.reverse_path:
            return []
        if not late(message, now) and (not self._warn or now < message.waiting_since + self._warn):
            return []
        return [recipient for recipient in waiting if not recipient.warned and recipient.attempts]


def late(message: Message, now: int) -> bool:
    """The sender's deadline has passed, and the message goes on (DELIVERBY, mode "N")."""
    return bool(message.deliver_by) and now >= message.deliver_by and not message.by_mode.startswith("R")
