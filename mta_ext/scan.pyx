"""Octet classes and comparisons for the parsers of this package; ASCII only, whatever the locale.

Owns: the class table. Never does: anything with Python objects after import; nothing here is visible from Python.
"""

from libc.string cimport memcpy


cdef int _mark(bytes octets, int flag) except -1:
    cdef unsigned char octet
    for octet in octets:
        octet_class[octet] |= flag
    return 0


cdef int _fill() except -1:
    letters = bytes(range(65, 91)) + bytes(range(97, 123))
    digits = b"0123456789"
    printable = bytes(range(33, 127))
    _mark(letters + digits + b"!#$%&'*+-/=?^_`{|}~", ATEXT)
    _mark((printable + b" ").translate(None, b'"\\'), QTEXT)
    _mark(letters + digits + b"_", LABEL)
    _mark(digits, DIGIT)
    _mark(digits + b"abcdefABCDEF", HEX)
    _mark(letters + digits + b"-", KEYWORD)
    _mark(printable.translate(None, b"="), VALUE)
    _mark(printable.translate(None, b":"), NAME)
    _mark(bytes(range(128, 256)), ATEXT | QTEXT | LABEL | VALUE)
    return 0


_fill()


cdef uint32_t first_four(const char *octets) noexcept nogil:
    """Four octets as one word, letters in upper case. Octets that are no letters may collide only with each other."""
    cdef uint32_t word
    memcpy(&word, octets, 4)
    return word & 0xDFDFDFDFU


cdef bint same_word(const char *octets, const char *lower_case, Py_ssize_t length) noexcept nogil:
    """The same word in any case; ``lower_case`` is written in lower case."""
    cdef Py_ssize_t i
    for i in range(length):
        if lower(octets[i]) != lower_case[i]:
            return False
    return True


cdef bint any_high(const char *octets, Py_ssize_t length) noexcept nogil:
    """Some octet is above 127. Four words at a time: content goes through here whole."""
    cdef uint64_t words[4]
    cdef uint64_t seen = 0
    cdef Py_ssize_t at = 0
    while length - at >= 32:
        memcpy(words, octets + at, 32)
        seen |= words[0] | words[1] | words[2] | words[3]
        at += 32
    while at < length:
        seen |= <unsigned char> octets[at]
        at += 1
    return (seen & 0x8080808080808080U) != 0
