# ESMTP parameters read in place.

ctypedef struct Param:
    const char *keyword
    Py_ssize_t keyword_length
    const char *value        # NULL when there is none
    Py_ssize_t value_length

# What a session offers of SIZE and BODY, and what a MAIL said of it.
cdef struct MailParams:
    bint offers_size
    bint offers_8bitmime
    bint offers_binarymime
    long long size           # 0 when not declared
    bint eight_bit           # BINARYMIME too
    bint binary
    bint has_size
    bint has_body

cdef enum ParamFlaw:
    PARAMS_FINE
    PARAMS_WRONG             # syntax, value or repetition
    PARAMS_UNKNOWN           # neither SIZE nor BODY, as far as they are offered

cdef ParamFlaw judge_param(const Param *param, MailParams *known) noexcept nogil
cdef ParamFlaw read_params(const char *text, Py_ssize_t length, MailParams *params) noexcept nogil
cdef Py_ssize_t next_param(const char *text, Py_ssize_t length, Param *param) noexcept nogil
cdef long long scan_size(const char *digits, Py_ssize_t length) noexcept nogil
