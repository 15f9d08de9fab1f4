"""The only writer of the directory's environment.

Owns: transactions. Changes that come together are committed together, each in a transaction of its own within the
common one, so that one that is refused leaves nothing and disturbs no other. Never does: decide what may be changed
(``changes``), wait for a loop (``services/directory.py``).

**Commit point**: the end of ``run``'s outer transaction. LMDB writes and syncs the pages, then the root that names
them; readers see all of it or nothing, and so does whoever comes after a kill or a power cut.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import lmdb

from mta.clock import Clock, SystemClock
from mta.directory.changes import Changes
from mta.directory.reading import Reading
from mta.directory.tables import LAYOUT, NAMES
from mta.disk.environment import LOCK_WAIT, MAP_SIZE, PREALLOCATE, Environment
from mta.errors import MtaError, StorageError

T = TypeVar("T")
Job = Callable[[Changes], Any]

#: Seconds between two looks for readers that died and left their slot.
READER_CHECK: Final = 60.0


class DirectoryWriter:
    """Opening makes the environment where there is none (``create``), raises EnvironmentLocked, WrongFormat or
    StorageError. ``reading``: the reading verbs, for this process; any thread. ``run`` and ``change``: one thread."""

    def __init__(
        self,
        directory: Path,
        *,
        separator: str = "",
        postmaster: str = "",
        clock: Clock | None = None,
        create: bool = True,
        map_size: int = MAP_SIZE,
        preallocate: int = PREALLOCATE,
        lock_wait: float = LOCK_WAIT,
    ) -> None:
        self._clock = clock or SystemClock()
        self._files = Environment(
            directory,
            LAYOUT,
            shared=True,
            create=create,
            map_size=map_size,
            preallocate=preallocate,
            lock_wait=lock_wait,
        )
        self._tables = {name: self._files.db[name] for name in NAMES}
        self.reading: Final = Reading(self._files.env, self._tables, separator, postmaster)
        self._checked = float("-inf")
        try:
            self.run([Changes.make_key])
        except BaseException:
            self.close()
            raise

    def change(self, job: Callable[[Changes], T]) -> T:
        """One change, on stable storage when it returns. Raises what the job raises, or StorageError."""
        [outcome] = self.run([job])
        if isinstance(outcome, MtaError):
            raise outcome
        made: T = outcome
        return made

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """What each job returned, or the MtaError that it raised, in order; on stable storage. Raises StorageError when
        the commit fails: then none of them has taken place, or all have and the next start will tell."""
        self.clear_dead_readers()
        now = self._clock.now_ms()
        try:
            with self._files.env.begin(write=True) as outer:
                return [self._one(outer, job, now) for job in jobs]
        except lmdb.Error as error:
            raise StorageError(f"{self._files.directory}: cannot be written: {error}") from error

    def _one(self, outer: "lmdb.Transaction[bytes]", job: Job, now: int) -> Any:
        try:
            with self._files.env.begin(write=True, parent=outer) as txn:
                return job(Changes(txn, self._tables, now))
        except MtaError as refusal:
            return refusal

    def clear_dead_readers(self) -> int:
        """Gives back the slots of readers that were killed, at most once a minute; how many."""
        now = self._clock.monotonic()
        if now - self._checked < READER_CHECK:
            return 0
        self._checked = now
        try:
            return self._files.env.reader_check()
        except lmdb.Error as error:
            raise StorageError(f"{self._files.directory}: {error}") from error

    def close(self) -> None:
        self._files.close()
