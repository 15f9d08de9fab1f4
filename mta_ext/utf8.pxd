# UTF-8 as it may stand in an address (RFC 3629, 6531).

cdef bint is_utf8(const char *text, Py_ssize_t length) noexcept nogil
cdef bint is_domain_text(const char *text, Py_ssize_t length) noexcept nogil
