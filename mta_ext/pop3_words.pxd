# The words of POP3: arguments of commands, and replies of policy.

cdef bint is_reply(bytes verdict)
cdef bint is_challenge(bytes verdict)
cdef object decoded(const char *text, Py_ssize_t length)
cdef object read_text(const char *text, Py_ssize_t length)
cdef long long take_number(const char **text, Py_ssize_t *length) noexcept nogil
cdef bint blank(const char *text, Py_ssize_t length) noexcept nogil
