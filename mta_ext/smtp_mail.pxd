# HELO, EHLO, LHLO, MAIL, RCPT and RSET.

from mta_ext.smtp_state cimport SmtpState

cdef int say_helo(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int say_ehlo(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int say_lhlo(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int begin_mail(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int add_rcpt(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int reset_mail(SmtpState self, const char *text, Py_ssize_t length) except -1

cdef int settle_hello(SmtpState self, bytes reply, bint good) except -1
cdef int settle_mail(SmtpState self, bytes reply, bint good) except -1
cdef int settle_rcpt(SmtpState self, bytes reply, bint good) except -1
