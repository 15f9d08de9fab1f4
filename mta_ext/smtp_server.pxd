# The SMTP server session: phases, decisions and the fields that a transaction needs.

from libc.stdint cimport uint32_t

from mta_ext.content cimport Content, Limits
from mta_ext.session cimport LineSession

# Where the session stands. A transaction is open from MAIL to CONTENT; HANDED is past our power to take it back.
cdef enum Phase:
    SILENT           # nothing was said yet
    GREETED          # 220 is out, HELO or EHLO must come
    READY            # no transaction
    MAIL             # the reverse-path stands
    RCPT             # at least one recipient stands
    CONTENT          # 354 is out: octets until CRLF.CRLF
    HANDED           # the content was handed to on_content, whose decision is awaited
    CLOSED

# Which callback was asked last and has not decided yet.
cdef enum Decision:
    NOTHING
    ON_HELLO
    ON_MAIL
    ON_RCPT
    ON_DATA
    ON_CONTENT

cdef class SmtpServerSession(LineSession):
    # Policy: bound once
    cdef object _on_hello
    cdef object _on_mail
    cdef object _on_rcpt
    cdef object _on_data
    cdef object _on_piece
    cdef object _on_content
    cdef object _on_refused_content
    cdef object _on_reset
    cdef object _on_error

    # What was configured
    cdef bytes _hostname
    cdef str _own_domain             # of a bare postmaster
    cdef bytes _extension_lines      # the end of the reply to EHLO
    cdef bint _offers_size
    cdef bint _offers_8bitmime
    cdef Py_ssize_t _recipient_limit
    cdef Py_ssize_t _error_limit
    cdef Limits _limits

    # The session
    cdef Phase _phase
    cdef Decision _decision
    cdef bint _answered              # answer() came while the callback was still running
    cdef bytes _early                # with this
    cdef str _asked_name             # what HELO or EHLO said, until the decision
    cdef bint _asked_esmtp
    cdef readonly str hello_name
    cdef readonly bint esmtp
    cdef readonly bint bye           # the peer said QUIT
    cdef Py_ssize_t _errors

    # The transaction
    cdef Py_ssize_t _recipients
    cdef bint _tried                 # some RCPT was said, whatever the reply
    cdef bint _failed                # on_piece raised: the content ends in 451
    cdef Content _content

    cdef int _bind(self, handler) except -1
    cdef void _unbind(self) noexcept

    # Phases
    cdef int _set_phase(self, Phase phase) except -1
    cdef int _end_transaction(self) except -1
    cdef int _reset(self) except -1
    cdef int _close(self) except -1

    # Replies and decisions
    cdef int _say(self, bytes reply) except -1
    cdef int _decide(self, object verdict) except -1
    cdef int _settle(self, bytes verdict) except -1
    cdef void _forget_decision(self) noexcept
    cdef int _trouble(self, object error) except -1
    cdef int _report(self, object error) except -1
    cdef int _tell(self, object callback) except -1

    # Commands and content
    cdef int _refuse_early(self) except -1
    cdef int _refuse_bare(self) except -1
    cdef int _perform(self, const char *line, Py_ssize_t length) except -1
    cdef int _hello(self, str verb, const char *text, Py_ssize_t length) except -1
    cdef int _end_content(self) except -1
    cdef int _refuse_content(self, bytes reply, bint close) except -1

ctypedef int (*proceed_t)(SmtpServerSession, const char *, Py_ssize_t) except -1
ctypedef int (*settle_t)(SmtpServerSession, bytes, bint) except -1

cdef struct Command:
    uint32_t word                    # the first four octets in upper case
    const char *verb                 # in lower case
    Py_ssize_t length
    int phases                       # in which it is allowed, a bit each
    proceed_t proceed
