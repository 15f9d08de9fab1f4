"""Rates and connections of clients over all workers, in shared memory. Lock-free; loop thread of each worker."""

from typing import Final

REFUSED: Final = -1
UNCOUNTED: Final = -2

def rates_size(sets: int) -> int:
    """Octets of a table of so many sets, eight keys each."""

def presence_size(rows: int, columns: int) -> int:
    """Octets of a table of so many clients and workers."""

class Rates:
    """The table at ``offset`` of a writable, shared buffer. Keys are 64-bit hashes; times are microseconds of a clock
    that all processes share (monotonic)."""

    def __init__(self, buffer: object, offset: int, sets: int) -> None: ...
    def spend(self, key: int, now: int, interval: int, burst: int, amount: int = 1) -> bool:
        """One deed (or ``amount``) of the key: one in ``interval`` microseconds for long, ``burst`` at once. False: it
        is beyond that, and was not counted."""
    def owes(self, key: int, now: int, interval: int) -> int:
        """Deeds of the key that are not yet forgotten."""

class Presence:
    """One worker's view of the table of connections per client."""

    def __init__(self, buffer: object, offset: int, rows: int, columns: int, column: int) -> None: ...
    def enter(self, key: int, limit: int) -> int:
        """One more connection of the client: its row, for ``leave``. REFUSED: it has ``limit`` already, over all
        workers. UNCOUNTED: the table has no place for it; the caller counts for itself."""
    def leave(self, row: int) -> None: ...
    def clear(self) -> None:
        """Zeroes our column; for the attendant, after the worker's death."""
