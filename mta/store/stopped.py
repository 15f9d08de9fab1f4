"""The store of a server that is not running, for commands that look at it.

Owns: the lock while it is open, so that no server starts on it meanwhile. Never does: change anything.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from mta.store.protocol import Audit, Usage, View
from mta.store.reading import MailboxView, Reader
from mta.store.recount import recount
from mta.store.tables import Files

#: Seconds to wait for a server that is just exiting.
_LOCK_WAIT = 1.0


def open_stopped(directory: Path) -> "StoppedStore":
    """Opens the store in ``directory`` to read. Raises EnvironmentLocked when a server runs, else StorageError."""
    return StoppedStore(Files(directory, lock_wait=_LOCK_WAIT, create=False))


class StoppedStore:
    """The reading verbs of ``Store``, and ``close``; also a context manager. Any thread, one at a time."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._reader = Reader(files)

    def view(self, mailbox: int) -> View:
        return MailboxView(self._reader, mailbox)

    def usage(self, mailbox: int) -> Usage:
        return self._reader.usage(mailbox)

    def mailboxes(self, after: int, limit: int) -> list[int]:
        return self._reader.mailboxes(after, limit)

    def totals(self) -> Usage:
        books = self._reader.books()
        return Usage(books.messages, books.octets)

    async def audit(self) -> Audit:
        audit = Audit()
        for _ in recount(self._reader, audit):
            pass
        return audit

    def close(self) -> None:
        """Lets a server start again."""
        self._reader.close()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
