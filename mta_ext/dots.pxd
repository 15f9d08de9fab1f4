# Transparency on plain C state, so that a session can work in place on what the loop read.

from mta_ext cimport stuffing

cdef enum Place:
    LINE_START       # after CRLF, or at the beginning of the content
    IN_LINE
    DOT              # a dot began the line; it is held back
    DOT_CR           # dot and CR are held back: LF ends the content

ctypedef struct Dots:
    Place place
    bint after_cr            # the last octet of an unfinished line was CR
    bint bare                # CR without LF or LF without CR was seen
    bint dotted              # some unstuffed line begins with a dot
    Py_ssize_t line          # octets of the unfinished line, unstuffed
    Py_ssize_t longest       # octets of the longest finished line, its CRLF included
    bint ended

cdef Py_ssize_t unstuff(Dots *dots, const char *octets, Py_ssize_t length,
                        char *out, Py_ssize_t *written) noexcept nogil

# The same watch over content that has no transparency dots (RFC 3030): nothing is taken away.
cdef void follow(Dots *dots, const char *octets, Py_ssize_t length) noexcept nogil

cdef bytes stuffed(stuffing.Line *line, bytes content)
