# Replies of a remote: a reader that assembles one reply from its lines in C, and the value it becomes.

cdef enum:
    TEXT_LIMIT = 1024                # octets of a reply's text that are kept
    ENHANCED_LIMIT = 9               # octets of x.yyy.zzz

cdef enum ReplyState:
    REPLY_WRONG = -1                 # no reply: ``wrong`` says why
    REPLY_MORE = 0                   # a line of a multi-line reply that goes on
    REPLY_WHOLE = 1                  # the last line


cdef class Reply:
    cdef readonly int code
    cdef readonly str enhanced
    cdef readonly str text


cdef Py_ssize_t enhanced_at(const char *text, Py_ssize_t length, char kind) noexcept nogil


cdef class ReplyReader:
    cdef readonly int code           # of the reply in the making, or of the last whole one
    cdef readonly int lines
    cdef const char *wrong
    cdef int _lines_limit
    cdef bint _whole
    cdef bint _cut                   # text was longer than is kept
    cdef Py_ssize_t _length
    cdef Py_ssize_t _enhanced_length
    cdef char _enhanced[ENHANCED_LIMIT]
    cdef char _text[TEXT_LIMIT]

    cdef ReplyState add(self, const char *line, Py_ssize_t length) noexcept nogil
    cdef void _keep(self, const char *text, Py_ssize_t length) noexcept nogil
    cdef Reply reply(self)
    cdef str complaint(self, const char *line, Py_ssize_t length)


cdef class KeptReplies:
    # Positive replies in C memory, in case that a later one is not positive and all are asked for.
    cdef char *_records
    cdef Py_ssize_t _length
    cdef Py_ssize_t _room
    cdef int keep(self, ReplyReader reader) except -1
    cdef list replies(self)


cdef class ReplyParser:
    cdef ReplyReader _reader
    cdef bytearray _tail
    cdef Py_ssize_t _line_limit
    cdef str _error
    cdef int _parse(self, list found) except -1
