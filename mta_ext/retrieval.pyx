"""A message on its way to a POP3 client (RFC 1939 RETR and TOP).

Owns: the pull of its octets, their transparency dots, the missing CRLF at its end, and where TOP stops. It asks the
source for no piece more than goes out, so that a message of any size costs a piece of memory.
Never does: replies, or what follows when the source breaks: that raises from here, and the session knows.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr

from mta_ext.stuffing cimport LINE_CR, LINE_START, copy_stuffed, dots_needed, line_after

cdef enum:
    CR = 13
    LF = 10


@cython.final
cdef class Retrieval:
    """``source``: an iterator of octets. ``lines``: None for all, else so many lines behind the header section."""

    def __cinit__(self, source, lines):
        self._source = iter(source)
        self._line = LINE_START
        self._whole = lines is None
        self._in_head = True
        self._lines = 0 if self._whole else lines

    cdef bytes piece(self):
        """The next octets as they go out, never empty and about PIECE at most; None at the end."""
        cdef const char *octets
        cdef Py_ssize_t length, dots
        cdef bytes out
        while self._piece is None or self._at >= PyBytes_GET_SIZE(self._piece):
            self._piece = None if self.cut else next(self._source, None)
            self._at = 0
            if self._piece is None:
                return None
            self.octets += PyBytes_GET_SIZE(self._piece)
        octets = PyBytes_AS_STRING(self._piece) + self._at
        length = PyBytes_GET_SIZE(self._piece) - self._at
        if length > PIECE:
            length = PIECE
        if not self._whole:
            length = self._wanted(octets, length)
        dots = dots_needed(octets, length, self._line)
        if dots or length != PyBytes_GET_SIZE(self._piece):
            out = PyBytes_FromStringAndSize(NULL, length + dots)
            copy_stuffed(PyBytes_AS_STRING(out), octets, length, self._line)
        else:
            out = self._piece
        self._line = line_after(octets, length, self._line)
        self._at = PyBytes_GET_SIZE(self._piece) if self.cut else self._at + length
        return out

    cdef bytes end(self):
        """What ends the reply, behind a line end of our own when the message has none."""
        return b".\r\n" if self._line == LINE_START else b"\r\n.\r\n"

    cdef bint whole_so_far(self, uint64_t size) noexcept:
        """The source gave all that a message of ``size`` octets has, or is not wanted any more. A store may have
        counted the line end that the message lacks."""
        return self.cut or self.octets + (0 if self._line == LINE_START else 2) >= size

    cdef Py_ssize_t _wanted(self, const char *octets, Py_ssize_t length) noexcept:
        """How many of these octets TOP puts out; ``cut`` turns True when no more are wanted."""
        cdef const char *at = octets
        cdef const char *end = octets + length
        cdef const char *feed
        while at < end and not self.cut:
            feed = <const char *> memchr(at, LF, end - at)
            if feed == NULL:
                self._line_octets += end - at
                return length
            self._end_line(at, feed)
            at = feed + 1
        return at - octets

    cdef void _end_line(self, const char *line, const char *feed) noexcept:
        """A line that goes out ends with this LF; what of it came before this piece is counted already."""
        cdef bint after_cr = feed[-1] == CR if feed > line else self._line == LINE_CR
        cdef bint blank = after_cr and self._line_octets + (feed - line) == 1
        self._line_octets = 0
        if not self._in_head:
            self._lines -= 1
        elif blank:
            self._in_head = False
        self.cut = not self._in_head and self._lines == 0
