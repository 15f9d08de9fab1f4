# Octet classes and the few comparisons that every parser here needs. C only; no function here can fail.
# Octets above 127 belong to ATEXT, QTEXT, LABEL and VALUE (RFC 6531 §3.3): who wants ASCII asks any_high first.

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    ATEXT = 1        # RFC 5322 atext
    QTEXT = 2        # RFC 5321 qtextSMTP: printable or space, without quote and backslash
    LABEL = 4        # letters, digits, underscore: may begin and end a domain label; a hyphen may stand between
    DIGIT = 8
    HEX = 16
    KEYWORD = 32     # RFC 5321 esmtp-keyword: letters, digits, hyphen
    VALUE = 64       # RFC 5321 esmtp-value: printable, without space and "="
    NAME = 128       # RFC 5322 ftext: a header field's name

# Filled when the module is imported, read-only afterwards.
cdef unsigned char octet_class[256]

cdef uint32_t first_four(const char *octets) noexcept nogil
cdef bint same_word(const char *octets, const char *lower_case, Py_ssize_t length) noexcept nogil
cdef bint any_high(const char *octets, Py_ssize_t length) noexcept nogil

cdef inline unsigned char class_of(char octet) noexcept nogil:
    return octet_class[<unsigned char> octet]

cdef inline char lower(char octet) noexcept nogil:
    return octet | 32 if 65 <= octet <= 90 else octet
