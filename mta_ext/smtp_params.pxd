# The parameters of MAIL and RCPT that only few messages have.

from mta_ext.params cimport MailParams
from mta_ext.smtp_extensions cimport Offers

cdef object mail_parameters(const char *text, Py_ssize_t length, MailParams *known, long offers, Offers configured)
cdef object rcpt_parameters(const char *text, Py_ssize_t length, long offers, bint utf8)
