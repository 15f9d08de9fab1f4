"""The words of POP3: arguments of commands (RFC 1939 §3, 6856 §2.2), and which octets are replies.

Owns: their syntax and the limits of numbers. Never does: replies, or anything with a session.
"""

import binascii

from cpython.unicode cimport PyUnicode_DecodeUTF8

cdef enum:
    SPACE = 32
    ZERO = 48
    DELETE = 127
    NUMBER_DIGITS = 10           # no maildrop has as many messages


cdef bint is_reply(bytes verdict):
    return (verdict.startswith(b"+OK") or verdict.startswith(b"-ERR")) and verdict.endswith(b"\r\n")


cdef bint is_challenge(bytes verdict):
    return verdict.startswith(b"+ ") and verdict.endswith(b"\r\n")


cdef object decoded(const char *text, Py_ssize_t length):
    """Octets, or None where that is no base 64."""
    try:
        return binascii.a2b_base64(text[:length], strict_mode=True)
    except binascii.Error:
        return None


cdef object read_text(const char *text, Py_ssize_t length):
    """A name or password as RFC 6856 §2.2 allows it: UTF-8 without controls; None for anything else."""
    cdef Py_ssize_t i
    for i in range(length):
        if <unsigned char> text[i] < SPACE or text[i] == DELETE:
            return None
    try:
        return PyUnicode_DecodeUTF8(text, length, NULL)
    except UnicodeDecodeError:
        return None


cdef long long take_number(const char **text, Py_ssize_t *length) noexcept nogil:
    """A decimal number and the spaces behind it; -1 when there is none, or one that no maildrop reaches."""
    cdef long long number = 0
    cdef Py_ssize_t at = 0
    while at < length[0] and ZERO <= text[0][at] <= ZERO + 9:
        number = number * 10 + text[0][at] - ZERO
        at += 1
        if at > NUMBER_DIGITS:
            return -1
    if at == 0 or (at < length[0] and text[0][at] != SPACE):
        return -1
    while at < length[0] and text[0][at] == SPACE:
        at += 1
    text[0] += at
    length[0] -= at
    return number


cdef bint blank(const char *text, Py_ssize_t length) noexcept nogil:
    """Nothing but spaces, which some clients leave behind a command."""
    cdef Py_ssize_t i
    for i in range(length):
        if text[i] != SPACE:
            return False
    return True
