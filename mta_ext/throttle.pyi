"""Rates and connections of clients over all workers, in shared memory. Lock-free; loop thread of each worker."""

from typing import Final

from mta_ext.columns import Columns

REFUSED: Final = -1
UNCOUNTED: Final = -2

def rates_size(sets: int) -> int:
    """Octets of a table of so many sets, eight keys each."""

class Rates:
    """The table at ``offset`` of a writable, shared buffer. Keys are 64-bit hashes; times are microseconds of a clock
    that all processes share (monotonic)."""

    def __init__(self, buffer: object, offset: int, sets: int) -> None: ...
    def spend(self, key: int, now: int, interval: int, burst: int, amount: int = 1) -> bool:
        """One deed (or ``amount``) of the key: one in ``interval`` microseconds for long, ``burst`` at once. False: it
        is beyond that, and was not counted."""
    def owes(self, key: int, now: int, interval: int) -> int:
        """Deeds of the key that are not yet forgotten."""

class Presence(Columns):
    """One worker's view of the table of connections per client."""

    def enter(self, key: int, limit: int) -> int:
        """One more connection of the client: its row, for ``leave``. REFUSED: it has ``limit`` already, over all
        workers. UNCOUNTED: the table has no place for it; the caller counts for itself."""
