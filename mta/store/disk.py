"""The disk store: one LMDB environment for all mailboxes, written in batches, each with one commit.

Owns: the verbs of ``Store`` on disk, the locks of maildrops, and the commit line. Never does: octets on disk
(``batch``), reads (``reading``), gathering (``mta.disk.groupcommit``), waiting (``mta.disk.syncthread``).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mta.clock import Clock, SystemClock
from mta.disk.environment import DATA_FILE, LOCK_WAIT, MAP_SIZE, PREALLOCATE
from mta.disk.groupcommit import GroupCommit
from mta.disk.resident import INTERVAL, ResidentMap
from mta.disk.space import FREE_SPACE, FreeSpace
from mta.disk.stream import DiskStream
from mta.disk.syncthread import SyncThread
from mta.errors import StorageError
from mta.store.batch import StoreBatch
from mta.store.jobs import AbandonJob, DeliveryJob, ForgetJob, RemovalJob, RunJob
from mta.store.protocol import NO_QUOTA, Audit, Delivery, Quota, QuotaExceeded, StoreFailed, StoreFull, Usage
from mta.store.reading import MailboxView, Reader
from mta.store.recount import recount
from mta.store.tables import Files

if TYPE_CHECKING:
    import lmdb

    from mta.store.protocol import ContentStream, Maildrop, View


class DiskMaildrop(MailboxView):
    """A ``Maildrop``. The lock is the store's; it goes when this is closed and its removal is committed."""

    def __init__(self, store: "DiskStore", reader: Reader, mailbox: int) -> None:
        super().__init__(reader, mailbox)
        self._store = store
        self._removing: Callable[[StorageError | None], None] | None = None
        self._closed = False

    def remove(self, indexes: Sequence[int], done: Callable[[StorageError | None], None]) -> None:
        """See ``Maildrop.remove``."""
        assert self._removing is None, "one removal at a time"
        self._removing = done
        self._store.remove(self.mailbox, [self.uids[index] for index in sorted(set(indexes))], self._removed)

    def forget(self, done: Callable[[StorageError | None], None]) -> None:
        """See ``Maildrop.forget``."""
        assert self._removing is None, "one removal at a time"
        self._removing = done
        self._store.forget(self.mailbox, self._removed)

    def _removed(self, error: StorageError | None) -> None:
        assert self._removing is not None
        done, self._removing = self._removing, None
        if self._closed:
            self._store.unlock(self.mailbox)
        done(error)

    def close(self) -> None:
        """See ``Maildrop.close``."""
        if not self._closed:
            self._closed = True
            if self._removing is None:
                self._store.unlock(self.mailbox)


