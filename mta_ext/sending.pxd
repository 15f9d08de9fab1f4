# A session that puts out more than fits in one write.

from mta_ext.deciding cimport DecidingSession

cdef enum:
    CHUNK = 65_536                   # octets that one take_output gives, about

cdef class SendingSession(DecidingSession):
    cdef int _sending                # what goes out piece by piece, the protocol's number; 0: nothing
    cdef bint _pulling               # a source is being asked: take_output has nothing more to give meanwhile
    cdef Py_ssize_t _reply_limit     # octets of replies that wait before parsing waits for them, when nothing is sent

    # Hooks that a protocol fills in
    cdef bytes _next_piece(self)
    cdef int _sent(self) except -1

    cdef int _say(self, bytes reply) except -1
    cdef int _send(self, int what) except -1
    cdef int _pull(self) except -1
    cdef int _end_sending(self) except -1
