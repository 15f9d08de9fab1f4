# VRFY, EXPN, ETRN, XCLIENT and XFORWARD: what policy is asked outside of a transaction.

from mta_ext.smtp_state cimport SmtpState

cdef int verify(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int expand(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int etrn(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int xclient(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int xforward(SmtpState self, const char *text, Py_ssize_t length) except -1

cdef int settle_verify(SmtpState self, bytes reply, bint good) except -1
cdef int settle_expand(SmtpState self, bytes reply, bint good) except -1
cdef int settle_etrn(SmtpState self, bytes reply, bint good) except -1
cdef int settle_xclient(SmtpState self, bytes reply, bint good) except -1
cdef int settle_xforward(SmtpState self, bytes reply, bint good) except -1
