"""UTF-8 as it may stand in commands (RFC 3629, 6531 §3.3): well-formed, and nothing that others take for structure.

Owns: which octets are UTF-8, and which characters are refused although they are. Never does: decode, or normalise.
"""

cdef enum:
    MALFORMED = -1


cdef inline long _point(const unsigned char *at, const unsigned char *end, int *octets) noexcept nogil:
    """The code point that begins at ``at``, and its octets. Overlong forms, surrogates and what is above U+10FFFF are
    MALFORMED."""
    cdef long point
    cdef long least
    cdef int i
    octets[0] = 1
    if at[0] < 0x80:
        return at[0]
    if 0xC2 <= at[0] <= 0xDF:
        octets[0], point, least = 2, at[0] & 0x1F, 0x80
    elif 0xE0 <= at[0] <= 0xEF:
        octets[0], point, least = 3, at[0] & 0x0F, 0x800
    elif 0xF0 <= at[0] <= 0xF4:
        octets[0], point, least = 4, at[0] & 0x07, 0x10000
    else:
        return MALFORMED
    if end - at < octets[0]:
        return MALFORMED
    for i in range(1, octets[0]):
        if at[i] & 0xC0 != 0x80:
            return MALFORMED
        point = point << 6 | at[i] & 0x3F
    if point < least or 0xD800 <= point <= 0xDFFF or point > 0x10FFFF:
        return MALFORMED
    return point


cdef bint is_utf8(const char *text, Py_ssize_t length) noexcept nogil:
    """Well-formed, without C1 controls and the separators of lines and paragraphs, which end a line for many."""
    cdef const unsigned char *at = <const unsigned char *> text
    cdef const unsigned char *end = at + length
    cdef int octets
    cdef long point
    while at < end:
        point = _point(at, end, &octets)
        if point < 0 or 0x80 <= point <= 0x9F or point == 0x2028 or point == 0x2029:
            return False
        at += octets
    return True


cdef bint is_domain_text(const char *text, Py_ssize_t length) noexcept nogil:
    """Valid UTF-8 in which no full stop or at sign hides: IDNA mapping turns these into the ASCII ones."""
    cdef const unsigned char *at = <const unsigned char *> text
    cdef const unsigned char *end = at + length
    cdef int octets
    cdef long point
    while at < end:
        point = _point(at, end, &octets)
        if point < 0 or point == 0x3002 or point == 0xFF0E or point == 0xFF61 or point == 0xFF20:
            return False
        at += octets
    return True
