# One transaction of the client side: its plan of commands, its content on the way out, the replies to its recipients.

from mta_ext.reply cimport KeptReplies, Reply, ReplyReader
from mta_ext.stuffing cimport Line

cdef enum:
    SMALL = 65536                    # octets: content below is joined with what leaves beside it
    PIECE = 262144                   # octets of content that one take pulls, about
    CHUNK_FROM = 1048576             # octets: from here on BDAT, where it is offered


cdef Py_ssize_t parameters_length(str parameters, bint utf8) except -1

cdef class Transaction:
    cdef object token

    # The plan: all commands as they go out; lock-step sends a line at a time
    cdef bytes _plan
    cdef Py_ssize_t _sent
    cdef readonly int recipients
    cdef bint bdat                   # the content goes as one chunk of ``size`` octets, with neither dots nor an end
    cdef Py_ssize_t size

    # Content
    cdef bytes _chunk                # what is going out now; None: ask the source for more
    cdef Py_ssize_t _chunk_at
    cdef object _source              # iterator of octets, or None
    cdef bint _dotted
    cdef Line _line
    cdef bint dot_out                # the end of content was put out

    # Replies to RCPT and, with LMTP, to the end of content
    cdef int answered
    cdef int accepted
    cdef list replies                # None while all are positive and nobody asked for them
    cdef Reply first_refusal
    cdef KeptReplies _kept
    cdef int _settled                # LMTP: recipients before this one have their reply to the end of content

    cdef int plan(self, str reverse_path, object recipients, str parameters, object each, bint utf8,
                  bint reset) except -1
    cdef int give_content(self, object content, bint dotted) except -1
    cdef int _count(self, Py_ssize_t octets) except -1
    cdef bytes all_commands(self)
    cdef bytes next_command(self)
    cdef bint is_small(self)
    cdef bytes piece(self)
    cdef bytes end(self)
    cdef int on_recipient(self, ReplyReader reader, bint keep_all) except -1
    cdef bint on_delivered(self, Reply reply) except -1
    cdef bint half_settled(self) noexcept
    cdef Reply last_reply(self)
    cdef int fill_up(self, Reply reply) except -1
