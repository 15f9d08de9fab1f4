"""Connections per site over all workers, in shared memory: a row per site, a column per worker."""

def shares_size(rows: int, columns: int) -> int:
    """Octets that a table of so many sites and workers takes."""

class Shares:
    """One worker's view of the table. Loop thread of that worker; lock-free."""

    def __init__(self, buffer: object, offset: int, rows: int, columns: int, column: int) -> None: ...
    def row(self, name: str) -> int:
        """The site's row, claimed now if it is new; -1 when the table is full."""
    def total(self, row: int) -> int:
        """Connections to the site over all workers."""
    def enter(self, row: int, limit: int) -> bool:
        """Takes one connection of the site's limit; False: none is left. The sum never passes the limit."""
    def leave(self, row: int) -> None: ...
    def clear(self) -> None:
        """Zeroes our column; for the attendant, after the worker's death."""
