"""Reverse-paths and forward-paths (RFC 5321 §4.1.2), domains and address literals (§4.1.3), in one pass.

Owns: their syntax and length limits. Octets above 127 may stand where RFC 6531 §3.3 has UTF-8; whether they are UTF-8,
and wanted, is checked before.
Never does: policy; whether a domain exists or is ours is asked elsewhere.
"""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8

from mta_ext.scan cimport ATEXT, DIGIT, HEX, LABEL, QTEXT, any_high, class_of, lower, same_word
from mta_ext.utf8 cimport is_domain_text, is_utf8

cdef enum:
    QUOTE = 34
    COMMA = 44
    HYPHEN = 45
    FULL_STOP = 46
    COLON = 58
    LESS = 60
    GREATER = 62
    AT_SIGN = 64
    BRACKET = 91
    BACKSLASH = 92
    CLOSING_BRACKET = 93


cdef Py_ssize_t _dot_string(const char *text, Py_ssize_t length) noexcept nogil:
    """Dot-string = Atom *("." Atom); its octets, or -1."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t atom
    while True:
        atom = at
        while at < length and class_of(text[at]) & ATEXT:
            at += 1
        if at == atom:
            return -1
        if at == length or text[at] != FULL_STOP:
            return at
        at += 1


cdef Py_ssize_t _quoted_string(const char *text, Py_ssize_t length) noexcept nogil:
    """Quoted-string of SMTP: printable octets and spaces, quote and backslash only escaped; its octets, or -1."""
    cdef Py_ssize_t at = 1
    while at < length and text[at] != QUOTE:
        if text[at] == BACKSLASH:
            at += 1
            if at == length or not 32 <= text[at] <= 126:
                return -1
        elif not class_of(text[at]) & QTEXT:
            return -1
        at += 1
    return at + 1 if at < length else -1


cdef Py_ssize_t _labels(const char *text, Py_ssize_t length) noexcept nogil:
    """Octets that make a domain: labels of letters, digits, underscores and inner hyphens; or -1."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t label
    while True:
        label = at
        while at < length and (class_of(text[at]) & LABEL or text[at] == HYPHEN):
            at += 1
        if at == label or text[label] == HYPHEN or text[at - 1] == HYPHEN:
            return -1
        if at - label > LABEL_LIMIT and (at - label > U_LABEL_LIMIT or not any_high(text + label, at - label)):
            return -1
        if at == length or text[at] != FULL_STOP:
            return at if at <= DOMAIN_LIMIT else -1
        at += 1


cdef bint _ipv4(const char *text, Py_ssize_t length) noexcept nogil:
    """Four numbers of one to three digits, each up to 255, and nothing else."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t start
    cdef int octet, number
    for octet in range(4):
        start = at
        number = 0
        while at < length and at - start < 3 and class_of(text[at]) & DIGIT:
            number = number * 10 + (text[at] - 48)
            at += 1
        if at == start or number > 255:
            return False
        if octet < 3:
            if at == length or text[at] != FULL_STOP:
                return False
            at += 1
    return at == length


cdef bint _ipv6(const char *text, Py_ssize_t length) noexcept nogil:
    """Eight groups, or up to six around one "::"; an IPv4 address may stand for the last two (RFC 5321 §4.1.3)."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t start
    cdef int groups = 0
    cdef bint gap = False
    if length >= 2 and text[0] == COLON and text[1] == COLON:
        gap = True
        at = 2
    while at < length:
        start = at
        while at < length and at - start < 4 and class_of(text[at]) & HEX:
            at += 1
        if at == start:
            return False
        if at < length and text[at] == FULL_STOP:
            if not _ipv4(text + start, length - start):
                return False
            groups += 2
            at = length
            break
        groups += 1
        if at == length:
            break
        if text[at] != COLON or at + 1 == length:
            return False
        at += 1
        if text[at] == COLON:
            if gap:
                return False
            gap = True
            at += 1
    return groups <= 6 if gap else groups == 8


cdef bint is_address_literal(const char *text, Py_ssize_t length) noexcept nogil:
    """``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``, brackets included."""
    if length < 3 or text[0] != BRACKET or text[length - 1] != CLOSING_BRACKET:
        return False
    if length > 7 and same_word(text + 1, "ipv6:", 5):
        return _ipv6(text + 6, length - 7)
    return _ipv4(text + 1, length - 2)


cdef bint is_domain(const char *text, Py_ssize_t length) noexcept nogil:
    return length > 0 and _labels(text, length) == length


cdef Py_ssize_t _domain(const char *text, Py_ssize_t length) noexcept nogil:
    """Octets of the domain or address literal that the text begins with, or -1."""
    cdef Py_ssize_t at = 0
    if length == 0 or text[0] != BRACKET:
        return _labels(text, length)
    while at < length and text[at] != CLOSING_BRACKET:
        at += 1
    return at + 1 if at < length and is_address_literal(text, at + 1) else -1


