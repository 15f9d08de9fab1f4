"""What was applied and is not yet in the snapshot that reads see.

Owns: the newest record, due entries and content of each message that a change touched. Never does: IO.
Records are kept as octets, encoded when the change was applied: what the caller does to its objects later changes
nothing.
"""

from mta.spool.protocol import Change


class Overlay:
    """One batch's worth of changes. None stands for "gone": a message that finished, a due key that left."""

    __slots__ = ("content", "due", "messages")

    def __init__(self) -> None:
        self.messages: dict[int, bytes | None] = {}
        self.due: dict[bytes, str | None] = {}
        self.content: dict[int, bytes] = {}

    def note(self, change: Change, record: bytes | None, generated: list[bytes]) -> None:
        """``record`` is the message after the change (None: finished), ``generated`` the records of its DSNs."""
        message = change.message
        self.messages[message.id] = record
        due = self.due
        for key in change.leaving:
            due[key] = None
        for key, domain in change.entering:
            due[key] = domain
        for (dsn, content, entries), dsn_record in zip(change.generated, generated, strict=True):
            self.messages[dsn.id] = dsn_record
            self.content[dsn.id] = content
            due.update(entries)
