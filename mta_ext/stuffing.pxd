# Transparency on the way out (RFC 5321 §4.5.2), resumable at any octet. C functions shared as header code.
# Only CRLF begins a line: a dot after a bare LF is content like any other octet and stays as it is.

from libc.string cimport memchr, memcpy


cdef enum Line:                      # where in a line the content so far ended
    LINE_START = 0                   # nothing yet, or behind CRLF
    LINE_CR = 1                      # behind a CR
    LINE_INSIDE = 2


cdef inline bint starts_line(const char *octets, Py_ssize_t at, Line before) noexcept nogil:
    """Whether a line starts at ``octets[at]``; ``before`` is the state ahead of ``octets[0]``."""
    if at >= 2:
        return octets[at - 1] == 10 and octets[at - 2] == 13
    if at == 1:
        return octets[0] == 10 and before == LINE_CR
    return before == LINE_START


cdef inline Line line_after(const char *octets, Py_ssize_t length, Line before) noexcept nogil:
    """The state behind a piece."""
    if length == 0:
        return before
    if starts_line(octets, length, before):
        return LINE_START
    return LINE_CR if octets[length - 1] == 13 else LINE_INSIDE


cdef inline Py_ssize_t dots_needed(const char *octets, Py_ssize_t length, Line before) noexcept nogil:
    """How many octets longer the piece becomes."""
    cdef Py_ssize_t needed = 0
    cdef const char *at = octets
    cdef const char *end = octets + length
    while at < end:
        at = <const char *> memchr(at, 46, end - at)
        if at == NULL:
            break
        needed += starts_line(octets, at - octets, before)
        at += 1
    return needed


cdef inline void copy_stuffed(char *to, const char *octets, Py_ssize_t length, Line before) noexcept nogil:
    """``to`` has room for ``length + dots_needed``; runs without such a dot are copied whole."""
    cdef const char *copied = octets
    cdef const char *at = octets
    cdef const char *end = octets + length
    while at < end:
        at = <const char *> memchr(at, 46, end - at)
        if at == NULL:
            break
        if starts_line(octets, at - octets, before):
            memcpy(to, copied, at - copied)
            to += at - copied
            to[0] = 46
            to += 1
            copied = at
        at += 1
    memcpy(to, copied, end - copied)
