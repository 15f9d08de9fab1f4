"""Counts over all workers, in shared memory: a row per key, a column per worker."""

def columns_size(rows: int, columns: int) -> int:
    """Octets of a table of so many rows and workers."""

class Columns:
    """One worker's view of the table at ``offset`` of a writable, shared buffer: what ``Shares`` and ``Presence`` have
    in common. Loop thread of that worker; lock-free."""

    def __init__(self, buffer: object, offset: int, rows: int, columns: int, column: int) -> None: ...
    def leave(self, row: int) -> None:
        """Gives one back."""
    def clear(self) -> None:
        """Zeroes our column; for the attendant, after the worker's death."""
