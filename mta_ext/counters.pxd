# Counters in shared memory: a row of 64-bit slots that one process writes and all may read.

from libc.stdint cimport int64_t

cdef enum:
    MAX_HISTOGRAMS = 64      # handles that define_bounds gives out, per process
    MAX_BOUNDS = 32          # upper bounds of one histogram; one more bucket takes the rest


cdef class Counters:
    cdef Py_buffer _view
    cdef int64_t *_row
    cdef Py_ssize_t _slots

    cdef int _check(self, Py_ssize_t slot) except -1
