"""A queue entry: the part of a message that is queued together, in memory because it is due.

Owns: the entry and the attempt that is being made on it. Never does: IO, or reading the clock. Loop thread only.
"""

from typing import Any

from mta.model.message import Message, Recipient, members, split_due_key
from mta.routing.destination import Host


class Entry:
    """One group of a message (see ``mta.model.message.due_key``) while it is ready or in flight.

    ``message`` and ``content`` are None until they are needed, when the entry came from the due index.
    ``ready_at`` is when it became ready (monotonic seconds); ``reception`` how long reception took (seconds).
    ``home`` is whose shard it belongs to, opaque here (``mta.services.shard.Shard``).
    ``handed_on``: how often this attempt went on to the next host, or from a warm connection to a new one.
    ``lacking``: hosts that cannot take it, of which this attempt has heard so (``mta.policy.trouble.lacks``).
    ``dropped``: it is live no more, whoever still has it in a line passes over it.
    """

    __slots__ = (
        "__weakref__",
        "content",
        "domain",
        "dropped",
        "group",
        "handed_on",
        "home",
        "in_flight",
        "key",
        "lacking",
        "message",
        "offset",
        "ready_at",
        "reception",
        "spool_id",
    )

    def __init__(
        self, home: Any, key: bytes, domain: str, message: Message | None, content: bytes | None, ready_at: float
    ) -> None:
        self.home = home
        self.key = key
        self.domain = domain
        self.message = message
        self.content = content
        self.ready_at = ready_at
        self.reception = 0.0
        self.in_flight = False
        self.dropped = False
        self.handed_on = 0
        self.lacking: tuple[Host, ...] = ()
        self.offset = 0
        _, self.spool_id, self.group = split_due_key(key)

    def recipients(self, limit: int) -> list[Recipient]:
        """The next recipients of this attempt, at most ``limit``; ``offset`` says how many were tried before."""
        message = self.message
        assert message is not None
        if len(message.recipients) == 1:
            return message.recipients
        return members(message, self.group)[self.offset : self.offset + limit]


class Attempt:
    """One transaction with a remote: an entry, some of its recipients, and when it began (monotonic seconds)."""

    __slots__ = ("began", "entry", "recipients")

    def __init__(self, entry: Entry, recipients: list[Recipient], began: float) -> None:
        self.entry = entry
        self.recipients = recipients
        self.began = began
