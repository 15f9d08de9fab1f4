"""What every spool does, and the values that go in and out. The conformance test runs against each backend.

Owns: the ``Spool`` protocol, ``Ticket`` (a message that waits for its commit) and ``Change`` (what an attempt
altered). Never does: IO. All verbs are called on the worker's loop thread, and none of them blocks on the disk;
call-backs come on the loop thread too.

The one promise: **a ticket is settled without an error only after the message is on stable storage.** Changes
have no such wait: a crash before their commit repeats a delivery and never loses one. Reads see every change
that was applied, committed or not.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from mta.errors import StorageError
from mta.model.message import Message

#: Seconds that a change alone waits for company before it is committed.
OUTCOME_DELAY = 0.010


class SpoolFailed(StorageError):
    """A commit failed. Everything in its batch was refused, and the spool takes nothing more until restarted."""


class SpoolFull(StorageError):
    """Free space is below the mark; nothing was stored. Answer 452 4.3.1."""


class Ticket:
    """A message on its way to the commit. ``content`` is all of it, or None when it went through ``stream``.

    ``entries``: what enters the due index, as (due key, routing domain). ``settled(ticket, error)`` is called once,
    after the commit (error None) or when it failed.
    """

    __slots__ = ("content", "entries", "message", "settled", "stream")

    def __init__(
        self,
        message: Message,
        content: bytes | None,
        entries: list[tuple[bytes, str]],
        settled: "Callable[[Ticket, StorageError | None], None]",
        stream: "ContentStream | None" = None,
    ) -> None:
        self.message = message
        self.content = content
        self.entries = entries
        self.settled = settled
        self.stream = stream


class Change(msgspec.Struct, gc=False):
    """What became of (part of) a message. Goes into the next commit as a whole, or not at all.

    ``finished``: no recipient is queued any more, so record and content leave; else the record is rewritten.
    ``leaving`` and ``entering``: due keys (and their domains). The counts are ledger columns, in recipients.
    ``generated``: messages that are committed with it (DSNs, copies for a list), as (message, content, entries); each
    of their recipients counts as ``generated`` in the ledger, and so do those ``added`` to this message.
    ``committed`` (optional) is called on the loop thread after the commit.
    """

    message: Message
    finished: bool = False
    leaving: tuple[bytes, ...] = ()
    entering: tuple[tuple[bytes, str], ...] = ()
    delivered: int = 0
    failed: int = 0
    expired: int = 0
    expanded: int = 0
    discarded: int = 0
    removed: int = 0
    generated: tuple[tuple[Message, bytes, list[tuple[bytes, str]]], ...] = ()
    committed: Callable[[], None] | None = None
    added: int = 0


class Ledger(msgspec.Struct):
    """Recipients since the shard was made: accepted + generated = the other columns + queued, at every commit."""

    accepted: int = 0
    generated: int = 0
    delivered: int = 0
    failed: int = 0
    expired: int = 0
    expanded: int = 0
    discarded: int = 0
    removed: int = 0

    def outstanding(self) -> int:
        """How many recipients must be queued for the books to balance."""
        gone = self.delivered + self.failed + self.expired + self.expanded + self.discarded + self.removed
        return self.accepted + self.generated - gone


class ContentStream(Protocol):
    """Content above the streaming limit, written in pieces while it arrives; incomplete until its ticket commits."""

    #: octets given so far
    octets: int
    #: octets given and not yet on disk; the shell stops reading above its high-water mark
    backlog: int
    #: called on the loop thread when ``backlog`` falls below DRAINED octets again: the shell resumes reading
    on_drained: Callable[[], None] | None

    def append(self, data: bytes) -> None: ...

    def keep_front(self) -> None:
        """What was given so far is the front of the content: ``extend_front`` adds to it until the ticket comes. Said
        before the first 64 KiB are given."""

    def extend_front(self, data: bytes) -> None:
        """Up to 32,640 octets altogether. RuntimeError for more, or where no front was kept."""

    def all_written(self, then: Callable[[], None]) -> bool:
        """Whether all behind the front can be read now; if not, ``then`` is called once when it can, or never can."""

    def read(self) -> Iterator[bytes]:
        """What is written behind the front, in order, in chunks of at most 64 KiB. Raises StorageError when it is gone,
        or could not be written."""

    def abandon(self) -> None:
        """The transaction ended without acceptance: what was written leaves the spool."""


class Spool(Protocol):
    """One shard. Made, started and stopped by the worker that owns it; never used across a fork."""

    shard: int
    #: Called after each commit with its seconds and how many messages it accepted, when set.
    on_commit: Callable[[float, int], None] | None

    def start(self, on_failure: Callable[[SpoolFailed], None]) -> None:
        """Opens the shard, purges incomplete content. Raises EnvironmentLocked, WrongFormat, StorageError."""

    async def stop(self) -> None:
        """Commits what is pending and closes. Idempotent."""

    def accept(self, ticket: Ticket) -> None:
        """Into the next batch. The ticket settles after commit point A."""

    def open_stream(self, spool_id: int) -> ContentStream: ...

    def apply(self, change: Change) -> None:
        """Into the next batch; at the latest OUTCOME_DELAY seconds later."""

    def due(self, after: bytes, until: int, limit: int) -> list[tuple[bytes, str]]:
        """Up to ``limit`` entries (key, routing domain) with key > after and due time ≤ until (ms), in key order."""

    def load(self, spool_id: int) -> Message | None: ...

    def content(self, message: Message) -> Iterator[bytes]:
        """The content in order, in chunks of at most 64 KiB. Each chunk is its own short read."""

    def messages(self, after: int, limit: int) -> list[Message]:
        """Up to ``limit`` messages with id > after, in id order: for listings, one short read a page."""

    def ledger(self) -> Ledger: ...

    def free_octets(self) -> int:
        """What may still be stored before the low-water mark; ≤ 0 means: answer 452 4.3.1."""
