"""The memory spool: dictionaries instead of a disk. For tests, and to measure everything but the disk.

Owns: the same promises as the disk's, except that nothing outlives the process. Tickets settle on the loop's
next turn.
"""

import asyncio
from collections.abc import Callable, Iterator

import msgspec

from mta.disk.pieces import FRONT_PIECES, PIECE, pieces_of
from mta.disk.stream import MemoryStream
from mta.errors import StorageError
from mta.model.message import Message
from mta.model.spoolid import format_id
from mta.spool.books import enter
from mta.spool.protocol import Change, ContentStream, Ledger, SpoolFailed, Ticket
from mta.spool.tables import decode_message, due_bound, encode_message

_CHUNK = 65_280


class FrontedStream(MemoryStream):
    """A ``ContentStream`` of the spool, with a front where one is kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._front: bytes | None = None
        self._abandoned = False

    def keep_front(self) -> None:
        """See ``ContentStream.keep_front``."""
        self._front = bytes(self.content)
        self.content.clear()

    def extend_front(self, data: bytes) -> None:
        """See ``ContentStream.extend_front``."""
        if self._front is None or len(self._front) + len(data) > FRONT_PIECES * PIECE:
            raise RuntimeError("there is no room in front of the content")
        self._front += data
        self.octets += len(data)

    def all_written(self, then: Callable[[], None]) -> bool:
        """See ``ContentStream.all_written``."""
        return True

    def read(self) -> Iterator[bytes]:
        """See ``ContentStream.read``."""
        if self._abandoned:
            raise StorageError("the content was given up")
        for start in range(0, len(self.content), _CHUNK):
            yield bytes(self.content[start : start + _CHUNK])

    @property
    def whole(self) -> bytes:
        return (self._front or b"") + self.content

    def abandon(self) -> None:
        self._abandoned = True
        super().abandon()


class MemorySpool:
    """A ``Spool`` in memory. Loop thread only."""

    def __init__(self, shard: int, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.shard = shard
        self.on_commit: Callable[[float, int], None] | None = None
        self._given_loop = loop
        self._records: dict[int, bytes] = {}
        self._content: dict[int, bytes] = {}
        self._due: dict[bytes, str] = {}
        self._books = Ledger()
        self._gathered: list[Ticket] = []
        self._committed: list[Callable[[], None]] = []
        self._scheduled = False
        self._open = False

    def start(self, on_failure: Callable[[SpoolFailed], None]) -> None:
        """Nothing here can fail."""
        self._loop = self._given_loop or asyncio.get_running_loop()
        self._open = True

    async def stop(self) -> None:
        """Settles what waits. What was stored stays readable."""
        self._open = False
        self._settle()

    def accept(self, ticket: Ticket) -> None:
        """See ``Spool.accept``."""
        if not self._open:
            self._loop.call_soon(ticket.settled, ticket, SpoolFailed("the spool was stopped"))
            return
        ticket.message.pieces = pieces_of(len(_content_of(ticket)))
        self._gathered.append(ticket)
        self._settle_soon()

    def _settle_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._scheduled = False
        tickets, self._gathered = self._gathered, []
        committed, self._committed = self._committed, []
        refused: list[StorageError | None] = []
        for ticket in tickets:
            refused.append(self._store_ticket(ticket))
        for ticket, error in zip(tickets, refused, strict=True):
            self._tell(ticket.settled, ticket, error)
        for callback in committed:
            self._tell(callback)

    def _store_ticket(self, ticket: Ticket) -> StorageError | None:
        message = ticket.message
        if message.id in self._records:
            return StorageError(f"{format_id(message.id)} is there already: was the clock set back?")
        self._store(message, _content_of(ticket), ticket.entries)
        self._books.accepted += len(message.recipients)
        return None

    def _store(self, message: Message, content: bytes, entries: list[tuple[bytes, str]]) -> None:
        self._records[message.id] = encode_message(message)
        self._content[message.id] = content
        self._due.update(entries)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a call-back of the spool failed", "exception": error})

    def open_stream(self, spool_id: int) -> ContentStream:
        """See ``Spool.open_stream``."""
        return FrontedStream(self._loop)

    def apply(self, change: Change) -> None:
        """See ``Spool.apply``."""
        if not self._open:
            return
        message = change.message
        if change.finished:
            self._records.pop(message.id, None)
            self._content.pop(message.id, None)
        else:
            self._records[message.id] = encode_message(message)
        for key in change.leaving:
            self._due.pop(key, None)
        self._due.update(change.entering)
        for dsn, content, entries in change.generated:
            dsn.pieces = pieces_of(len(content))
            self._store(dsn, content, entries)
        enter(self._books, change)
        if change.committed is not None:
            self._committed.append(change.committed)
            self._settle_soon()

    def due(self, after: bytes, until: int, limit: int) -> list[tuple[bytes, str]]:
        """See ``Spool.due``. Looks at every entry."""
        bound = due_bound(until)
        return sorted(item for item in self._due.items() if after < item[0] < bound)[:limit]

    def load(self, spool_id: int) -> Message | None:
        """See ``Spool.load``: a fresh object each time."""
        record = self._records.get(spool_id)
        return None if record is None else decode_message(record)

    def content(self, message: Message) -> Iterator[bytes]:
        """See ``Spool.content``."""
        for start in range(0, message.size, _CHUNK):
            content = self._content.get(message.id)
            if content is None:
                raise StorageError(f"the content of {format_id(message.id)} is missing")
            yield content[start : start + _CHUNK]

    def messages(self, after: int, limit: int) -> list[Message]:
        """See ``Spool.messages``. Looks at every id."""
        ids = sorted(spool_id for spool_id in self._records if spool_id > after)[:limit]
        return [decode_message(self._records[spool_id]) for spool_id in ids]

    def ledger(self) -> Ledger:
        """See ``Spool.ledger``."""
        return msgspec.structs.replace(self._books)

    def free_octets(self) -> int:
        """Memory is somebody else's business."""
        return 1 << 62


def _content_of(ticket: Ticket) -> bytes:
    if isinstance(ticket.stream, FrontedStream):
        return ticket.stream.whole
    return ticket.content or b""
