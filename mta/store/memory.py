"""The memory store: dictionaries instead of a disk. For tests of what stands on a store.

Owns: the same promises as the disk's, except that nothing outlives the process. Deliveries and removals are settled on
the loop's next turn.
"""

import asyncio
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mta.clock import Clock, SystemClock
from mta.disk.stream import MemoryStream
from mta.errors import StorageError
from mta.model.spoolid import COUNTER_BITS, SHARD_BITS, format_id
from mta.store.protocol import (
    BEGINNING,
    CHUNK,
    NO_QUOTA,
    Audit,
    ContentStream,
    Copy,
    Delivery,
    Gone,
    Maildrop,
    Outcome,
    Quota,
    QuotaExceeded,
    StoreFailed,
    Usage,
    View,
)


class _Item(NamedTuple):
    arrival: int
    size: int
    octets: bytes


class MemoryView:
    """A ``View``, and all of a ``Maildrop`` for a store that gave it the lock."""

    def __init__(self, store: "MemoryStore", mailbox: int) -> None:
        items = store.items.get(mailbox, {})
        self.uids: Sequence[int] = array("Q", sorted(items))
        self.sizes: Sequence[int] = array("Q", [items[uid].size for uid in self.uids])
        self._store = store
        self._mailbox = mailbox
        self._removing = False
        self._closed = False

    def unique_ids(self) -> list[bytes]:
        return [format_id(uid).encode() for uid in self.uids]

    def _item(self, index: int) -> _Item:
        item = self._store.items.get(self._mailbox, {}).get(self.uids[index])
        if item is None:
            raise Gone(f"{format_id(self.uids[index])} of mailbox {self._mailbox} is not there any more")
        return item

    def arrival(self, index: int) -> int:
        return self._item(index).arrival

    def beginning(self, index: int) -> bytes:
        return self._item(index).octets[:BEGINNING]

    def content(self, index: int) -> Iterator[bytes]:
        for start in range(0, len(self._item(index).octets), CHUNK):
            yield self._item(index).octets[start : start + CHUNK]

    def whole(self, index: int) -> bytes:
        return self._item(index).octets

    def remove(self, indexes: Sequence[int], done: Callable[[StorageError | None], None]) -> None:
        uids = [self.uids[index] for index in indexes]
        self._store.remove(self._mailbox, uids, self._removal(done))

    def forget(self, done: Callable[[StorageError | None], None]) -> None:
        self._store.forget(self._mailbox, self._removal(done))

    def _removal(self, done: Callable[[StorageError | None], None]) -> Callable[[StorageError | None], None]:
        self._removing = True

        def removed(error: StorageError | None) -> None:
            self._removing = False
            if self._closed:
                self._store.locked.discard(self._mailbox)
            done(error)

        return removed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if not self._removing:
                self._store.locked.discard(self._mailbox)


