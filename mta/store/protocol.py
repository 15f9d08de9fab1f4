"""What the store does, and the values that go in and out. The conformance test runs against disk and memory.

Owns: the ``Store`` and ``Maildrop`` protocols and their values. Never does: IO. All verbs are called on the loop
thread of the store process and none of them waits for the disk; call-backs come on the loop thread.

Two promises: **a delivery is settled without an error only after its copies are on stable storage**, and **a removal
is told as done only after its commit**: then nothing of it comes back, and without it nothing is gone. Reads see what
is committed, and nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from mta.errors import StorageError

#: What a delivery to one mailbox came to: the uid of a copy on stable storage, or why there is none.
Outcome = int | StorageError

#: Octets of a chunk of content at most.
CHUNK = 65_536
#: Octets of a message, about, of which a listing takes what it shows.
BEGINNING = 8_192


class QuotaExceeded(StorageError):
    """The mailbox is full. Answer 552 5.2.2."""


class StoreFull(StorageError):
    """Free space is below the mark. Answer 452 4.3.1."""


class StoreFailed(StorageError):
    """A commit failed; the store takes nothing more until restarted. Answer 451 4.3.0."""


class Gone(StorageError):
    """This message was removed since the view of its mailbox was made."""


class Quota(NamedTuple):
    """What one mailbox may hold: octets as RETR sends them, and messages; 0: no limit."""

    octets: int = 0
    messages: int = 0


NO_QUOTA = Quota()


class Copy(NamedTuple):
    """One mailbox of a delivery. ``head``: Return-Path and Delivered-To of this copy, whole lines with CRLF.
    ``uid``: the one it is to have (an import), if it is free and not of the future; else, and for 0, a fresh one.
    ``arrival``: milliseconds since 1970; 0: now."""

    mailbox: int
    head: bytes
    uid: int = 0
    arrival: int = 0


class Delivery:
    """One content on its way into mailboxes. ``content``: all of it, None when it went through ``stream``.
    ``settled(delivery, outcomes)`` comes once, with an Outcome for each copy, in their order."""

    __slots__ = ("content", "copies", "settled", "stream")

    def __init__(
        self,
        copies: Sequence[Copy],
        content: bytes | None,
        settled: "Callable[[Delivery, list[Outcome]], None]",
        stream: "ContentStream | None" = None,
    ) -> None:
        self.copies = copies
        self.content = content
        self.settled = settled
        self.stream = stream


class ContentStream(Protocol):
    """Content that is too large to be kept: it goes to the disk while it arrives."""

    on_drained: Callable[[], None] | None
    octets: int
    backlog: int

    def append(self, data: bytes) -> None: ...

    def abandon(self) -> None:
        """No delivery will come for it."""


class Usage(NamedTuple):
    """What a mailbox holds: messages, and octets as RETR sends them."""

    messages: int
    octets: int


class Audit(msgspec.Struct):
    """The books against a recount. In the books: ``messages`` and ``octets`` that are held, copies that were
    ``delivered`` and ``removed`` since the store was made. ``bodies``: contents, each of which is kept once.
    ``findings``: what does not agree, in words, the first of them; ``drift``: how much there is of it, 0."""

    mailboxes: int = 0
    messages: int = 0
    octets: int = 0
    bodies: int = 0
    delivered: int = 0
    removed: int = 0
    drift: int = 0
    findings: list[str] = []


class View(Protocol):
    """The messages of a mailbox at one moment. Indexes count from 0, in the order of arrival."""

    #: octets of each message as RETR sends it, before dots are added: head, content, and the line end that is added
    #: where the content has none at its end
    sizes: Sequence[int]
    #: ascending; both are arrays of unsigned 64 bit numbers
    uids: Sequence[int]

    def beginning(self, index: int) -> bytes:
        """Head and the first few kilobytes of the content, for a listing. Raises as ``content`` does."""

    def unique_ids(self) -> list[bytes]:
        """Of all messages, in order: 13 characters of Crockford base 32."""

    def arrival(self, index: int) -> int:
        """Milliseconds since 1970. Raises StorageError, as ``content`` does."""

    def content(self, index: int) -> Iterator[bytes]:
        """Head and content as they are kept, in chunks of at most CHUNK octets; each is its own short read. Raises
        StorageError when it cannot be read, Gone when it was removed."""

    def whole(self, index: int) -> bytes:
        """The same in one piece, for a message of at most CHUNK octets. Raises as ``content`` does."""


class Maildrop(View, Protocol):
    """A mailbox as one POP3 session sees it: a view, exclusively locked."""

    def remove(self, indexes: Sequence[int], done: Callable[[StorageError | None], None]) -> None:
        """All of them or none, in one transaction; ``done`` after its commit. One at a time."""

    def forget(self, done: Callable[[StorageError | None], None]) -> None:
        """Takes the mailbox itself away, with the uids it remembers, unless it holds messages at the commit: then it
        stays as it is. For a mailbox whose person is no more. ``done`` as with ``remove``, and one at a time."""

    def close(self) -> None:
        """Lets the lock go. Idempotent; also while a removal is under way, which then still takes place, and the lock
        goes after it."""


class Store(Protocol):
    """Mailboxes are named by their person's id; one that has never got mail needs no making."""

    #: Called after each commit with its seconds and how many copies it delivered and removed, when set.
    on_commit: Callable[[float, int, int], None] | None

    def start(self, on_failure: Callable[[StoreFailed], None]) -> None:
        """Opens the environment, purges what deliveries left unfinished. Raises StorageError."""

    async def stop(self) -> None:
        """Commits what it has, then closes. Idempotent."""

    def refusal(self, mailbox: int, octets: int) -> StorageError | None:
        """Why a message of about ``octets`` octets would not be taken now; None: it would."""

    def deliver(self, delivery: Delivery) -> None:
        """Into the next batch. A copy that a quota refuses does not keep the others from being stored."""

    def open_stream(self) -> ContentStream: ...

    def maildrop(self, mailbox: int) -> Maildrop | None:
        """None: another session has it, or its removal is not committed yet. Raises StorageError."""

    def view(self, mailbox: int) -> View:
        """Without a lock, for listings and exports. Raises StorageError."""

    def usage(self, mailbox: int) -> Usage:
        """Raises StorageError."""

    def mailboxes(self, after: int, limit: int) -> list[int]:
        """Up to ``limit`` ids above ``after`` of mailboxes that have ever got mail and were not forgotten, in order."""

    def totals(self) -> Usage:
        """Over all mailboxes. Constant time."""

    async def audit(self) -> Audit:
        """Recounts everything; commits wait meanwhile, so that it is exact."""
