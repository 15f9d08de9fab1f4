"""Connections per site over all workers, in shared memory: a row per site, a column per worker.

Owns: finding a site's row. Never does: count (``columns`` does), wait, or make the memory. Rows are claimed by
compare-and-swap and never given back; a table that is full says so, and the caller falls back on a fixed share. Two
sites whose names have the same 64-bit hash share a limit.
"""

from libc.stdint cimport int64_t, uint64_t

cimport cython

from mta_ext.atomics cimport mta_swap
from mta_ext.columns cimport Columns


cdef uint64_t _hash(bytes name):
    """FNV-1a; 0 stands for a free row and is never the hash of a name."""
    cdef uint64_t value = 0xcbf29ce484222325U
    cdef unsigned char octet
    for octet in name:
        value = (value ^ octet) * 0x100000001b3U
    return value or 1


@cython.final
cdef class Shares(Columns):
    """See the stub."""

    def row(self, str name not None):
        """See the stub."""
        cdef uint64_t key = _hash(name.encode("utf-8", "surrogateescape"))
        cdef Py_ssize_t start = <Py_ssize_t> (key % <uint64_t> self._rows)
        cdef Py_ssize_t step, row
        for step in range(self._rows):
            row = (start + step) % self._rows
            if self._keys[row] == key or mta_swap(&self._keys[row], 0, key) or self._keys[row] == key:
                return row
        return -1

    def total(self, Py_ssize_t row):
        """See the stub."""
        self._check(row)
        return self._total(row)

    def enter(self, Py_ssize_t row, int64_t limit):
        """See the stub."""
        self._check(row)
        return self._take(row, limit)
