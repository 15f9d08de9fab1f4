"""The null spool: settles and forgets. To measure what everything but custody costs; loses all on purpose.

Owns: a ledger, so that counts still show. Never does: keep a message. What is delivered must come from memory:
a second attempt, or content that went through a stream, finds nothing here.
"""

import asyncio
from collections.abc import Callable, Iterator

import msgspec

from mta.disk.pieces import pieces_of
from mta.errors import StorageError
from mta.model.message import Message
from mta.model.spoolid import format_id
from mta.spool.books import enter
from mta.spool.protocol import Change, ContentStream, Ledger, SpoolFailed, Ticket


class NullStream:
    """A ``ContentStream`` that only counts."""

    def __init__(self) -> None:
        self.octets = 0
        self.backlog = 0
        self.on_drained: Callable[[], None] | None = None

    def append(self, data: bytes) -> None:
        self.octets += len(data)

    def keep_front(self) -> None:
        """There is nothing to keep."""

    def extend_front(self, data: bytes) -> None:
        self.octets += len(data)

    def all_written(self, then: Callable[[], None]) -> bool:
        return True

    def read(self) -> Iterator[bytes]:
        """Raises StorageError: it is gone."""
        raise StorageError("the content was not kept: this is the null spool")

    def abandon(self) -> None:
        """There is nothing to give up."""


class NullSpool:
    """A ``Spool`` that keeps nothing. Loop thread only."""

    def __init__(self, shard: int, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.shard = shard
        self.on_commit: Callable[[float, int], None] | None = None
        self._given_loop = loop
        self._books = Ledger()

    def start(self, on_failure: Callable[[SpoolFailed], None]) -> None:
        """Nothing here can fail."""
        self._loop = self._given_loop or asyncio.get_running_loop()

    async def stop(self) -> None:
        """Nothing is pending: every call-back is with the loop already."""

    def accept(self, ticket: Ticket) -> None:
        """Settles on the loop's next turn."""
        message = ticket.message
        message.pieces = pieces_of(message.size)
        self._books.accepted += len(message.recipients)
        self._loop.call_soon(ticket.settled, ticket, None)

    def open_stream(self, spool_id: int) -> ContentStream:
        return NullStream()

    def apply(self, change: Change) -> None:
        """Counts."""
        enter(self._books, change)
        if change.committed is not None:
            self._loop.call_soon(change.committed)

    def due(self, after: bytes, until: int, limit: int) -> list[tuple[bytes, str]]:
        return []

    def load(self, spool_id: int) -> Message | None:
        return None

    def content(self, message: Message) -> Iterator[bytes]:
        """Raises StorageError: it is gone."""
        raise StorageError(f"the content of {format_id(message.id)} was not kept: this is the null spool")

    def messages(self, after: int, limit: int) -> list[Message]:
        return []

    def ledger(self) -> Ledger:
        return msgspec.structs.replace(self._books)

    def free_octets(self) -> int:
        return 1 << 62
