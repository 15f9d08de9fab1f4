"""A shard of a server that is not running, for commands that look at it.

Owns: the lock while it is open, so that no server starts on it meanwhile. Never does: change a message.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from mta.model.message import Message
from mta.spool.protocol import Ledger
from mta.spool.reading import Reader
from mta.spool.shard import Shard

#: Seconds to wait for a server that is just exiting.
_LOCK_WAIT = 1.0


def open_stopped(directory: Path) -> "StoppedSpool":
    """Opens the shard in ``directory`` to read. Raises EnvironmentLocked when a server runs, else StorageError."""
    return StoppedSpool(Shard(directory, lock_wait=_LOCK_WAIT, create=False))


class StoppedSpool:
    """The reading verbs of ``Spool``, and ``close``; also a context manager. Any thread, one at a time."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._reader = Reader(shard)

    def due(self, after: bytes, until: int, limit: int) -> list[tuple[bytes, str]]:
        return self._reader.due(after, until, limit)

    def load(self, spool_id: int) -> Message | None:
        return self._reader.load(spool_id)

    def content(self, message: Message) -> Iterator[bytes]:
        return self._reader.content(message)

    def messages(self, after: int, limit: int) -> list[Message]:
        return self._reader.messages(after, limit)

    def ledger(self) -> Ledger:
        return self._reader.ledger()

    def close(self) -> None:
        """Lets a server start again."""
        self._reader.close()
        self._shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
