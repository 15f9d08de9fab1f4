# Rates and presence of clients over all workers, in shared memory.

from libc.stdint cimport int64_t, uint64_t

cdef class Rates:
    cdef Py_buffer _view
    cdef uint64_t *_slots      # pairs: key (0: free), moment in microseconds at which it owes nothing
    cdef Py_ssize_t _sets

    cdef uint64_t *_place(self, uint64_t key, int64_t now, bint claim) noexcept nogil


cdef class Presence:
    cdef Py_buffer _view
    cdef uint64_t *_keys       # of the client that has the row, 0: nobody had it yet
    cdef int64_t *_counts      # rows x columns
    cdef Py_ssize_t _rows
    cdef Py_ssize_t _columns
    cdef Py_ssize_t _column    # ours, the only one that we write

    cdef int64_t _total(self, Py_ssize_t row) noexcept nogil
    cdef Py_ssize_t _row(self, uint64_t key) noexcept nogil
    cdef int _check(self, Py_ssize_t row) except -1
