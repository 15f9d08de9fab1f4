"""Deliveries, removals and their outcomes for store tests."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mta.errors import StorageError
from mta.store.disk import DiskStore
from mta.store.protocol import Copy, Delivery, Maildrop, Outcome, Store, View

#: Test directories are small: no room set aside, nothing preallocated unless a test says so.
SMALL: dict[str, Any] = {"free_space": 0, "map_size": 1 << 30, "preallocate": 0, "lock_wait": 0.04}
HEAD = b"Return-Path: <s@client.example>\r\nDelivered-To: r@ours.example\r\n"
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def unexpected(failure: BaseException) -> None:
    raise AssertionError(f"the store failed: {failure}")


def open_store(directory: Path, **options: Any) -> DiskStore:
    """A started disk store on the running loop. A failure that the test did not ask for fails the test."""
    store = DiskStore(directory, **{**SMALL, **options})
    store.start(unexpected)
    return store


def sent(store: Store, copies: Sequence[Copy], content: bytes, streamed: int = 0) -> "asyncio.Future[list[Outcome]]":
    """Delivers; the outcomes come later. ``streamed``: octets at a time."""
    future = asyncio.get_running_loop().create_future()

    def settled(delivery: Delivery, outcomes: list[Outcome]) -> None:
        assert len(outcomes) == len(delivery.copies)
        future.set_result(outcomes)

    if not streamed:
        store.deliver(Delivery(copies, content, settled))
    else:
        stream = store.open_stream()
        for start in range(0, len(content), streamed):
            stream.append(content[start : start + streamed])
        store.deliver(Delivery(copies, None, settled, stream))
    return future


async def deliver(store: Store, *mailboxes: int, content: bytes = MESSAGE, head: bytes = HEAD, **how: Any) -> list[int]:
    """One content into these mailboxes; their uids, after the commit."""
    copies = [Copy(mailbox, head) for mailbox in mailboxes]
    outcomes = await asyncio.wait_for(sent(store, copies, content, **how), 20)
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    return [uid for uid in outcomes if isinstance(uid, int)]


def removing(maildrop: Maildrop, indexes: Sequence[int]) -> "asyncio.Future[StorageError | None]":
    future = asyncio.get_running_loop().create_future()
    maildrop.remove(indexes, future.set_result)
    return future


async def remove(store: Store, mailbox: int, indexes: Sequence[int]) -> None:
    """Removes these and waits for the commit."""
    maildrop = store.maildrop(mailbox)
    assert maildrop is not None, "locked"
    assert await asyncio.wait_for(removing(maildrop, indexes), 20) is None
    maildrop.close()


def octets_of(view: View) -> list[bytes]:
    """Every message of a view."""
    return [b"".join(view.content(index)) for index in range(len(view.sizes))]


def rows(store: DiskStore, table: str) -> int:
    """How many rows a table has in the last commit."""
    reader = store._reader
    return reader.snapshot.stat(getattr(store._files, table))["entries"]


async def until_purged(store: DiskStore) -> None:
    """Commits go on by themselves until nothing is left to purge."""
    for _ in range(10_000):
        if not rows(store, "incomplete"):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("not purged")


async def balanced(store: Store) -> None:
    audit = await store.audit()
    assert (audit.drift, audit.findings) == (0, [])
