# A maildrop as one POP3 session sees it: sizes, unique-ids and marks, in C.

from libc.stdint cimport uint64_t

cdef enum:
    UNIQUE_ID = 13               # characters: 64 bits, 5 at a time

cdef class Snapshot:
    cdef uint64_t *_sizes        # octets of each message
    cdef uint64_t *_uids
    cdef unsigned char *_marks   # 1: marked as deleted; NULL while none is
    cdef Py_ssize_t length       # messages, marked ones included
    cdef Py_ssize_t count        # messages that are not marked
    cdef uint64_t octets         # theirs

    cdef bint exists(self, Py_ssize_t index) noexcept
    cdef uint64_t size(self, Py_ssize_t index) noexcept
    cdef bytes unique_id(self, Py_ssize_t index)
    cdef int mark(self, Py_ssize_t index) except -1
    cdef void unmark_all(self) noexcept
    cdef list marked(self)
    cdef bytes scan_listing(self, Py_ssize_t *at, bint with_ids, Py_ssize_t room)
