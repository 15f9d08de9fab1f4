"""Group commit: jobs that gather while a commit is under way go into the next transaction together.

Owns: what waits, when a batch begins, and who is told what after its commit. Never does: octets on disk (the batch),
waiting for them (``syncthread``). The loop thread builds, the sync thread commits; the next batch begins when the last
one has ended, with all that came meanwhile, so batches grow with the load by themselves. (The spool has the like built
in: its changes wait for company, and its hot path is older than this module.)

    waiting ──write──▶ in the batch ──commit──▶ settle
       └────────────────────┴─── a failure ───▶ refuse, for good: nothing is tried again
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from mta.errors import StorageError

if TYPE_CHECKING:
    import lmdb


class Batch(Protocol):
    """One transaction that is being built. Loop thread only, until ``txn`` is committed."""

    txn: "lmdb.Transaction[bytes]"

    def has_room(self) -> bool: ...

    def close(self) -> bool:
        """The last of it. True: there is more to do, also without a job (purging)."""


_B = TypeVar("_B", bound=Batch)
_B_contra = TypeVar("_B_contra", bound=Batch, contravariant=True)


class Job(Protocol[_B_contra]):
    """What somebody wants written. Exactly one of ``settle`` and ``refuse`` is called, once, on the loop thread."""

    def write(self, batch: _B_contra) -> bool:
        """False: more of it is to be written on the loop's next turn, into the same batch."""

    def settle(self) -> None:
        """It is on stable storage."""

    def refuse(self, error: StorageError) -> None:
        """It never will be."""


class GroupCommit(Generic[_B]):
    """``make`` begins a batch; ``commit`` takes it to the sync thread, which says ``ended``. ``committed(batch,
    seconds)`` is called after each, before anybody is told: now the snapshot moves on. ``failed(error)`` makes the
    error that everybody hears, once. Loop thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], _B],
        commit: "Callable[[lmdb.Transaction[bytes]], None]",
        committed: Callable[[_B, float], None],
        failed: Callable[[BaseException], StorageError],
    ) -> None:
        self._loop = loop
        self._make = make
        self._commit = commit
        self._committed = committed
        self._failed = failed
        self._queue: deque[Job[_B]] = deque()
        self._jobs: list[Job[_B]] = []
        self._batch: _B | None = None
        self._building = False
        self._halfway = False
        self._scheduled = False
        self._restless = False
        self._stopping = False
        self._holds = 0
        self._idle: list[asyncio.Future[None]] = []
        self._error: StorageError | None = None

    def add(self, job: Job[_B]) -> None:
        """Into the next batch. After a failure it is refused."""
        if self._error is not None:
            self._loop.call_soon(self._tell, job.refuse, self._error)
            return
        self._queue.append(job)
        self._begin_soon()

    def go_on(self) -> None:
        """There is work without a job, of which ``Batch.close`` knows."""
        self._restless = True
        self._begin_soon()

    async def drain(self) -> None:
        """Commits what was added, after the last ``release``; what only is to be purged stays for the next start."""
        self._stopping = True
        while (self._queue or self._batch is not None or self._holds) and self._error is None:
            self._begin_soon()
            await self._becoming_idle()

    async def hold(self) -> None:
        """Returns when no commit is under way; none begins before ``release``."""
        self._holds += 1
        if self._batch is not None:
            await self._becoming_idle()

    def release(self) -> None:
        self._holds -= 1
        self._wake_idle()
        self._begin_soon()

    def _becoming_idle(self) -> "asyncio.Future[None]":
        self._idle.append(self._loop.create_future())
        return self._idle[-1]

    def _begin_soon(self) -> None:
        if not self._scheduled and self._batch is None:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        wanted = self._queue or (self._restless and not self._stopping)
        if self._batch is not None or self._error is not None or self._holds or not wanted:
            return
        try:
            self._batch = self._make()
        except Exception as error:
            self.fail(error)
            return
        self._building = True
        self._build()

    def _build(self) -> None:
        """Jobs in the order they came; a long one in slices, a turn of the loop each, and others wait behind it."""
        batch = self._batch
        if batch is None:
            return  # it failed meanwhile
        try:
            while self._queue and (self._halfway or batch.has_room()):
                self._halfway = not self._queue[0].write(batch)
                if self._halfway:  # whatever its length, all of it goes into this one commit
                    self._loop.call_soon(self._build)
                    return
                self._jobs.append(self._queue.popleft())
            self._restless = batch.close()
        except Exception as error:  # whatever stopped it, nothing of it may be committed
            self.fail(error)
            return
        self._building = False
        self._commit(batch.txn)

    def ended(self, error: BaseException | None, seconds: float) -> None:
        """The commit came back."""
        batch = self._batch
        if batch is None:
            return  # already refused
        if error is not None:
            self.fail(error)
            return
        self._batch = None
        jobs, self._jobs = self._jobs, []
        try:
            self._committed(batch, seconds)
        except Exception as unreadable:  # the batch is safe all the same
            self.fail(unreadable)
        if not self._holds:
            self._begin()
        for job in jobs:
            self._tell(job.settle)
        self._wake_idle()

    def fail(self, error: BaseException) -> None:
        """Everything that has no commit is refused, and so is all that comes."""
        if self._error is not None:
            return
        self._error = failure = self._failed(error)
        batch, self._batch = self._batch, None
        if batch is not None and self._building:
            batch.txn.abort()
        refused = [*self._jobs, *self._queue]
        self._jobs = []
        self._queue.clear()
        for job in refused:
            self._loop.call_soon(self._tell, job.refuse, failure)
        self._wake_idle()

    def _wake_idle(self) -> None:
        if self._batch is None:
            waiting, self._idle = self._idle, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        """One caller's mistake must not keep the news from the others."""
        try:
            callback(*arguments)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a call-back after a commit failed", "exception": error})
