# ESMTP parameters read in place.

ctypedef struct Param:
    const char *keyword
    Py_ssize_t keyword_length
    const char *value        # NULL when there is none
    Py_ssize_t value_length

cdef Py_ssize_t next_param(const char *text, Py_ssize_t length, Param *param) noexcept nogil
cdef long long scan_size(const char *digits, Py_ssize_t length) noexcept nogil
