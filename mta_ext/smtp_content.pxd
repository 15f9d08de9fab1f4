# DATA, BDAT, and what arrives behind them.

from mta_ext.smtp_state cimport SmtpState

cdef int begin_data(SmtpState self, const char *text, Py_ssize_t length) except -1
cdef int begin_bdat(SmtpState self, const char *text, Py_ssize_t length) except -1

cdef Py_ssize_t take_octets(SmtpState self, const char *octets, Py_ssize_t length) except -1
cdef int lose_content(SmtpState self) except -1

cdef int settle_data(SmtpState self, bytes reply, bint good) except -1
cdef int settle_chunk(SmtpState self, bytes reply, bint good) except -1
cdef int settle_content(SmtpState self, bytes reply, bint good) except -1

cdef struct Replies:
    # What was said to the end of content, LMTP.
    Py_ssize_t count
    Py_ssize_t accepted
    bint last_word                   # the last of them is 421
    bint sound
