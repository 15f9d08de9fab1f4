# The SMTP and LMTP server session: phases, decisions and the fields that a transaction needs.

cimport cython
from libc.stdint cimport uint32_t

from mta_ext.content cimport Content, Limits
from mta_ext.deciding cimport DecidingSession

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


@cython.final
cdef class SmtpServerSession(DecidingSession):
    # Policy: bound once
    cdef object _on_hello
    cdef object _on_mail
    cdef object _on_rcpt
    cdef object _on_data
    cdef object _on_piece
    cdef object _on_content
    cdef object _on_refused_content
    cdef object _on_reset

    # What was configured
    cdef bytes _hostname
    cdef str _own_domain             # of a bare postmaster
    cdef bytes _extension_lines      # the end of the reply to EHLO
    cdef bint _lmtp
    cdef bint _offers_size
    cdef bint _offers_8bitmime
    cdef Py_ssize_t _recipient_limit
    cdef Limits _limits

    # The session
    cdef Phase _phase
    cdef str _asked_name             # what HELO or EHLO said, until the decision
    cdef bint _asked_esmtp
    cdef readonly str hello_name
    cdef readonly bint esmtp

    # The transaction
    cdef Py_ssize_t _recipients
    cdef bint _tried                 # some RCPT was said, whatever the reply
    cdef bint _failed                # on_piece raised: the content ends in 451
    cdef Content _content

    cdef int _bind(self, handler) except -1

    # Phases
    cdef int _set_phase(self, Phase phase) except -1
    cdef int _end_transaction(self) except -1
    cdef int _reset(self) except -1

    # Replies
    cdef int _say(self, bytes reply) except -1

    # Commands and content
    cdef int _refuse_early(self) except -1
    cdef int _refuse_bare(self) except -1
    cdef int _perform(self, const char *line, Py_ssize_t length) except -1
    cdef int _hello(self, str verb, const char *text, Py_ssize_t length) except -1
    cdef int _end_content(self) except -1
    cdef int _refuse_content(self, bytes reply, bint close) except -1
    cdef int _say_of_content(self, bytes reply) except -1

ctypedef int (*proceed_t)(SmtpServerSession, const char *, Py_ssize_t) except -1
ctypedef int (*settle_t)(SmtpServerSession, bytes, bint) except -1

cdef struct Command:
    uint32_t word                    # the first four octets in upper case
    const char *verb                 # in lower case
    Py_ssize_t length
    int phases                       # in which it is allowed, a bit each
    proceed_t proceed

cdef struct Replies:
    # What was said to the end of content, LMTP.
    Py_ssize_t count
    Py_ssize_t accepted
    bint last_word                   # the last of them is 421
    bint sound
