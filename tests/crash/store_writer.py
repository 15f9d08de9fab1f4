"""A process to crash: delivers into mailboxes and removes from them as fast as it can, and prints what it was told.

Arguments: directory, first number, ``synced`` or ``unsynced`` (commits that do not wait for the disk: to prove that a
power cut is one). Output, a line each: ``ready``; ``delivered MAILBOX UID NUMBER`` when a copy has settled;
``removing MAILBOX UID…`` when a removal is asked for and ``removed MAILBOX UID…`` when it is done.
A mailbox of its own (``HELD``) is open all the time, read and never removed from: who marks messages and does not come
to QUIT has removed nothing.
"""

import asyncio
import functools
import os
import random
import sys
from pathlib import Path
from typing import Any

from mta.errors import StorageError
from mta.store import disk
from mta.store.disk import DiskStore
from mta.store.protocol import Copy, Delivery, Maildrop, Outcome
from mta.store.tables import Files
from tests.harness.storing import SMALL

IN_FLIGHT = 16
MAILBOXES = (1, 2, 3)
HELD = 9
#: Messages of a mailbox from which on some or all of them are removed.
MANY = 40


def content_of(number: int) -> bytes:
    """Content that tells its number, from nothing but that to many pieces."""
    return b"%016d\r\n" % number * (1 + number * 131 % (900 if number % 50 else 9_000))


def head_of(mailbox: int) -> bytes:
    return b"Return-Path: <>\r\nDelivered-To: %d@ours.example\r\n" % mailbox


def mailboxes_of(number: int) -> list[int]:
    """One or more; content is shared."""
    wanted = [mailbox for mailbox in MAILBOXES if (number >> mailbox) & 1 or number % 3 + 1 == mailbox]
    return [*wanted, HELD] if number % 200 == 0 else wanted


def say(*words: object) -> None:
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


class Writer:
    def __init__(self, store: DiskStore, first: int) -> None:
        self._store = store
        self._next = first
        self._chance = random.Random(first)
        self._held: Maildrop | None = store.maildrop(HELD)

    def deliver(self) -> None:
        number = self._next
        self._next += 1
        content = content_of(number)
        copies = [Copy(mailbox, head_of(mailbox)) for mailbox in mailboxes_of(number)]
        settled = functools.partial(self._settled, number)
        if number % 5:
            self._store.deliver(Delivery(copies, content, settled))
        else:
            stream = self._store.open_stream()
            stream.append(content)
            self._store.deliver(Delivery(copies, None, settled, stream))
        if number % 7 == 0:
            abandoned = self._store.open_stream()
            abandoned.append(content * 5)
            abandoned.abandon()

    def _settled(self, number: int, delivery: Delivery, outcomes: list[Outcome]) -> None:
        for copy, outcome in zip(delivery.copies, outcomes, strict=True):
            if isinstance(outcome, StorageError):
                return  # the disk is gone; whoever cut it kills us
            say("delivered", copy.mailbox, outcome, number)
        for mailbox in MAILBOXES:
            self._remove(mailbox)
        if self._held is not None and self._held.sizes:
            next(self._held.content(number % len(self._held.sizes)))
        self.deliver()

    def _remove(self, mailbox: int) -> None:
        if self._store.usage(mailbox).messages < MANY:
            return
        maildrop = self._store.maildrop(mailbox)
        if maildrop is None:
            return
        count = len(maildrop.sizes)
        indexes = range(count) if self._chance.random() < 0.3 else self._chance.sample(range(count), count // 2)
        uids = [maildrop.uids[index] for index in indexes]
        say("removing", mailbox, *uids)

        def removed(error: StorageError | None) -> None:
            if error is None:
                say("removed", mailbox, *uids)

        maildrop.remove(indexes, removed)
        maildrop.close()


async def main() -> None:
    if sys.argv[3] == "unsynced":
        disk.Files = functools.partial(Files, sync=False)  # type: ignore[misc, assignment]
    options: dict[str, Any] = {**SMALL, "lock_wait": 3.0}
    store = DiskStore(Path(sys.argv[1]), **options)
    store.start(lambda failure: None)
    say("ready")
    writer = Writer(store, int(sys.argv[2]))
    for _ in range(IN_FLIGHT):
        writer.deliver()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
