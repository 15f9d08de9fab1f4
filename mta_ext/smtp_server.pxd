# The SMTP and LMTP server session: lines, the table of commands, decisions.

cimport cython
from libc.stdint cimport uint32_t

from mta_ext.smtp_state cimport SmtpState

ctypedef int (*proceed_t)(SmtpState, const char *, Py_ssize_t) except -1
ctypedef int (*settle_t)(SmtpState, bytes, bint) except -1

cdef enum Trait:
    LAST = 1                 # its sender waits for the reply before anything else is said (RFC 2920 §3.1)
    CARRIES = 2              # octets that are no commands follow it at once
    ESMTP = 4                # only behind EHLO or LHLO
    IN_CLEAR = 8             # also without TLS where TLS is required (RFC 3207 §4)
    TEXT = 16                # its argument may be UTF-8
    OPENS = 64               # content may stand behind it, if its sender did not wait to hear that it may not
    OFFERED = 32             # 502 without the extension that it belongs to

cdef struct Command:
    uint32_t word            # the first four octets in upper case
    const char *verb         # in lower case
    Py_ssize_t length
    int phases               # in which it is allowed, a bit each
    int traits
    long needs               # the extension that it belongs to, or 0: HELP tells of it only with that
    proceed_t proceed


@cython.final
cdef class SmtpServerSession(SmtpState):
    cdef int _refuse_early(self) except -1
    cdef int _refuse_bare(self) except -1
    cdef bint _reads_utf8(self, const char *line, Py_ssize_t length) noexcept
    cdef bint _hurries(self, const Command *command) noexcept
    cdef bytes _refusal(self, const Command *command)
    cdef bytes _refusal_of(self, const Command *command)
    cdef int _perform(self, const char *line, Py_ssize_t length) except -1
