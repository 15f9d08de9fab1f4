"""The directory for every process but its writer: opened when first asked, again when it was replaced.

Owns: the environment's coming and going. Never does: wait, or write. What stands open is looked at once a second, and
before each verb when it was written to since the last look: whoever reads a page of the map that lies behind the end of
its file is killed (SIGBUS). Files that are gone, others, cut off or no longer a directory of ours make every verb raise
DirectoryUnreadable, and as soon as they are back the verbs work again. The writer may stop, start and die meanwhile:
readers need it not.
"""

import os
from pathlib import Path
from typing import Final

from mta.clock import Clock, SystemClock
from mta.directory.protocol import Credentials, DirectoryUnreadable, Person, Resolution
from mta.directory.reading import Reading
from mta.directory.tables import LAYOUT
from mta.disk.environment import DATA_FILE, check_whole, open_tables, open_to_read
from mta.errors import StorageError

#: Seconds for which an answer about the files holds.
_HOLDS: Final = 1.0


class DirectoryReader:
    """A ``Directory``. ``directory``: ``tables.directory_path(data_dir)``; the options are those of ``Reading``. One
    per process, and none in the writer's (its ``DirectoryWriter.reading`` does the same). One thread."""

    def __init__(
        self, directory: Path, *, separator: str = "", postmaster: str = "", clock: Clock | None = None
    ) -> None:
        self._directory = directory
        self._path = directory / DATA_FILE
        self._separator = separator
        self._postmaster = postmaster
        self._clock = clock or SystemClock()
        self._until = float("-inf")
        self._reading: Reading | None = None
        self._identity = (0, 0)
        self._length = 0
        self._file = -1
        self._written = (0, 0)
        self._why = ""

    def resolve(self, address: str) -> Resolution | None:
        return self._now().resolve(address)

    def person(self, number: int) -> Person | None:
        return self._now().person(number)

    def find(self, address: str) -> Person | None:
        return self._now().find(address)

    def search(self, text: str, limit: int) -> list[Person]:
        return self._now().search(text, limit)

    def people(self, after: int, limit: int) -> list[Person]:
        return self._now().people(after, limit)

    def lists(self, after: str, limit: int) -> list[Resolution]:
        return self._now().lists(after, limit)

    def version(self) -> int:
        return self._now().version()

    def credentials(self, number: int) -> Credentials | None:
        return self._now().credentials(number)

    def key(self) -> bytes:
        return self._now().key()

    def close(self) -> None:
        """Lets the files go; the next verb opens them again."""
        if self._reading is not None:
            self._env.close()
            os.close(self._file)
        self._reading = None
        self._until = float("-inf")

    def _now(self) -> Reading:
        """What stands open, when it is less than a second since it was looked at and nobody wrote to it meanwhile."""
        if self._clock.monotonic() >= self._until or (
            self._reading is not None and _written(self._file) != self._written
        ):
            self._look()
        if self._reading is None:
            raise DirectoryUnreadable(self._why)
        return self._reading

    def _look(self) -> None:
        until = self._clock.monotonic() + _HOLDS
        try:
            status = os.stat(self._path)
            identity = (status.st_dev, status.st_ino)
            if self._reading is not None and (identity != self._identity or self._reading.broken):
                self.close()
            if self._reading is None:
                self._open(identity)
            self._written = _written(self._file)  # before the check: what is written during it counts as new
            if status.st_size < self._length:  # the writer's file never shrinks
                raise StorageError(f"{self._path}: its end is missing; restore it from a copy")
            check_whole(self._env, self._path, LAYOUT)
            self._length = status.st_size
        except (OSError, StorageError) as error:
            self.close()
            self._why = str(error)
            if isinstance(error, OSError):
                self._why = f"{self._path}: {error.strerror}; see `mta status`, or restore it from a copy or an export"
        self._until = until

    def _open(self, identity: tuple[int, int]) -> None:
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._env = open_to_read(self._directory, LAYOUT)
        except BaseException:
            os.close(self._file)
            raise
        try:
            self._reading = Reading(self._env, open_tables(self._env, LAYOUT), self._separator, self._postmaster)
        except BaseException:
            self._env.close()
            os.close(self._file)
            raise
        self._identity = identity
        self._length = 0


def _written(file: int) -> tuple[int, int]:
    """When it was last written to, and its octets; about a microsecond."""
    status = os.fstat(file)
    return status.st_mtime_ns, status.st_size
