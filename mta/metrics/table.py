"""The shared-memory table: a row of numbers per process, one more for what the dead have counted, and behind them the
connections per site (a row per site, a column per process; see ``mta_ext.shares``), then what clients do and how many
connections they have (see ``mta_ext.throttle``).

Owns: the memory (an anonymous file that lives as long as somebody has it open) and where rows lie in it. The
attendant creates the table, hands ``fd`` to its children with a row number each; a child attaches and takes its row.
Never does: name metrics or render them. One writer per row; the retired row belongs to the attendant.
"""

import mmap
import os
from struct import Struct

from mta.errors import DataError
from mta.metrics.layout import METRICS, SLOTS
from mta_ext.columns import columns_size
from mta_ext.counters import Counters
from mta_ext.shares import Shares
from mta_ext.throttle import Presence, Rates, rates_size

_HEADER = Struct("<8sII16s")
_MAGIC = b"MTAROWS2"
#: Rows begin on their own cache line, so that one worker's increments do not slow down its neighbour.
_LINE = 64
_ROW = -(-SLOTS * 8 // _LINE) * _LINE
#: Sites whose connections are counted over all workers; further ones get a fixed share of the limit per worker.
SITES = 8192
#: Sets of eight keys: what 32,768 clients do too fast is remembered, beyond that the harmless are forgotten first.
RATE_SETS = 4096
#: Clients whose connections are counted over all workers; further ones are counted by each worker alone.
CLIENTS = 16_384


class MetricsTable:
    """The mapped table. Make it with ``create`` or ``attach``."""

    def __init__(self, fd: int, rows: int) -> None:
        self.fd = fd
        self.rows = rows
        self._memory = mmap.mmap(fd, table_size(rows))

    @classmethod
    def create(cls, rows: int) -> "MetricsTable":
        """A new table of zeros, for the attendant. ``fd`` is not inherited unless passed on (``pass_fds``)."""
        fd = os.memfd_create("mta-metrics", os.MFD_CLOEXEC)
        os.ftruncate(fd, table_size(rows))
        table = cls(fd, rows)
        _HEADER.pack_into(table._memory, 0, _MAGIC, rows, SLOTS, os.urandom(16))
        return table

    @classmethod
    def attach(cls, fd: int) -> "MetricsTable":
        """The table behind an inherited descriptor. Raises DataError when it is of another version or none at all."""
        header = os.pread(fd, _HEADER.size, 0)
        magic, rows, slots, _ = _HEADER.unpack(header) if len(header) == _HEADER.size else (b"", 0, 0, b"")
        if magic != _MAGIC or slots != SLOTS or os.fstat(fd).st_size != table_size(rows):
            raise DataError(f"descriptor {fd} is no metrics table of this version: restart the attendant")
        return cls(fd, rows)

    def row(self, index: int) -> Counters:
        """The row of a process. The view keeps the memory alive, also after ``close``."""
        if not 0 <= index < self.rows:
            raise IndexError(f"row {index} is outside 0…{self.rows - 1}")
        return self._row(index)

    def retire(self, index: int) -> None:
        """After the death of a row's owner: what it counted stays in the sums, its gauges go. Attendant only.

        A scrape never sees a counter go back, since the attendant both retires and renders."""
        dead, retired = self.row(index), self._row(self.rows)
        for slot in _GROWING:
            amount = dead.get(slot)
            if amount:
                retired.add(slot, amount)
        dead.clear()
        self.shares(index).clear()
        self.presence(index).clear()

    def shares(self, index: int) -> Shares:
        """The connections per site, as seen by the process of row ``index``."""
        return Shares(self._memory, _LINE + (self.rows + 1) * _ROW, SITES, self.rows, index)

    @property
    def secret(self) -> bytes:
        """With which clients become keys of the two tables below: the same in all processes of this server."""
        return bytes(_HEADER.unpack_from(self._memory)[3])

    def rates(self) -> Rates:
        """What clients do over all workers, and how fast."""
        return Rates(self._memory, self._behind_shares(), RATE_SETS)

    def presence(self, index: int) -> Presence:
        """The connections per client, as seen by the process of row ``index``."""
        offset = self._behind_shares() + rates_size(RATE_SETS)
        return Presence(self._memory, offset, CLIENTS, self.rows, index)

    def _behind_shares(self) -> int:
        return _LINE + (self.rows + 1) * _ROW + columns_size(SITES, self.rows)

    def snapshots(self) -> list[list[int]]:
        """All rows, the retired one last."""
        return [self._row(index).snapshot() for index in range(self.rows + 1)]

    def close(self) -> None:
        """Closes the descriptor. The memory goes when the last view of it goes."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _row(self, index: int) -> Counters:
        return Counters(self._memory, _LINE + index * _ROW, SLOTS)


def table_size(rows: int) -> int:
    """Octets of a table with so many rows: a header line, the rows, the retired row, the shares, the clients."""
    shares = columns_size(SITES, rows)
    return _LINE + (rows + 1) * _ROW + shares + rates_size(RATE_SETS) + columns_size(CLIENTS, rows)


def _growing() -> list[int]:
    slots: list[int] = []
    for metric in METRICS:
        for first in metric.slots.values():
            if metric.kind == "counter":
                slots.append(first)
            elif metric.kind == "histogram":
                slots += range(first, first + len(metric.bounds) + 3)
    return slots


_GROWING = _growing()
