"""The line engine: splits what is fed into lines or content and collects output. Sans-IO.

Owns: the unread tail and the output of one session. Input is parsed in place on the octets that the loop read; only
what cannot be parsed yet is copied. While a decision is pending, input is kept and not parsed.
Never does: sockets, time, or anything about a particular protocol.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memmove


class _Pending:
    """The type of PENDING, so that it prints as what it is."""

    def __repr__(self):
        return "PENDING"


#: What a call-back returns when its decision comes later, through ``answer``.
PENDING = _Pending()


cdef class LineSession:
    """Base of all sessions. ``feed`` octets, ``take_output``, look at ``pending`` and ``closing``."""

    def __cinit__(self):
        self._line_limit = 2048
        self._output = []

    def __dealloc__(self):
        free(self._tail)

    cdef int _on_line(self, const char *line, Py_ssize_t length) except -1:
        raise AssertionError("a protocol fills this in")

    cdef int _on_overlong(self) except -1:
        raise AssertionError("a protocol fills this in")

    cdef Py_ssize_t _on_octets(self, const char *octets, Py_ssize_t length) except -1:
        raise AssertionError("a protocol fills this in")

    @property
    def buffered(self):
        """Octets fed and not yet parsed."""
        return self._tail_length

    cpdef object feed(self, bytes data):
        """Take what the peer sent. Never raises for anything that a peer can send."""
        cdef Py_ssize_t consumed = 0
        cdef const char *octets = PyBytes_AS_STRING(data)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        if self.closing:
            return
        if self._tail_length or self.pending or self._parsing:
            self._keep(octets, length)
            if not self.pending and not self._parsing:
                self._resume()
            return
        self._parsing = True
        try:
            self._parse(octets, length, &consumed)
        finally:
            self._parsing = False
        if consumed < length and not self.closing:
            self._keep(octets + consumed, length - consumed)

    cpdef bytes take_output(self):
        """All replies of this read in one piece; empty when there is nothing to write."""
        cdef bytes joined
        if not self._output:
            return b""
        if len(self._output) == 1:
            joined = <bytes> self._output[0]
        else:
            joined = b"".join(self._output)
        self._output.clear()
        return joined

    cdef int _keep(self, const char *octets, Py_ssize_t length) except -1:
        cdef Py_ssize_t need = self._tail_length + length
        cdef char *grown
        if need > self._tail_room:
            need += need >> 1
            grown = <char *> realloc(self._tail, need)
            if grown == NULL:
                raise MemoryError()
            self._tail = grown
            self._tail_room = need
        memcpy(self._tail + self._tail_length, octets, length)
        self._tail_length += length
        return 0

    cdef int _resume(self) except -1:
        """Parse the tail after a decision was settled or more octets came."""
        cdef Py_ssize_t consumed = 0
        if self._tail_length == 0 or self._parsing:
            return 0
        self._parsing = True
        try:
            self._parse(self._tail, self._tail_length, &consumed)
        finally:
            self._parsing = False
        if consumed >= self._tail_length or self.closing:
            # Give the room back: a session that idles must cost next to nothing.
            free(self._tail)
            self._tail = NULL
            self._tail_length = self._tail_room = self._searched = 0
        elif consumed:
            self._tail_length -= consumed
            memmove(self._tail, self._tail + consumed, self._tail_length)
        return 0

    cdef int _parse(self, const char *octets, Py_ssize_t length, Py_ssize_t *consumed) except -1:
        """Hand out lines and content until a decision is pending, the session closes, or input runs out."""
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t line
        cdef const char *end
        while at < length and not self.pending and not self.closing:
            if self._octets:
                at += self._on_octets(octets + at, length - at)
                self._searched = 0
                consumed[0] = at
                continue
            end = <const char *> memchr(octets + at + self._searched, 10, length - at - self._searched)
            if end == NULL:
                if self._skipping:
                    at = length
                    consumed[0] = at
                elif length - at > self._line_limit:
                    self._skipping = True
                    at = length
                    self._searched = 0
                    consumed[0] = at
                else:
                    self._searched = length - at
                return 0
            line = end - (octets + at) + 1
            self._searched = 0
            if self._skipping or line > self._line_limit:
                self._skipping = False
                at += line
                consumed[0] = at
                self._on_overlong()
                continue
            at += line
            consumed[0] = at
            self._on_line(end - line + 1, line)
        return 0