class DiskStore:
    """A ``Store`` on disk. ``directory`` is its own. ``start`` may block for ``lock_wait`` seconds, for a predecessor
    that is still exiting."""

    def __init__(
        self,
        directory: Path,
        *,
        quota: Quota = NO_QUOTA,
        loop: asyncio.AbstractEventLoop | None = None,
        clock: Clock | None = None,
        free_space: int = FREE_SPACE,
        map_size: int = MAP_SIZE,
        preallocate: int = PREALLOCATE,
        lock_wait: float = LOCK_WAIT,
    ) -> None:
        self.on_commit: Callable[[float, int, int], None] | None = None
        self.directory = directory
        self._quota = quota
        self._given_loop = loop
        self._clock = clock or SystemClock()
        self._free_space = free_space
        self._options = {"map_size": map_size, "preallocate": preallocate, "lock_wait": lock_wait}
        self._closed: StorageError | None = StoreFailed(f"{directory}: the store is not open")
        self._open = False
        self._purge: deque[int] = deque()
        self._locked: set[int] = set()

    def start(self, on_failure: Callable[[StoreFailed], None]) -> None:
        """See ``Store.start``. Large incomplete content is purged bite by bite, along with the first batches."""
        self._on_failure = on_failure
        self._loop = loop = self._given_loop or asyncio.get_running_loop()
        self._files = Files(self.directory, **self._options)
        try:
            self._files.prove_writable()
        except StorageError:
            self._files.close()
            raise
        data_file = self.directory / DATA_FILE
        self._resident = ResidentMap(data_file)
        self._trimming = loop.call_later(INTERVAL, self._trim)
        self._reader = Reader(self._files)
        self._reader.trim = self._resident.trim
        self._next = self._reader.last_number() + 1
        self._space = FreeSpace(
            data_file, self._clock, self._free_space, self._files.map_size, self._reader.used_octets
        )
        self._commits = GroupCommit(loop, self._batch, self._to_disk, self._committed, self._fail)
        self._thread = SyncThread(
            loop,
            self._clock,
            "store",
            commit=self._commit_point_c_d,
            done=self._commits.ended,
            sync=None,
            failed=self._commits.fail,
        )
        self._open = True
        self._closed = None
        self._purge.extend(self._reader.incomplete())
        if self._purge:
            self._commits.go_on()

    async def stop(self) -> None:
        """See ``Store.stop``. From its call on deliveries and removals are refused."""
        if not self._open:
            return
        self._open = False
        if self._closed is None:
            self._closed = StoreFailed(f"{self.directory}: the store was stopped")
            await self._commits.drain()
        await self._thread.stop()
        self._trimming.cancel()
        self._reader.close()
        self._files.close()

    def _trim(self) -> None:
        self._resident.trim()
        self._trimming = self._loop.call_later(INTERVAL, self._trim)

    # What goes in

    def refusal(self, mailbox: int, octets: int) -> StorageError | None:
        """See ``Store.refusal``. What is on its way counts only at its commit, so this is a first look."""
        refusal = self._refusal()
        if refusal is None and any(self._quota) and self._reader.full(mailbox, octets, self._quota):
            return QuotaExceeded(f"mailbox {mailbox} is full")
        return refusal

    def _refusal(self) -> StorageError | None:
        if self._closed is None and self._space.octets() <= 0:
            return StoreFull(f"{self.directory}: less than {self._free_space} octets would stay free")
        return self._closed

    def deliver(self, delivery: Delivery) -> None:
        """See ``Store.deliver``."""
        error = self._refusal()
        stream = delivery.stream
        assert stream is None or isinstance(stream, DiskStream)
        if error is not None:
            if stream is not None:
                stream.discard()
            self._loop.call_soon(DeliveryJob(delivery, 0).refuse, error)
            return
        if stream is None:
            octets = len(delivery.content or b"")
            number = self._new_number()
        else:
            octets = stream.octets
            number = stream.number
            stream.finish()
        self._space.take(octets)
        self._commits.add(DeliveryJob(delivery, number))

    def open_stream(self) -> "ContentStream":
        """See ``Store.open_stream``."""
        return DiskStream(self._new_number(), self._append_run, self._abandon)

    def _new_number(self) -> int:
        self._next += 1
        return self._next - 1

    def _append_run(self, stream: DiskStream, first: int, octets: bytes) -> None:
        if self._closed is None:
            self._commits.add(RunJob(stream, first, octets))
        else:
            self._loop.call_soon(stream.written, len(octets))

    def _abandon(self, stream: DiskStream) -> None:
        if self._closed is None:
            self._commits.add(AbandonJob(stream))

    def remove(self, mailbox: int, uids: Sequence[int], done: Callable[[StorageError | None], None]) -> None:
        """For ``DiskMaildrop``, which has the lock."""
        self._take_away(RemovalJob(mailbox, uids, done))

    def forget(self, mailbox: int, done: Callable[[StorageError | None], None]) -> None:
        """For ``DiskMaildrop``, which has the lock."""
        self._take_away(ForgetJob(mailbox, done))

    def _take_away(self, job: RemovalJob | ForgetJob) -> None:
        if self._closed is None:
            self._commits.add(job)
        else:
            self._loop.call_soon(job.refuse, self._closed)

    # The commit

    def _batch(self) -> StoreBatch:
        return StoreBatch(self._files, self._quota, self._clock.now_ms(), self._purge)

    def _to_disk(self, txn: "lmdb.Transaction[bytes]") -> None:
        self._thread.commit(txn)

    def _commit_point_c_d(self, txn: "lmdb.Transaction[bytes]") -> None:
        """COMMIT POINTS C and D, in the sync thread. C: nothing may say 250 for a copy in this batch before it returns.
        D: nothing may say that a message of this batch was removed before it returns, and then it never comes back.

        The transaction is written and synced, then its root is written and synced: two flushes of the device. An error
        leaves the outcome open, and is never tried again.
        """
        txn.commit()

    def _committed(self, batch: StoreBatch, seconds: float) -> None:
        self._reader.renew()
        if self.on_commit is not None:
            # whatever a listener does wrong, the batch is safe
            self._loop.call_soon(self.on_commit, seconds, batch.delivered, batch.removed)

    def _fail(self, error: BaseException) -> StoreFailed:
        failure = StoreFailed(f"{self.directory}: commit failed: {error}; nothing more is stored until a restart")
        failure.__cause__ = error
        self._closed = failure
        self._purge.clear()
        self._loop.call_soon(self._on_failure, failure)
        return failure

    # Reads

    def maildrop(self, mailbox: int) -> "Maildrop | None":
        """See ``Store.maildrop``."""
        if mailbox in self._locked:
            return None
        maildrop = DiskMaildrop(self, self._reader, mailbox)
        self._locked.add(mailbox)
        return maildrop

    def unlock(self, mailbox: int) -> None:
        """For ``DiskMaildrop``."""
        self._locked.discard(mailbox)

    def view(self, mailbox: int) -> "View":
        """See ``Store.view``."""
        return MailboxView(self._reader, mailbox)

    def usage(self, mailbox: int) -> Usage:
        """See ``Store.usage``."""
        return self._reader.usage(mailbox)

    def mailboxes(self, after: int, limit: int) -> list[int]:
        """See ``Store.mailboxes``."""
        return self._reader.mailboxes(after, limit)

    def totals(self) -> Usage:
        """See ``Store.totals``."""
        books = self._reader.books()
        return Usage(books.messages, books.octets)

    async def probe(self) -> None:
        """Returns when the books can be read and the commit that is under way has ended. Raises StorageError."""
        if self._closed is not None:
            raise self._closed
        self._reader.books()
        await self._commits.hold()
        self._commits.release()

    def free_octets(self) -> int:
        """What may still be stored before the low-water mark. Holds for a second."""
        return self._space.octets()

    async def audit(self) -> Audit:
        """See ``Store.audit``. Other work goes on between the slices."""
        await self._commits.hold()
        try:
            audit = Audit()
            for _ in recount(self._reader, audit):
                await asyncio.sleep(0)
            return audit
        finally:
            self._commits.release()