class MemoryStore:
    """A ``Store`` in memory. Loop thread only. ``fail`` makes every later commit fail, as a broken disk would."""

    def __init__(
        self,
        *,
        quota: Quota = NO_QUOTA,
        loop: asyncio.AbstractEventLoop | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.on_commit: Callable[[float, int, int], None] | None = None
        self.items: dict[int, dict[int, _Item]] = {}
        self.locked: set[int] = set()
        self._last: dict[int, int] = {}
        self._quota = quota
        self._given_loop = loop
        self._clock = clock or SystemClock()
        self._waiting: list[Callable[[], None]] = []
        self._delivered = 0
        self._removed = 0
        self._closed: StorageError | None = StoreFailed("the store is not open")

    def start(self, on_failure: Callable[[StoreFailed], None]) -> None:
        """Nothing here can fail by itself."""
        self._on_failure = on_failure
        self._loop = self._given_loop or asyncio.get_running_loop()
        self._closed = None

    async def stop(self) -> None:
        """Settles what waits."""
        self._commit()
        self._closed = self._closed or StoreFailed("the store was stopped")

    def fail(self) -> None:
        """The disk is gone."""
        if not isinstance(self._closed, StoreFailed):
            self._closed = StoreFailed("commit failed: told to")
            self._on_failure(self._closed)

    def refusal(self, mailbox: int, octets: int) -> StorageError | None:
        """See ``Store.refusal``."""
        return self._closed or self._full(mailbox, octets)

    def _full(self, mailbox: int, octets: int) -> QuotaExceeded | None:
        usage, quota = self.usage(mailbox), self._quota
        if (quota.messages and usage.messages >= quota.messages) or (
            quota.octets and usage.octets + octets > quota.octets
        ):
            return QuotaExceeded(f"mailbox {mailbox} is full")
        return None

    def deliver(self, delivery: Delivery) -> None:
        """See ``Store.deliver``."""
        if isinstance(delivery.stream, MemoryStream):
            content = bytes(delivery.stream.content)
        else:
            content = delivery.content or b""
        self._add(lambda: delivery.settled(delivery, [self._copy(copy, content) for copy in delivery.copies]))

    def _copy(self, copy: Copy, content: bytes) -> Outcome:
        octets = copy.head + content
        size = len(octets) if not octets or octets.endswith(b"\r\n") else len(octets) + 2
        refusal = self.refusal(copy.mailbox, size)
        if refusal is not None:
            return refusal
        items = self.items.setdefault(copy.mailbox, {})
        last = self._last.get(copy.mailbox, 0)
        now = self._clock.now_ms()
        uid = max(now << (SHARD_BITS + COUNTER_BITS), last + 1)
        if 0 < copy.uid < uid and copy.uid not in items:
            uid = copy.uid
        self._last[copy.mailbox] = max(last, uid)
        items[uid] = _Item(copy.arrival or now, size, octets)
        self._delivered += 1
        return uid

    def remove(self, mailbox: int, uids: Sequence[int], done: Callable[[StorageError | None], None]) -> None:
        """For ``MemoryView``."""

        def remove() -> None:
            if self._closed is None:
                for uid in uids:
                    self._removed += self.items[mailbox].pop(uid, None) is not None
            done(self._closed)

        self._add(remove)

    def forget(self, mailbox: int, done: Callable[[StorageError | None], None]) -> None:
        """For ``MemoryView``."""

        def forget() -> None:
            if self._closed is None and not self.items.get(mailbox):
                self.items.pop(mailbox, None)
                self._last.pop(mailbox, None)
            done(self._closed)

        self._add(forget)

    def _add(self, work: Callable[[], None]) -> None:
        if not self._waiting:
            self._loop.call_soon(self._commit)
        self._waiting.append(work)

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        before = self._delivered, self._removed
        for work in waiting:
            work()
        if waiting and self.on_commit is not None:
            self.on_commit(0.0, self._delivered - before[0], self._removed - before[1])

    def open_stream(self) -> ContentStream:
        """See ``Store.open_stream``."""
        return MemoryStream(self._loop)

    def maildrop(self, mailbox: int) -> Maildrop | None:
        """See ``Store.maildrop``."""
        if mailbox in self.locked:
            return None
        self.locked.add(mailbox)
        return MemoryView(self, mailbox)

    def view(self, mailbox: int) -> View:
        """See ``Store.view``."""
        return MemoryView(self, mailbox)

    def usage(self, mailbox: int) -> Usage:
        """See ``Store.usage``."""
        items = self.items.get(mailbox, {})
        return Usage(len(items), sum(item.size for item in items.values()))

    def mailboxes(self, after: int, limit: int) -> list[int]:
        """See ``Store.mailboxes``."""
        return sorted(mailbox for mailbox in self.items if mailbox > after)[:limit]

    def totals(self) -> Usage:
        """See ``Store.totals``. Looks at everything."""
        usages = [self.usage(mailbox) for mailbox in self.items]
        return Usage(sum(u.messages for u in usages), sum(u.octets for u in usages))

    async def audit(self) -> Audit:
        """See ``Store.audit``: there is nothing that could disagree."""
        held = self.totals()
        return Audit(
            len(self.items), held.messages, held.octets, held.messages, self._delivered, self._removed,
            abs(self._delivered - self._removed - held.messages),
        )  # fmt: skip
