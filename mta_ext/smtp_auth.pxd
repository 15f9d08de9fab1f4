# STARTTLS and AUTH.

from mta_ext.smtp_state cimport SmtpState

cdef int start_tls(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int begin_auth(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int respond(SmtpState self, const char *line, Py_ssize_t length) except -1
cdef int fail_login(SmtpState self, bytes reply) except -1
cdef int end_exchange(SmtpState self) except -1

cdef int settle_tls(SmtpState self, bytes reply, bint good) except -1
cdef int settle_sasl(SmtpState self, bytes reply, bint good) except -1
