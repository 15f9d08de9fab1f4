"""Connections per site over all workers, in shared memory: a row per site, a column per worker."""

from mta_ext.columns import Columns

class Shares(Columns):
    """One worker's view of the table."""

    def row(self, name: str) -> int:
        """The site's row, claimed now if it is new; -1 when the table is full."""
    def total(self, row: int) -> int:
        """Connections to the site over all workers."""
    def enter(self, row: int, limit: int) -> bool:
        """Takes one connection of the site's limit; False: none is left. The sum never passes the limit."""
