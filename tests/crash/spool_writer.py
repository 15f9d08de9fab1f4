"""A process to crash: accepts and finishes messages as fast as it can, and prints what it was told is on disk.

Arguments: directory, durability, first id. Output, a line each: ``ready``, ``accepted ID`` when a ticket has settled,
and ``finished ID`` when a message is about to be finished (its change may or may not be committed later).
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mta.errors import StorageError
from mta.model.message import Message
from mta.spool.disk import DiskSpool
from mta.spool.protocol import Ticket
from tests.harness.spooling import SMALL, delivered, entries_of, make_message

IN_FLIGHT = 32


def content_of(spool_id: int) -> bytes:
    """Content that tells its id, from nothing to several pieces."""
    return b"%016d\r\n" % spool_id * (spool_id * 131 % 1200)


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


class Writer:
    def __init__(self, spool: DiskSpool, first: int) -> None:
        self._spool = spool
        self._next = first

    def accept(self) -> None:
        spool_id = self._next
        self._next += 1
        content = content_of(spool_id)
        message = make_message(spool_id, content, domains=["a.example", "b.example"])
        if spool_id % 5:
            ticket = Ticket(message, content, entries_of(message), self.settled)
        else:
            stream = self._spool.open_stream(spool_id)
            stream.append(content)
            ticket = Ticket(message, None, entries_of(message), self.settled, stream)
        self._spool.accept(ticket)

    def settled(self, ticket: Ticket, error: StorageError | None) -> None:
        if error is not None:
            return  # the disk is gone; whoever cut it kills us
        message: Message = ticket.message
        say(f"accepted {message.id}")
        if message.id % 3:
            say(f"finished {message.id}")
            self._spool.apply(delivered(message))
        self.accept()


async def main() -> None:
    options: dict[str, Any] = {**SMALL, "durability": sys.argv[2], "lock_wait": 3.0}
    spool = DiskSpool(Path(sys.argv[1]), 0, **options)
    spool.start(lambda failure: None)
    say("ready")
    writer = Writer(spool, int(sys.argv[3]))
    for _ in range(IN_FLIGHT):
        writer.accept()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
