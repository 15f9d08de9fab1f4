"""A header section (RFC 5322 §2.2) in one pass: which of the fields that a relay must know are there.

Owns: the line scanner, resumable at any octet, and the look-up of one field's value.
Never does: decode, unfold what nobody asked for, or judge a message.
"""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr, memcpy, memset

from mta_ext.scan cimport NAME, class_of, lower, same_word

cdef enum:
    HT = 9
    LF = 10
    CR = 13
    SPACE = 32
    COLON = 58


cdef inline Py_ssize_t _name_length(const char *line, Py_ssize_t length) noexcept nogil:
    """Octets of the field's name, or 0 when the line begins no field. Space before the colon is obsolete."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t name
    while at < length and class_of(line[at]) & NAME:
        at += 1
    name = at
    while at < length and (line[at] == SPACE or line[at] == HT):
        at += 1
    return name if at < length and line[at] == COLON else 0


cdef int _field(const char *line, Py_ssize_t length) noexcept nogil:
    """The Field that a line begins, or 0: most lines are told by one octet."""
    cdef char first = lower(line[0])
    if first != 114 and first != 100 and first != 109 and first != 102:   # r d m f
        return 0
    length = _name_length(line, length)
    if length == 8 and same_word(line, "received", 8):
        return RECEIVED
    if length == 4 and same_word(line, "date", 4):
        return DATE
    if length == 10 and same_word(line, "message-id", 10):
        return MESSAGE_ID
    if length == 4 and same_word(line, "from", 4):
        return FROM
    return 0


cdef void _end_line(Headers *headers, const char *line, Py_ssize_t length, Py_ssize_t offset) noexcept nogil:
    """A whole line, or as much of its begin as matters: ``length`` octets at ``line``, which began at ``offset``."""
    cdef int field
    if length <= 2 and (line[0] == LF or (length == 2 and line[0] == CR and line[1] == LF)):
        headers.done = True
        return
    field = _field(line, length)
    if field == MESSAGE_ID and not headers.seen & MESSAGE_ID:
        headers.message_id = offset
    headers.seen |= field
    if field == RECEIVED:
        headers.hops += 1


cdef inline void _hold(Headers *headers, const char *octets, Py_ssize_t length) noexcept nogil:
    """Keep the begin of a line that has not come to its end."""
    cdef Py_ssize_t room = NAME_ROOM - headers.line
    if room > 0:
        memcpy(headers.name + headers.line, octets, length if length < room else room)
    headers.line += length


cdef void feed_headers(Headers *headers, const char *octets, Py_ssize_t length) noexcept nogil:
    """Unstuffed octets, in order; what follows the empty line is not looked at."""
    cdef const char *at = octets
    cdef const char *end = octets + length
    cdef const char *feed
    while at < end and not headers.done:
        feed = <const char *> memchr(at, LF, end - at)
        if feed == NULL:
            _hold(headers, at, end - at)
            at = end
        elif headers.line:
            _hold(headers, at, feed + 1 - at)
            at = feed + 1
            _end_line(headers, headers.name, headers.line if headers.line < NAME_ROOM else NAME_ROOM,
                      headers.size + (at - octets) - headers.line)
            headers.line = 0
        else:
            # The same window as for a line in pieces, so that segmentation cannot change what is seen.
            _end_line(headers, at, feed + 1 - at if feed + 1 - at < NAME_ROOM else NAME_ROOM,
                      headers.size + (at - octets))
            at = feed + 1
    headers.size += at - octets


class HeaderScan(NamedTuple):
    """What ``scan_headers`` found; see the stub."""

    end: int
    hops: int
    has_date: bool
    has_message_id: bool
    has_from: bool


def scan_headers(bytes content):
    cdef Headers headers
    memset(&headers, 0, sizeof(Headers))
    feed_headers(&headers, PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content))
    if headers.line:
        _end_line(&headers, headers.name, headers.line if headers.line < NAME_ROOM else NAME_ROOM,
                  headers.size - headers.line)
    return HeaderScan(headers.size, headers.hops, bool(headers.seen & DATE), bool(headers.seen & MESSAGE_ID),
                      bool(headers.seen & FROM))


cdef const char *_next_line(const char *at, const char *end) noexcept nogil:
    cdef const char *feed = <const char *> memchr(at, LF, end - at)
    return feed + 1 if feed != NULL else end


cdef const char *behind_field(const char *at, const char *end) noexcept nogil:
    at = _next_line(at, end)
    while at < end and (at[0] == SPACE or at[0] == HT):
        at = _next_line(at, end)
    return at


def field_value(bytes content, bytes name):
    cdef const char *at = PyBytes_AS_STRING(content)
    cdef const char *end = at + PyBytes_GET_SIZE(content)
    cdef bytes wanted = name.lower()
    cdef Py_ssize_t length = PyBytes_GET_SIZE(wanted)
    cdef const char *behind
    while at < end and at[0] != LF and not (at[0] == CR and at + 1 < end and at[1] == LF):
        behind = behind_field(at, end)
        if length and _name_length(at, behind - at) == length and same_word(at, PyBytes_AS_STRING(wanted), length):
            field = (<bytes> at[:behind - at]).partition(b":")[2]
            return field.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t")
        at = behind
    return None
