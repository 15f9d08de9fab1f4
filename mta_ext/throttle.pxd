# Rates and presence of clients over all workers, in shared memory.

from libc.stdint cimport int64_t, uint64_t

from mta_ext.columns cimport Columns

cdef class Rates:
    cdef Py_buffer _view
    cdef uint64_t *_slots      # pairs: key (0: free), moment in microseconds at which it owes nothing
    cdef Py_ssize_t _sets

    cdef uint64_t *_place(self, uint64_t key, int64_t now, bint claim) noexcept nogil


cdef class Presence(Columns):
    cdef Py_ssize_t _row(self, uint64_t key) noexcept nogil
