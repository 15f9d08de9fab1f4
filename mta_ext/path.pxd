# Paths read in place: offsets into the command line, no object before somebody wants one.

cdef enum:
    PATH_LIMIT = 256         # RFC 5321 §4.5.3.1.3, brackets included
    DOMAIN_LIMIT = 255
    LOCAL_PART_LIMIT = 64
    LABEL_LIMIT = 63
    U_LABEL_LIMIT = 252      # octets of a label that is not ASCII (RFC 5890 §4.2)

ctypedef struct PathParts:
    const char *mailbox      # local part, "@" and domain; behind a source route
    Py_ssize_t mailbox_length
    const char *domain
    Py_ssize_t domain_length   # 0 for the null path and for bare postmaster

cdef Py_ssize_t scan_path(const char *text, Py_ssize_t length, PathParts *parts) noexcept nogil
cdef bint is_domain(const char *text, Py_ssize_t length) noexcept nogil
cdef bint is_address_literal(const char *text, Py_ssize_t length) noexcept nogil
cdef bint is_sound_utf8(const char *text, Py_ssize_t length, const PathParts *parts) noexcept nogil
cdef bint is_hello_name(const char *text, Py_ssize_t length) noexcept nogil
cdef str domain_of(const PathParts *parts)
cdef str mailbox_of(const PathParts *parts)
