"""Transparency (RFC 5321 §4.5.2) in both directions, resumable at any octet.

Owns: where content ends, which dots are taken away or added, and whether line ends are sound. Runs are found by
memchr and moved by memcpy; no octet is looked at alone.
Never does: buffers, limits or replies.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcpy, memset

from mta_ext cimport stuffing

cdef enum:
    CR = 13
    LF = 10
    FULL_STOP = 46


cdef struct Run:
    # Octets that go out as they are but are not copied yet, so that one memcpy moves many lines.
    const char *start
    char *out
    Py_ssize_t written


cdef inline void _flush(Run *run, const char *end) noexcept nogil:
    """Copy the run up to ``end``. Without an ``out`` it is only counted."""
    cdef Py_ssize_t length = end - run.start
    if run.out != NULL and length > 0:
        memcpy(run.out + run.written, run.start, length)
    run.written += length


cdef inline void _check_cr(Dots *dots, const char *line, const char *end) noexcept nogil:
    """Any CR in what stands before a line's end is bare; one visit is enough, so this stops once some was seen."""
    if not dots.bare and end > line and memchr(line, CR, end - line) != NULL:
        dots.bare = True


cdef inline const char *_through_line(Dots *dots, const char *at, const char *end) noexcept nogil:
    """From within a line to behind its CRLF, to behind a bare LF, or to the end of what there is."""
    cdef const char *feed = <const char *> memchr(at, LF, end - at)
    cdef const char *last = (feed if feed != NULL else end) - 1   # the octet before LF, or the last octet
    if dots.after_cr and feed != at:
        dots.bare = True
    if feed == at:
        last = NULL
    else:
        _check_cr(dots, at, last)
        dots.after_cr = last[0] == CR
    if feed == NULL:
        dots.line += end - at
        return end
    dots.line += feed + 1 - at
    if dots.after_cr:
        dots.place = LINE_START
        if dots.line > dots.longest:
            dots.longest = dots.line
        dots.line = 0
    else:
        dots.bare = True
    dots.after_cr = False
    return feed + 1


cdef const char *_through_dot(Dots *dots, const char *at, Run *run) noexcept nogil:
    """One octet after a dot that began a line, or after such a dot and CR. The run is empty and begins at ``at``."""
    cdef char cr = CR
    if dots.place == DOT:
        if at[0] == CR:
            dots.place = DOT_CR
            run.start = at + 1
            return at + 1
        dots.dotted |= at[0] == FULL_STOP
    elif at[0] == LF:
        dots.ended = True
        run.start = at + 1
        return at + 1
    else:
        # The CR that was held back is content after all, and bare; the dot before it is gone for good.
        run.start = &cr
        _flush(run, &cr + 1)
        run.start = at
        dots.bare = True
        dots.line = 1
    dots.place = IN_LINE
    return at


cdef Py_ssize_t unstuff(Dots *dots, const char *octets, Py_ssize_t length,
                        char *out, Py_ssize_t *written) noexcept nogil:
    """How many octets were consumed: all, or those up to the end of content, when ``ended`` turns True.

    ``out`` needs room for ``length`` + 1 octets, as a CR may have been held back; NULL throws the content away.
    """
    cdef const char *at = octets
    cdef const char *end = octets + length
    cdef Run run
    run.start = octets
    run.out = out
    run.written = 0
    while at < end and not dots.ended:
        if dots.place == LINE_START:
            dots.place = IN_LINE
            if at[0] == FULL_STOP:
                _flush(&run, at)
                at += 1
                run.start = at
                dots.place = DOT
        elif dots.place == IN_LINE:
            at = _through_line(dots, at, end)
        else:
            at = _through_dot(dots, at, &run)
    _flush(&run, at)
    written[0] = run.written
    return at - octets


cdef void follow(Dots *dots, const char *octets, Py_ssize_t length) noexcept nogil:
    """Lines and line ends of ``octets`` as they stand; the end of content is known elsewhere."""
    cdef const char *at = octets
    cdef const char *end = octets + length
    while at < end:
        if dots.place == LINE_START:
            dots.place = IN_LINE
            dots.dotted |= at[0] == FULL_STOP
        at = _through_line(dots, at, end)


cdef class Unstuffer:
    """The Python face of ``unstuff``."""

    cdef Dots _dots

    def __cinit__(self):
        memset(&self._dots, 0, sizeof(Dots))

    @property
    def ended(self):
        return bool(self._dots.ended)

    @property
    def bare(self):
        return bool(self._dots.bare)

    @property
    def dotted(self):
        return bool(self._dots.dotted)

    @property
    def longest_line(self):
        return max(self._dots.longest, self._dots.line)

    def feed(self, bytes data):
        cdef bytes out = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(data) + 1)
        cdef Py_ssize_t written = 0
        cdef Py_ssize_t consumed
        consumed = unstuff(
            &self._dots, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), PyBytes_AS_STRING(out), &written)
        return out[:written], consumed


cdef bytes stuffed(stuffing.Line *line, bytes content):
    """``content`` with its dots; the same object when it needs none. ``line``: where in a line it begins, then ends."""
    cdef const char *octets = PyBytes_AS_STRING(content)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(content)
    cdef Py_ssize_t added = stuffing.dots_needed(octets, length, line[0])
    cdef bytes out = content
    if added:
        out = PyBytes_FromStringAndSize(NULL, length + added)
        stuffing.copy_stuffed(PyBytes_AS_STRING(out), octets, length, line[0])
    line[0] = stuffing.line_after(octets, length, line[0])
    return out


cdef class Stuffer:
    """The Python face of ``mta_ext/stuffing.pxd``, which the client session uses in place."""

    cdef stuffing.Line _line

    def __cinit__(self):
        self._line = stuffing.LINE_START

    def feed(self, bytes data):
        return stuffed(&self._line, data)

    def finish(self):
        return b".\r\n" if self._line == stuffing.LINE_START else b"\r\n.\r\n"


def stuff(bytes content):
    cdef stuffing.Line line = stuffing.LINE_START
    return stuffed(&line, content)
