# Connections per site over all workers, in shared memory.

from mta_ext.columns cimport Columns

cdef class Shares(Columns):
    pass
