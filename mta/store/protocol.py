"""What the store does, and the values that go in and out.

Owns: the ``Store`` and ``Maildrop`` protocols and their values. Never does: IO. All verbs are called on the loop
thread of the store process and none of them waits for the disk; call-backs come on the loop thread.

Two promises: **a delivery is settled without an error only after its copies are on stable storage**, and **a removal
is told as done only after its commit**: then nothing of it comes back, and without it nothing is gone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from mta.errors import StorageError

#: What a delivery to one mailbox came to: None is a copy on stable storage.
Outcome = StorageError | None


class QuotaExceeded(StorageError):
    """The mailbox is full. Answer 552 5.2.2."""


class StoreFull(StorageError):
    """Free space is below the mark. Answer 452 4.3.1."""


class StoreFailed(StorageError):
    """A commit failed; the store takes nothing more until restarted. Answer 451 4.3.0."""


class Copy(NamedTuple):
    """One mailbox of a delivery. ``head``: Return-Path and Delivered-To of this copy, whole lines with CRLF.
    ``uid``: 0 = a fresh one, else the one it is to have (import); taken already: refused."""

    mailbox: int
    head: bytes
    uid: int = 0


class Delivery:
    """One content on its way into mailboxes. ``content``: all of it, None when it went through ``stream``.
    ``settled(delivery, outcomes)`` comes once, with an Outcome for each copy."""

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


class Maildrop(Protocol):
    """A mailbox as one POP3 session sees it: a snapshot, exclusively locked. Indexes count from 0."""

    sizes: Sequence[int]

    def unique_ids(self) -> list[bytes]:
        """Of all messages, in order: 13 characters of Crockford base 32."""

    def content(self, index: int) -> Iterator[bytes]:
        """Head and content in chunks of at most 64 KiB. Raises StorageError when it cannot be read."""

    def remove(self, indexes: Sequence[int], done: Callable[[Outcome], None]) -> None:
        """All of them or none, in one transaction; ``done`` after its commit."""

    def close(self) -> None:
        """Lets the lock go. Idempotent; also while a removal is under way, which then still takes place."""


class Store(Protocol):
    """Mailboxes are named by their person's id; one that has never got mail needs no making."""

    def start(self, on_failure: Callable[[StoreFailed], None]) -> None:
        """Opens the environment, purges what deliveries left unfinished. Raises StorageError."""

    async def stop(self) -> None:
        """Commits what it has, then closes."""

    def refusal(self, mailbox: int, octets: int) -> StorageError | None:
        """Why a message of about ``octets`` octets would not be taken now; None: it would."""

    def deliver(self, delivery: Delivery) -> None:
        """Into the next batch."""

    def open_stream(self) -> ContentStream: ...

    def maildrop(self, mailbox: int) -> Maildrop | None:
        """None: another session has it."""

    def usage(self, mailbox: int) -> Usage: ...
