# What the server sessions share: one decision at a time, asked by callback, answered at once or later.

from mta_ext.session cimport LineSession

cdef class DecidingSession(LineSession):
    cdef object _on_error            # where a callback's exceptions go, or None

    # The outstanding decision
    cdef int _decision               # the callback that has not decided yet, the protocol's number; 0: none
    cdef bint _answered              # answer() came while the callback was still running
    cdef bytes _early                # with this

    # The peer's mistakes
    cdef Py_ssize_t _errors
    cdef Py_ssize_t _error_limit

    cdef readonly bint bye           # the peer said QUIT

    # Hooks that a protocol fills in
    cdef int _on_verdict(self, int decision, bytes verdict) except -1
    cdef int _on_trouble(self) except -1
    cdef int _wind_up(self) except -1
    cdef int _secured(self) except -1
    cdef void _unbind(self) noexcept

    cdef int _put(self, bytes reply) except -1

    # Decisions
    cdef int _decide(self, object verdict) except -1
    cdef int _settle(self, bytes verdict) except -1
    cdef void _forget_decision(self) noexcept

    # Trouble and the end
    cdef int _trouble(self, object error) except -1
    cdef int _report(self, object error) except -1
    cdef int _tell(self, object callback) except -1
    cdef int _count_error(self, bytes last_word) except -1
    cdef int _close(self) except -1
