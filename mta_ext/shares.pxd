# Counts per site, a column per worker, in shared memory.

from libc.stdint cimport int64_t, uint64_t

cdef class Shares:
    cdef Py_buffer _view
    cdef uint64_t *_keys       # hash of the site's name, 0: the row is free
    cdef int64_t *_counts      # rows x columns
    cdef Py_ssize_t _rows
    cdef Py_ssize_t _columns
    cdef Py_ssize_t _column    # ours, the only one that we write

    cdef int _check(self, Py_ssize_t row) except -1
