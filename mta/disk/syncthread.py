"""The one thread of a shard that waits for the disk.

Owns: the thread, and the way of a transaction to it and of the news back to the loop. Never does: build a
transaction or decide what a failure means.
"""

import asyncio
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from mta.clock import Clock

if TYPE_CHECKING:
    import lmdb

#: Seconds between syncs when durability is buffered.
SYNC_INTERVAL = 1.0


class SyncThread:
    """Commits one transaction at a time; ``done(error, seconds)`` is called on the loop thread after each.

    ``sync`` is None when every commit syncs; else it is called in the thread once a second while there is something
    to sync, and at the end. When it fails, ``failed(error)`` is called on the loop thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        name: str,
        *,
        commit: "Callable[[lmdb.Transaction[bytes]], None]",
        done: Callable[[BaseException | None, float], None],
        sync: Callable[[], None] | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._commit = commit
        self._done = done
        self._sync = sync
        self._failed = failed
        self._unsynced_since: float | None = None
        self._work: SimpleQueue[lmdb.Transaction[bytes] | asyncio.Future[None]] = SimpleQueue()
        # A daemon: a process that ends without stop() is a crash, and must not hang on it.
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def commit(self, txn: "lmdb.Transaction[bytes]") -> None:
        """Hands a transaction over. Only one may be under way."""
        self._work.put(txn)

    async def stop(self) -> None:
        """Ends the thread, after what it was given."""
        ended: asyncio.Future[None] = self._loop.create_future()
        self._work.put(ended)
        await ended
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=None if self._unsynced_since is None else SYNC_INTERVAL)
            except Empty:
                self._sync_now()
                continue
            if isinstance(work, asyncio.Future):
                self._sync_now()
                self._loop.call_soon_threadsafe(work.set_result, None)
                return
            self._commit_one(work)

    def _commit_one(self, txn: "lmdb.Transaction[bytes]") -> None:
        began = self._clock.monotonic()
        error: BaseException | None = None
        try:
            self._commit(txn)
        except BaseException as caught:  # whatever it is, the loop must hear of it or the tickets wait for ever
            error = caught
        now = self._clock.monotonic()
        self._loop.call_soon_threadsafe(self._done, error, now - began)
        if self._sync is None:
            return
        if self._unsynced_since is None:
            self._unsynced_since = began
        elif now - self._unsynced_since >= SYNC_INTERVAL:
            self._sync_now()

    def _sync_now(self) -> None:
        if self._sync is None or self._unsynced_since is None:
            return
        self._unsynced_since = None
        try:
            self._sync()
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._failed, error)
