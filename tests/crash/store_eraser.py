"""A process to crash: erases a mailbox of nobody in small bites, and prints what it was told.

Arguments: data directory, number of the mailbox. Output: each row of the verb, as a line of JSON. Its first life fills
the mailbox with MESSAGES, one content for this mailbox and OTHER, and says ``filled``.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from mta.clock import SystemClock
from mta.directory.reader import DirectoryReader
from mta.directory.tables import directory_path
from mta.services import mailboxes
from mta.store.disk import DiskStore
from mta.store.tables import store_directory
from tests.harness.storing import SMALL, deliver

MESSAGES, BITE, OTHER = 300, 7, 5


async def main(data: Path, number: int) -> None:
    mailboxes.BITE = BITE
    options: dict[str, Any] = {**SMALL, "lock_wait": 3.0}
    store = DiskStore(store_directory(data), **options)
    store.start(lambda failure: None)
    if not store.mailboxes(0, 1):
        await asyncio.gather(*(deliver(store, number, OTHER, content=b"%d\r\n" % n * n) for n in range(MESSAGES)))
        os.write(1, b"filled\n")
    directory = DirectoryReader(directory_path(data))
    verbs = mailboxes.MailboxVerbs(store, directory, SystemClock(), message_size=1 << 20)
    async for row in verbs.answer("mailbox.erase", {"mailboxes": [str(number)]}):
        os.write(1, msgspec.json.encode(row) + b"\n")
    await store.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
