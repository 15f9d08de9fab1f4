# A message on its way to a POP3 client: pulled piece by piece, stuffed, and cut behind some lines for TOP.

from libc.stdint cimport uint64_t

from mta_ext.stuffing cimport Line

cdef enum:
    PIECE = 65_536               # octets of a piece at most, without its dots

cdef class Retrieval:
    cdef object _source          # iterator of octets
    cdef bytes _piece            # what is going out now; None: ask the source for more
    cdef Py_ssize_t _at
    cdef Line _line              # of what went out
    cdef uint64_t octets         # that the source gave so far
    cdef bint _whole             # all of it, not some lines
    cdef bint _in_head
    cdef Py_ssize_t _line_octets  # of the line that goes out, as far as it came before this piece
    cdef uint64_t _lines         # of the body that may still go out
    cdef bint cut                # TOP: enough lines went out, the source was not asked for the rest

    cdef bytes piece(self)
    cdef bytes end(self)
    cdef bint whole_so_far(self, uint64_t size) noexcept
    cdef Py_ssize_t _wanted(self, const char *octets, Py_ssize_t length) noexcept
    cdef void _end_line(self, const char *line, const char *feed) noexcept