cdef Py_ssize_t _source_route(const char *text, Py_ssize_t length) noexcept nogil:
    """``@a,@b:`` before a mailbox (RFC 5321 §4.1.2: must be accepted, should be ignored); its octets, 0 or -1."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t domain
    if length == 0 or text[0] != AT_SIGN:
        return 0
    while at < length and text[at] == AT_SIGN:
        domain = _domain(text + at + 1, length - at - 1)
        if domain < 0:
            return -1
        at += 1 + domain
        if at == length:
            return -1
        if text[at] == COLON:
            return at + 1
        if text[at] != COMMA:
            return -1
        at += 1
    return -1


cdef Py_ssize_t _mailbox(const char *text, Py_ssize_t length, PathParts *parts) noexcept nogil:
    """Local part, "@" and domain, or postmaster alone (§4.5.1); octets, or -1."""
    cdef Py_ssize_t local, domain
    local = _quoted_string(text, length) if length and text[0] == QUOTE else _dot_string(text, length)
    if local < 0 or local > LOCAL_PART_LIMIT:
        return -1
    parts.mailbox = text
    if local == length or text[local] != AT_SIGN:
        parts.mailbox_length = local
        return local if local == 10 and same_word(text, "postmaster", 10) else -1
    domain = _domain(text + local + 1, length - local - 1)
    if domain < 0:
        return -1
    parts.domain = text + local + 1
    parts.domain_length = domain
    parts.mailbox_length = local + 1 + domain
    return parts.mailbox_length


cdef Py_ssize_t scan_path(const char *text, Py_ssize_t length, PathParts *parts) noexcept nogil:
    """Octets of the path that the text begins with, brackets included; -1 when the syntax is wrong.

    The parts point into ``text``.
    """
    cdef Py_ssize_t at = 1
    cdef Py_ssize_t step
    parts.mailbox = parts.domain = text
    parts.mailbox_length = parts.domain_length = 0
    if length < 2 or text[0] != LESS:
        return -1
    if text[1] != GREATER:
        step = _source_route(text + at, length - at)
        if step < 0:
            return -1
        at += step
        step = _mailbox(text + at, length - at, parts)
        if step < 0:
            return -1
        at += step
        if at == length or text[at] != GREATER or at >= PATH_LIMIT:
            return -1
    return at + 1


cdef str domain_of(const PathParts *parts):
    """In lower case, but for the tag of an IPv6 literal, which is always written ``IPv6:``."""
    cdef char room[DOMAIN_LIMIT + 1]
    cdef Py_ssize_t i
    for i in range(parts.domain_length):
        room[i] = lower(parts.domain[i])
    if parts.domain_length > 5 and room[0] == BRACKET and room[1] == 105:
        room[1] = 73
        room[2] = 80
    return PyUnicode_DecodeUTF8(room, parts.domain_length, NULL)


cdef str mailbox_of(const PathParts *parts):
    """Octets as they came; only what ``scan_path`` let through gets here."""
    return PyUnicode_DecodeUTF8(parts.mailbox, parts.mailbox_length, NULL)


cdef bint is_sound_utf8(const char *text, Py_ssize_t length, const PathParts *parts) noexcept nogil:
    """Whether a path with octets above 127, and its domain, are text that may be passed on."""
    return is_utf8(text, length) and is_domain_text(parts.domain, parts.domain_length)


cdef bint is_hello_name(const char *text, Py_ssize_t length) noexcept nogil:
    """What is safe in a Received field: letters, digits, dots, hyphens, underscores, or an address in brackets.

    RFC 5321 §4.1.1.1 wants a domain or an address literal; much honest mail comes from machines whose name is
    neither, so that only the octets are checked.
    """
    cdef Py_ssize_t at
    cdef bint literal = length > 2 and text[0] == BRACKET and text[length - 1] == CLOSING_BRACKET
    if length == 0 or length > DOMAIN_LIMIT:
        return False
    for at in range(1 if literal else 0, length - 1 if literal else length):
        if not (class_of(text[at]) & LABEL or text[at] == HYPHEN or text[at] == FULL_STOP
                or (literal and text[at] == COLON)):
            return False
    return True


class Path(NamedTuple):
    """Mailbox and domain of a path; see the stub."""

    mailbox: str
    domain: str


def parse_path(bytes text, bint utf8=False):
    cdef PathParts parts
    cdef const char *octets = PyBytes_AS_STRING(text)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    if scan_path(octets, length, &parts) != length:
        return None
    if any_high(octets, length) and not (utf8 and is_sound_utf8(octets, length, &parts)):
        return None
    return Path(mailbox_of(&parts), domain_of(&parts))


def valid_domain(bytes text):
    return text.isascii() and bool(is_domain(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)))


def valid_address_literal(bytes text):
    return bool(is_address_literal(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)))
