"""Connections per site over all workers, in shared memory: a row per site, a column per worker.

Owns: finding a site's row, and the rule that the sum over the columns never passes the limit. Never does: wait, or make
the memory. A worker writes its own column only, so a dead worker's share is taken back by clearing its column. Rows are
claimed by compare-and-swap and never given back; a table that is full says so, and the caller falls back on a fixed
share. Two sites whose names have the same 64-bit hash share a limit.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t

cimport cython

cdef extern from *:
    """
    #define mta_claim(place, key) __sync_bool_compare_and_swap(place, 0, key)
    #define mta_add(place, amount) __atomic_add_fetch(place, amount, __ATOMIC_SEQ_CST)
    #define mta_load(place) __atomic_load_n(place, __ATOMIC_SEQ_CST)
    #define mta_store(place, value) __atomic_store_n(place, value, __ATOMIC_SEQ_CST)
    """
    bint mta_claim(uint64_t *place, uint64_t key) nogil
    int64_t mta_add(int64_t *place, int64_t amount) nogil
    int64_t mta_load(int64_t *place) nogil
    void mta_store(int64_t *place, int64_t value) nogil


cdef uint64_t _hash(bytes name):
    """FNV-1a; 0 stands for a free row and is never the hash of a name."""
    cdef uint64_t value = 0xcbf29ce484222325U
    cdef unsigned char octet
    for octet in name:
        value = (value ^ octet) * 0x100000001b3U
    return value or 1


def shares_size(Py_ssize_t rows, Py_ssize_t columns):
    """Octets that a table of so many sites and workers takes."""
    return rows * 8 * (1 + columns)


@cython.final
cdef class Shares:
    """One worker's view. Loop thread of that worker; ``clear`` is for the attendant, after the worker's death."""

    def __cinit__(self, object buffer, Py_ssize_t offset, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t column):
        PyObject_GetBuffer(buffer, &self._view, PyBUF_WRITABLE)
        if offset < 0 or offset % 8 or rows < 1 or columns < 1 or offset + shares_size(rows, columns) > self._view.len:
            raise ValueError(f"{rows} sites x {columns} workers at {offset} do not lie in {self._view.len} octets")
        if not 0 <= column < columns:
            raise IndexError(f"column {column} is outside 0…{columns - 1}")
        self._keys = <uint64_t *> (<char *> self._view.buf + offset)
        self._counts = <int64_t *> (self._keys + rows)
        self._rows = rows
        self._columns = columns
        self._column = column

    def __dealloc__(self):
        PyBuffer_Release(&self._view)

    def row(self, str name not None):
        """The site's row, claimed now if it is new; -1 when the table is full."""
        cdef uint64_t key = _hash(name.encode("utf-8", "surrogateescape"))
        cdef Py_ssize_t start = <Py_ssize_t> (key % <uint64_t> self._rows)
        cdef Py_ssize_t step, row
        for step in range(self._rows):
            row = (start + step) % self._rows
            if self._keys[row] == key or mta_claim(&self._keys[row], key) or self._keys[row] == key:
                return row
        return -1

    cdef int _check(self, Py_ssize_t row) except -1:
        if row < 0 or row >= self._rows:
            raise IndexError(f"row {row} is outside 0…{self._rows - 1}")
        return 0

    def total(self, Py_ssize_t row):
        """Connections to the site over all workers."""
        cdef Py_ssize_t column
        cdef int64_t found = 0
        self._check(row)
        for column in range(self._columns):
            found += mta_load(&self._counts[row * self._columns + column])
        return found

    def enter(self, Py_ssize_t row, int64_t limit):
        """Takes one connection of the site's limit; False: there is none left. Counted first and looked at after, so
        that two workers at the same moment may both be refused, but never both let in beyond the limit."""
        self._check(row)
        mta_add(&self._counts[row * self._columns + self._column], 1)
        if self.total(row) <= limit:
            return True
        mta_add(&self._counts[row * self._columns + self._column], -1)
        return False

    def leave(self, Py_ssize_t row):
        """Gives one back."""
        self._check(row)
        mta_add(&self._counts[row * self._columns + self._column], -1)

    def clear(self):
        """Zeroes our column: its worker is dead and holds no connection."""
        cdef Py_ssize_t row
        for row in range(self._rows):
            mta_store(&self._counts[row * self._columns + self._column], 0)
