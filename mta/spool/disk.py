"""The disk spool: one LMDB environment, written in batches, each with one commit.

Owns: what is gathered, when a batch begins, and who is told what after it. Never does: octets on disk
(``batch``, ``shard``), reads (``reading``), waiting (``syncthread``).

The loop thread gathers tickets and changes, builds the batch and hands the transaction to the sync thread, which only
commits; one wake-up of the loop then settles everything in it. The next batch begins when that commit has ended, with
all that came meanwhile, so batches grow with the load by themselves.

    gathering ──begin──▶ flying ──commit point A──▶ settled
        └──────────────────┴──── a failure ───────▶ refused, for good: nothing is tried again
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lmdb
import msgspec

from mta.clock import Clock, SystemClock
from mta.disk.environment import DATA_FILE, LOCK_WAIT, MAP_SIZE, PREALLOCATE
from mta.disk.pieces import pieces_of
from mta.disk.resident import INTERVAL, ResidentMap
from mta.disk.space import FREE_SPACE, FreeSpace
from mta.disk.stream import DiskStream
from mta.disk.syncthread import SyncThread
from mta.errors import StorageError
from mta.model.message import Message
from mta.spool.batch import Batch
from mta.spool.books import enter
from mta.spool.protocol import OUTCOME_DELAY, Change, Ledger, SpoolFailed, SpoolFull, Ticket
from mta.spool.reading import Reader
from mta.spool.shard import Shard
from mta.spool.tables import encode_message

if TYPE_CHECKING:
    from mta.spool.protocol import ContentStream

Durability = Literal["commit", "dangerously-buffered"]
_Write = Callable[[Batch, Any, Any], None]


class DiskSpool:
    """A ``Spool`` on disk. ``directory`` is the shard's own (see ``shard_directory``).

    ``start`` may block for ``lock_wait`` seconds, for a predecessor that is still exiting. ``on_commit``, when set,
    is called after each commit with its duration in seconds and the number of messages it accepted.
    """

    def __init__(
        self,
        directory: Path,
        shard: int,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        clock: Clock | None = None,
        durability: Durability = "commit",
        free_space: int = FREE_SPACE,
        map_size: int = MAP_SIZE,
        preallocate: int = PREALLOCATE,
        lock_wait: float = LOCK_WAIT,
    ) -> None:
        self.shard = shard
        self.on_commit: Callable[[float, int], None] | None = None
        self._directory = directory
        self._given_loop = loop
        self._clock = clock or SystemClock()
        self._synced = durability == "commit"
        self._free_space = free_space
        self._map_size = map_size
        self._preallocate = preallocate
        self._lock_wait = lock_wait
        self._closed: StorageError | None = SpoolFailed(f"{directory}: the spool is not open")
        self._queue: deque[tuple[_Write, Any, Any]] = deque()
        self._purge: deque[int] = deque()
        self._flying: Batch | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False
        self._drained: asyncio.Future[None] | None = None
        self._open = False
        self._failed = False

    def start(self, on_failure: Callable[[SpoolFailed], None]) -> None:
        """See ``Spool.start``. Large incomplete content is purged bite by bite, along with the first batches."""
        self._on_failure = on_failure
        self._loop = self._given_loop or asyncio.get_running_loop()
        self._files = Shard(
            self._directory,
            sync=self._synced,
            map_size=self._map_size,
            preallocate=self._preallocate,
            lock_wait=self._lock_wait,
        )
        try:
            self._files.prove_writable()
        except StorageError:
            self._files.close()
            raise
        data_file = self._directory / DATA_FILE
        self._resident = ResidentMap(data_file)
        self._trimming = self._loop.call_later(INTERVAL, self._trim)
        self._reader = Reader(self._files)
        self._ledger = self._reader.ledger()
        self._space = FreeSpace(
            data_file, self._clock, self._free_space, self._files.map_size, self._reader.used_octets
        )
        self._thread = SyncThread(
            self._loop,
            self._clock,
            f"spool-{self.shard}",
            commit=self._commit_point_a,
            done=self._commit_ended,
            sync=None if self._synced else self._sync_buffered,
            failed=self._fail,
        )
        self._open = True
        self._closed = None
        self._purge.extend(self._reader.incomplete())
        if self._purge:
            self._begin_soon()

    async def stop(self) -> None:
        """See ``Spool.stop``. From its call on tickets are refused and changes are not taken."""
        if not self._open:
            return
        self._open = False
        if self._closed is None:
            self._closed = SpoolFailed(f"{self._directory}: the spool was stopped")
            if self._queue or self._flying is not None:
                self._drained = self._loop.create_future()
                self._begin_soon()
                await self._drained
        await self._thread.stop()
        self._cancel_timer()
        self._trimming.cancel()
        self._reader.close()
        self._files.close()

    def _trim(self) -> None:
        self._resident.trim()
        self._trimming = self._loop.call_later(INTERVAL, self._trim)

    # What goes in

    def accept(self, ticket: Ticket) -> None:
        """See ``Spool.accept``."""
        error = self._closed
        if error is None and self._space.octets() <= 0:
            error = SpoolFull(f"{self._directory}: less than {self._free_space} octets would stay free")
        if error is not None:
            self._refuse(ticket, error)
            return
        message = ticket.message
        stream = ticket.stream
        if stream is None:
            octets = len(ticket.content or b"")
            message.pieces = pieces_of(octets)
        else:
            octets = stream.octets
            assert isinstance(stream, DiskStream)
            stream.finish()
            message.pieces = stream.pieces
        self._space.take(octets)
        self._queue.append((Batch.ticket, ticket, encode_message(message)))
        self._begin_soon()

    def _refuse(self, ticket: Ticket, error: StorageError) -> None:
        if isinstance(ticket.stream, DiskStream):
            ticket.stream.discard()
        self._loop.call_soon(ticket.settled, ticket, error)

    def apply(self, change: Change) -> None:
        """See ``Spool.apply``. The message is encoded here: altering it afterwards changes nothing."""
        if self._closed is not None:
            return  # its messages are delivered again after the restart: a duplicate, never a loss
        record = None if change.finished else encode_message(change.message)
        generated = []
        for message, content, _entries in change.generated:
            message.pieces = pieces_of(len(content))
            generated.append(encode_message(message))
        self._queue.append((Batch.change, change, (record, generated)))
        self._reader.gathering.note(change, record, generated)
        if self._timer is None and not self._scheduled:
            self._timer = self._loop.call_later(OUTCOME_DELAY, self._waited_enough)

    def open_stream(self, spool_id: int) -> "ContentStream":
        """See ``Spool.open_stream``."""
        return DiskStream(spool_id, self._append_run, self._abandon, self._reader.stream)

    def _append_run(self, stream: DiskStream, first: int, octets: bytes) -> None:
        if self._closed is None:
            self._queue.append((Batch.run, stream, (first, octets)))
            self._begin_soon()
        else:  # the shell must go on reading to the end of the content, to hear that it is refused
            self._loop.call_soon(self._tell, stream.written, len(octets))

    def _abandon(self, stream: DiskStream) -> None:
        if self._closed is None:
            self._queue.append((Batch.abandon, stream, None))
            self._begin_soon()

    # When a batch begins

    def _begin_soon(self) -> None:
        if not self._scheduled and self._flying is None:
            self._scheduled = True
            self._loop.call_soon(self._begin)
        else:
            self._overdue = True

    def _waited_enough(self) -> None:
        self._timer = None
        self._begin_soon()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        """Builds a batch of what has gathered and sends it to the disk."""
        self._scheduled = False
        if self._flying is not None or not (self._queue or self._purge) or not (self._queue or self._open):
            return
        self._cancel_timer()
        try:
            self._flying = Batch(self._files, self._ledger, self._purge)
            self._fill(self._flying)
        except Exception as error:  # whatever stopped it, nothing of it may be committed
            self._fail(error)
            return
        self._overdue = bool(self._queue or self._purge)
        self._reader.take_off((change, *records) for write, change, records in self._queue if write is Batch.change)
        self._thread.commit(self._flying.txn)

    def _fill(self, batch: Batch) -> None:
        queue = self._queue
        while queue and batch.has_room():
            write, subject, extra = queue.popleft()
            batch.items += 1
            write(batch, subject, extra)
        batch.close()

    # The commit and after

    def _commit_point_a(self, txn: "lmdb.Transaction[bytes]") -> None:
        """COMMIT POINT A, in the sync thread. Nothing may say 250 for anything in this batch before it returns.

        The transaction is written and synced, then its root is written and synced: two flushes of the device. With
        "dangerously-buffered" neither is waited for. An error leaves the outcome open, and is never tried again.
        """
        txn.commit()

    def _sync_buffered(self) -> None:
        self._files.env.sync(True)

    def _commit_ended(self, error: BaseException | None, seconds: float) -> None:
        batch = self._flying
        if batch is None:
            return  # already refused
        if error is not None:
            self._fail(error)
            return
        self._flying = None
        try:
            self._reader.renew()
        except lmdb.Error as unreadable:  # the batch is safe all the same
            self._fail(unreadable)
        if self._overdue or self._drained is not None:
            self._begin()
        self._settle(batch)
        if self.on_commit is not None:
            self.on_commit(seconds, len(batch.tickets))
        if self._drained is not None and self._flying is None and not self._drained.done():
            self._drained.set_result(None)

    def _settle(self, batch: Batch) -> None:
        for ticket in batch.tickets:
            self._tell(ticket.settled, ticket, None)
        for ticket, refusal in batch.refused:
            self._tell(ticket.settled, ticket, refusal)
        for committed in batch.committed:
            self._tell(committed)
        for stream, octets in batch.runs:
            self._tell(stream.written, octets)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        """One caller's mistake must not keep the news from the others."""
        try:
            callback(*arguments)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"{self._directory}: a call-back of the spool failed", "exception": error}
            )

    def _fail(self, error: BaseException) -> None:
        """Everything that has no commit is refused, and so is all that comes."""
        if self._failed:
            return
        self._failed = True
        failure = SpoolFailed(f"{self._directory}: commit failed: {error}; nothing more is accepted until a restart")
        failure.__cause__ = error
        self._closed = failure
        batch, self._flying = self._flying, None
        tickets = [subject for write, subject, _ in self._queue if write is Batch.ticket]
        runs = [(subject, len(run[1])) for write, subject, run in self._queue if write is Batch.run]
        if batch is not None:
            tickets = batch.tickets + [ticket for ticket, _ in batch.refused] + tickets
            runs = batch.runs + runs
        self._queue.clear()
        self._purge.clear()
        self._cancel_timer()
        self._reader.forget_changes()
        self._ledger = self._reader.ledger()
        for ticket in tickets:
            self._refuse(ticket, failure)
        for stream, octets in runs:
            self._tell(stream.written, octets)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._on_failure(failure)

    # Reads

    def due(self, after: bytes, until: int, limit: int) -> list[tuple[bytes, str]]:
        """See ``Spool.due``."""
        return self._reader.due(after, until, limit)

    def load(self, spool_id: int) -> Message | None:
        """See ``Spool.load``: a fresh object each time."""
        return self._reader.load(spool_id)

    def content(self, message: Message) -> Iterator[bytes]:
        """See ``Spool.content``. Raises StorageError when a piece is missing."""
        return self._reader.content(message)

    def messages(self, after: int, limit: int) -> list[Message]:
        """See ``Spool.messages``."""
        return self._reader.messages(after, limit)

    def ledger(self) -> Ledger:
        """See ``Spool.ledger``: changes count once applied, tickets once committed, as in the other reads."""
        books = msgspec.structs.replace(self._ledger)
        if self._flying is not None:
            books.accepted -= self._flying.accepted
        for write, subject, _ in self._queue:
            if write is Batch.change:
                enter(books, subject)
        return books

    def free_octets(self) -> int:
        """See ``Spool.free_octets``. Holds for a second."""
        return self._space.octets()
