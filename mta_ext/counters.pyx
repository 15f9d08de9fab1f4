"""Counters and histograms in shared memory: a row per process, one 64-bit slot per number, one writer per row.

Owns: the arithmetic on one row, and the bounds of histograms (per process, a handle each).
Never does: make the memory, name the slots, or lock. An aligned 64-bit store is seen whole by every reader, and a
row has one writer, so nothing needs a lock. A reader may see a histogram between its three stores; the next look is
right.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.string cimport memset

cimport cython

cdef double[MAX_HISTOGRAMS][MAX_BOUNDS] _bounds
cdef int[MAX_HISTOGRAMS] _lengths
_handles = {}

# The sum of a histogram is kept in millionths; values beyond 10^12 count as that much, so that it cannot overflow.
cdef double _GREATEST = 1e12


cdef int _bucket(int handle, double value) noexcept nogil:
    """The first bucket whose upper bound holds the value; the last one takes the rest."""
    cdef int i
    for i in range(_lengths[handle]):
        if value <= _bounds[handle][i]:
            return i
    return _lengths[handle]


@cython.final
cdef class Counters:
    """A view of one row. Loop thread of the row's owner only; ``get`` and ``snapshot`` from anywhere."""

    def __cinit__(self, object buffer, Py_ssize_t offset, Py_ssize_t slots):
        PyObject_GetBuffer(buffer, &self._view, PyBUF_WRITABLE)
        if offset < 0 or slots < 1 or offset % 8 or offset + slots * 8 > self._view.len:
            raise ValueError(f"a row of {slots} slots at {offset} does not lie in {self._view.len} octets")
        self._row = <int64_t *> (<char *> self._view.buf + offset)
        self._slots = slots

    def __dealloc__(self):
        # A view that was never filled holds nothing, and releasing it does nothing.
        PyBuffer_Release(&self._view)

    cdef int _check(self, Py_ssize_t slot) except -1:
        if slot < 0 or slot >= self._slots:
            raise IndexError(f"slot {slot} is outside 0…{self._slots - 1}")
        return 0

    def add(self, Py_ssize_t slot, int64_t amount=1):
        """Adds to a counter or moves a gauge."""
        self._check(slot)
        self._row[slot] += amount

    def set(self, Py_ssize_t slot, int64_t value):
        """Sets a gauge."""
        self._check(slot)
        self._row[slot] = value

    def get(self, Py_ssize_t slot):
        self._check(slot)
        return self._row[slot]

    def observe(self, Py_ssize_t first, int bounds, double value):
        """Counts ``value`` in the histogram from slot ``first`` on: buckets, then sum (in millionths), then count."""
        cdef int length
        if bounds < 0 or bounds >= len(_handles):
            raise IndexError(f"no bounds are defined under handle {bounds}")
        length = _lengths[bounds]
        self._check(first)
        self._check(first + length + 2)
        # Written so that NaN becomes 0 as well: a clock set back must not poison the sum.
        if not value > 0:
            value = 0
        elif value > _GREATEST:
            value = _GREATEST
        self._row[first + _bucket(bounds, value)] += 1
        self._row[first + length + 1] += <int64_t> (value * 1e6 + 0.5)
        self._row[first + length + 2] += 1

    def clear(self):
        """All slots to zero."""
        memset(self._row, 0, self._slots * 8)

    def snapshot(self):
        """All slots, in order."""
        cdef Py_ssize_t i
        return [self._row[i] for i in range(self._slots)]


def define_bounds(tuple bounds):
    """A handle for these upper bounds (growing, 1 to 32 of them); the same bounds give the same handle."""
    cdef int handle, i
    if bounds in _handles:
        return _handles[bounds]
    if not 0 < len(bounds) <= MAX_BOUNDS or list(bounds) != sorted(set(bounds)):
        raise ValueError(f"1 to {MAX_BOUNDS} growing bounds are wanted, not {bounds}")
    handle = len(_handles)
    if handle == MAX_HISTOGRAMS:
        raise ValueError(f"more than {MAX_HISTOGRAMS} different bounds")
    for i in range(len(bounds)):
        _bounds[handle][i] = bounds[i]
    _lengths[handle] = len(bounds)
    _handles[bounds] = handle
    return handle
