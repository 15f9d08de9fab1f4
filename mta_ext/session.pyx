"""The line engine: splits what is fed into lines or content and collects output. Sans-IO.

Owns: the unread tail and the output of one session. Input is parsed in place on the octets that the loop read; only
what cannot be parsed yet is copied. While a decision is pending, input is kept and not parsed; and so it is while
output above a limit waits to be taken, so that a peer that sends much and reads nothing costs little.
Never does: sockets, time, or anything about a particular protocol.

Callbacks run while lines are being parsed, and may call any method of the session: what they feed waits behind what
is being parsed, and the tail that is being parsed is neither moved nor freed before the parser has let go of it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy, memmove

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    LF = 10


class _Pending:
    """The type of PENDING, so that it prints as what it is."""

    def __repr__(self):
        return "PENDING"


#: What a callback returns when its decision comes later, through ``answer``.
PENDING = _Pending()


cdef class LineSession:
    """Base of all sessions. ``feed`` octets, ``take_output``, look at ``pending`` and ``closing``."""

    def __cinit__(self):
        self._line_limit = 2048
        self._said_limit = PY_SSIZE_T_MAX
        self._output = []
        self._behind = []

    def __dealloc__(self):
        free(self._tail)

    cdef int _on_line(self, const char *line, Py_ssize_t length) except -1:
        """One line with its LF. The octets are gone when this returns."""
        raise AssertionError("a protocol fills this in")

    cdef int _on_overlong(self) except -1:
        """A line above the limit was thrown away, its LF included."""
        raise AssertionError("a protocol fills this in")

    cdef Py_ssize_t _on_octets(self, const char *octets, Py_ssize_t length) except -1:
        """Octets consumed; fewer than given when content has ended, 0 when more are needed to go on."""
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
        if self.closing or length == 0:
            return
        if self._parsing:
            self._behind.append(data)
            return
        if self._tail_length or self.pending:
            self._keep(octets, length)
            self._resume()
            return
        self._parsing = True
        try:
            self._parse(octets, length, &consumed)
        finally:
            self._parsing = False
            if consumed < length and not self.closing:
                self._keep(octets + consumed, length - consumed)
        if self._behind:
            self._resume()

    cpdef bytes take_output(self):
        """All replies of this read in one piece; empty when there is nothing to write."""
        cdef bytes joined
        self._said = 0
        if not self._output:
            return b""
        if len(self._output) == 1:
            joined = <bytes> self._output[0]
        else:
            joined = b"".join(self._output)
        self._output.clear()
        return joined

    cpdef bint go_on(self) except -1:
        """Parse on where output was too much; False when that was not the case."""
        if not self.choked or self._said >= self._said_limit:
            return False
        self.choked = False
        self._resume()
        return True

    cdef int _keep(self, const char *octets, Py_ssize_t length) except -1:
        cdef Py_ssize_t need = self._tail_length + length
        cdef char *grown
        if self._tail_start and self._tail_start + need > self._tail_room:
            memmove(self._tail, self._tail + self._tail_start, self._tail_length)
            self._tail_start = 0
        if need > self._tail_room:
            need += need >> 1
            grown = <char *> realloc(self._tail, need)
            if grown == NULL:
                raise MemoryError()
            self._tail = grown
            self._tail_room = need
        memcpy(self._tail + self._tail_start + self._tail_length, octets, length)
        self._tail_length += length
        return 0

    cdef int _keep_behind(self) except -1:
        """What callbacks fed is next in line."""
        cdef bytes data
        while self._behind:
            data = self._behind.pop(0)
            if not self.closing:
                self._keep(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return 0

    cdef void _drop(self, Py_ssize_t consumed) noexcept:
        """Octets of the tail were parsed. Nothing is moved: a tail of many commands is settled in many steps."""
        if consumed < self._tail_length and not self.closing:
            self._tail_start += consumed
            self._tail_length -= consumed
            return
        # Give the room back: a session that idles must cost next to nothing.
        free(self._tail)
        self._tail = NULL
        self._tail_start = self._tail_length = self._tail_room = self._searched = 0

    cdef int _resume(self) except -1:
        """Parse the tail after a decision was settled or more octets came. Frees it when the session closes."""
        cdef Py_ssize_t consumed
        if self._parsing:
            return 0
        while True:
            self._keep_behind()
            if self.closing:
                self._drop(0)
            if self._tail_length == 0 or self.pending:
                return 0
            consumed = 0
            self._parsing = True
            try:
                self._parse(self._tail + self._tail_start, self._tail_length, &consumed)
            finally:
                self._parsing = False
                self._drop(consumed)
            if not self._behind:
                return 0

    cdef int _parse(self, const char *octets, Py_ssize_t length, Py_ssize_t *consumed) except -1:
        """Hand out lines and content until a decision is pending, the session closes, output is too much, or input
        runs out.

        ``consumed`` is right at any time, also when a hook raises: what raised counts as parsed.
        """
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t step
        self.choked = False
        while at < length and not self.pending and not self.closing:
            if self._said >= self._said_limit:
                self.choked = True
                return 0
            if self._octets:
                self._searched = 0
                step = self._on_octets(octets + at, length - at)
                consumed[0] += step
            else:
                step = self._parse_line(octets + at, length - at, consumed)
            if step == 0:
                return 0
            at += step
        return 0

    cdef Py_ssize_t _parse_line(self, const char *octets, Py_ssize_t length, Py_ssize_t *consumed) except -1:
        """Octets of the next line, also when it was too long, or 0 when its end has not come."""
        cdef const char *end = <const char *> memchr(octets + self._searched, LF, length - self._searched)
        cdef Py_ssize_t line = end + 1 - octets if end != NULL else length
        if end == NULL:
            if not self._skipping and length <= self._line_limit:
                self._searched = length
                return 0
            self._skipping = True
            self._searched = 0
            consumed[0] += line
            return line
        self._searched = 0
        self._unread = length - line
        consumed[0] += line
        if self._skipping or line > self._line_limit:
            self._skipping = False
            self._on_overlong()
        else:
            self._on_line(octets, line)
        return line
