# One buffer for the content of one transaction at a time, and what was noticed while it came in.

from mta_ext.dots cimport Dots
from mta_ext.headers cimport Headers

cdef enum:
    PIECE = 262_144          # streamed pieces are at least this large, and no step of the parser is larger
    KEPT_ROOM = 16_384       # a buffer up to this size waits for the next transaction: an idle session costs little

# What is wrong with the content, the gravest first; each is found whatever the segmentation.
cdef enum Flaw:
    SOUND
    BARE_LINE_END
    TOO_LARGE
    LINE_TOO_LONG
    HEADER_TOO_LARGE
    TOO_MANY_HOPS
    NO_MEMORY

cdef struct Limits:
    Py_ssize_t size
    Py_ssize_t line          # CRLF included
    Py_ssize_t header
    Py_ssize_t hops
    Py_ssize_t stream_above

cdef class Content:
    cdef char *_octets
    cdef Py_ssize_t _length      # octets in the buffer
    cdef Py_ssize_t _room
    cdef Py_ssize_t _size        # unstuffed octets so far, thrown away ones included
    cdef Py_ssize_t _streamed
    cdef Py_ssize_t arrived      # octets as they came, transparency dots and the dot line included
    cdef Dots _dots
    cdef Headers _headers
    cdef bint _eight_bit
    cdef bint _void              # octets are thrown away: the content is refused already
    cdef bint _no_memory
    cdef bint _binary            # BODY=BINARYMIME: neither lines nor line ends
    cdef Limits _limits

    cdef void begin(self, const Limits *limits, bint binary) noexcept
    cdef Py_ssize_t take(self, const char *octets, Py_ssize_t length) noexcept
    cdef Py_ssize_t take_chunk(self, const char *octets, Py_ssize_t length) noexcept
    cdef void finish(self) noexcept
    cdef bint ended(self) noexcept
    cdef Flaw flaw(self) noexcept
    cdef bint has_piece(self) noexcept
    cdef bytes take_piece(self)
    cdef void throw_away(self) noexcept
    cdef void release(self) noexcept
    cdef bint _make_room(self, Py_ssize_t length) noexcept
    cdef void _look_at(self, const char *octets, Py_ssize_t length) noexcept
