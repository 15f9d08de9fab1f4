"""Counts over all workers, in shared memory: a row per key, a column per worker.

Owns: where a count lies, and the rule that the sum of a row never passes its limit. Never does: say whose a row is
(``shares`` and ``throttle`` do), wait, or make the memory. A worker writes its own column only, so a dead worker's
share is taken back by clearing its column.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t

from mta_ext.atomics cimport mta_grow, mta_read_count, mta_write_count


def columns_size(Py_ssize_t rows, Py_ssize_t columns):
    """See the stub."""
    return rows * 8 * (1 + columns)


cdef class Columns:
    """See the stub."""

    def __cinit__(self, object buffer, Py_ssize_t offset, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t column):
        PyObject_GetBuffer(buffer, &self._view, PyBUF_WRITABLE)
        if offset < 0 or offset % 8 or rows < 1 or columns < 1 or offset + columns_size(rows, columns) > self._view.len:
            raise ValueError(f"{rows} rows x {columns} workers at {offset} do not lie in {self._view.len} octets")
        if not 0 <= column < columns:
            raise IndexError(f"column {column} is outside 0…{columns - 1}")
        self._keys = <uint64_t *> (<char *> self._view.buf + offset)
        self._counts = <int64_t *> (self._keys + rows)
        self._rows = rows
        self._columns = columns
        self._column = column

    def __dealloc__(self):
        PyBuffer_Release(&self._view)

    cdef int _check(self, Py_ssize_t row) except -1:
        if row < 0 or row >= self._rows:
            raise IndexError(f"row {row} is outside 0…{self._rows - 1}")
        return 0

    cdef int64_t _total(self, Py_ssize_t row) noexcept nogil:
        """Over all workers."""
        cdef Py_ssize_t column
        cdef int64_t found = 0
        for column in range(self._columns):
            found += mta_read_count(&self._counts[row * self._columns + column])
        return found

    cdef bint _take(self, Py_ssize_t row, int64_t limit) noexcept nogil:
        """One more of ours; False: there is none left. Counted first and looked at after, so that two workers at the
        same moment may both be refused, but never both let in beyond the limit."""
        cdef int64_t *ours = &self._counts[row * self._columns + self._column]
        mta_grow(ours, 1)
        if self._total(row) <= limit:
            return True
        mta_grow(ours, -1)
        return False

    def leave(self, Py_ssize_t row):
        """See the stub."""
        self._check(row)
        mta_grow(&self._counts[row * self._columns + self._column], -1)

    def clear(self):
        """See the stub."""
        cdef Py_ssize_t row
        for row in range(self._rows):
            mta_write_count(&self._counts[row * self._columns + self._column], 0)
