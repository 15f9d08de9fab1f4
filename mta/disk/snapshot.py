"""The last committed state of an environment, as the process that writes it reads it.

Owns: one read transaction and its renewal. Never does: know what the tables hold. Why it needs no slot in a reader
table is spelled out in ``mta.spool.reading``; the rule for those who read: nothing outlives a renewal. Loop thread
only.
"""

from typing import TYPE_CHECKING

import lmdb

from mta.disk.environment import Environment
from mta.errors import StorageError

if TYPE_CHECKING:
    from lmdb import _Database


class SnapshotReader:
    """What the readers of spool and store begin with."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._snapshot: lmdb.Transaction[bytes] | None = environment.env.begin()

    def renew(self) -> None:
        """After a commit: the snapshot moves on."""
        if self._snapshot is not None:
            self._snapshot.abort()
        self._snapshot = self._environment.env.begin()

    def close(self) -> None:
        """Ends the snapshot; later reads raise StorageError."""
        if self._snapshot is not None:
            self._snapshot.abort()
            self._snapshot = None

    @property
    def snapshot(self) -> "lmdb.Transaction[bytes]":
        """Good until the loop's next turn, no longer."""
        if self._snapshot is None:
            raise StorageError(f"{self._environment.directory}: the {self._environment.what} is closed")
        return self._snapshot

    def get(self, table: "_Database", key: bytes) -> bytes | None:
        """Raises StorageError."""
        try:
            return self.snapshot.get(key, db=table)
        except lmdb.Error as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: lmdb.Error) -> StorageError:
        return StorageError(f"{self._environment.directory}: cannot be read: {error}")
