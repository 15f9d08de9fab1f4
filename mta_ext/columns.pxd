# A table of counts in shared memory: a row per key, a column per worker.

from libc.stdint cimport int64_t, uint64_t

cdef class Columns:
    cdef Py_buffer _view
    cdef uint64_t *_keys       # of whom a row is, 0: of nobody yet
    cdef int64_t *_counts      # rows x columns
    cdef Py_ssize_t _rows
    cdef Py_ssize_t _columns
    cdef Py_ssize_t _column    # ours, the only one that we write

    cdef int _check(self, Py_ssize_t row) except -1
    cdef int64_t _total(self, Py_ssize_t row) noexcept nogil
    cdef bint _take(self, Py_ssize_t row, int64_t limit) noexcept nogil
