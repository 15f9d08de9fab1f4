# The state of an SMTP or LMTP session: phases, what was configured, and the fields that a transaction needs.

from mta_ext.content cimport Content, Limits
from mta_ext.deciding cimport DecidingSession
from mta_ext.smtp_extensions cimport Offers

# Where the session stands. A transaction is open from MAIL to CONTENT; HANDED is past our power to take it back.
cdef enum Phase:
    SILENT           # nothing was said yet
    GREETED          # 220 is out, HELO or EHLO must come
    READY            # no transaction
    EXCHANGE         # AUTH: a challenge is out, its response must come
    HANDSHAKE        # 220 to STARTTLS is out: the next octets are not ours
    WASTE            # octets of a refused chunk, thrown away
    MAIL             # the reverse-path stands
    RCPT             # at least one recipient stands
    CHUNKED          # some chunks are in, the last one is not
    CHUNK            # octets of a chunk
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
    ON_CHUNK         # on_data, asked at the first BDAT
    ON_CONTENT
    ON_STARTTLS
    ON_SASL
    ON_VERIFY
    ON_EXPAND
    ON_ETRN
    ON_XCLIENT
    ON_XFORWARD


cdef class SmtpState(DecidingSession):
    # Policy: bound once; None where it has no such method
    cdef object _on_hello
    cdef object _on_mail
    cdef object _on_rcpt
    cdef object _on_data
    cdef object _on_piece
    cdef object _on_content
    cdef object _on_refused_content
    cdef object _on_reset
    cdef object _on_starttls
    cdef object _on_sasl
    cdef object _on_verify
    cdef object _on_expand
    cdef object _on_etrn
    cdef object _on_xclient
    cdef object _on_xforward

    # What was configured
    cdef bytes _hostname
    cdef str _own_domain             # of a bare postmaster
    cdef bint _lmtp
    cdef bint _in_step               # input that had to wait for a reply ends the session
    cdef bint _needs_tls
    cdef bint _coded                 # replies have their enhanced codes
    cdef Offers _configured
    cdef long _offers                # what is understood now, a bit each
    cdef Py_ssize_t _recipient_limit
    cdef Py_ssize_t _message_limit
    cdef Py_ssize_t _command_limit
    cdef Py_ssize_t _exchange_limit
    cdef Py_ssize_t _login_limit
    cdef Limits _limits

    # The session
    cdef Phase _phase
    cdef bint _at_ease               # EHLO was said, commands may be pipelined, TLS is not wanting
    cdef bint _high                  # the command that is being read holds octets above 127
    cdef str _asked_name             # what HELO or EHLO said, until the decision
    cdef bint _asked_esmtp
    cdef readonly str hello_name
    cdef readonly bint esmtp
    cdef readonly bint secure
    cdef readonly str login_name
    cdef Py_ssize_t _messages        # transactions so far

    # The login
    cdef str _mechanism
    cdef str _asked_login            # who log_in says it is, until the decision
    cdef Py_ssize_t _exchanged       # octets of the exchange
    cdef readonly Py_ssize_t exchange_step
    cdef Py_ssize_t _failed_logins

    # The transaction
    cdef Py_ssize_t _recipients
    cdef bint _tried                 # some RCPT was said, whatever the reply
    cdef bint _failed                # on_piece raised: the content ends in 451
    cdef bint _asked_utf8            # of the MAIL, VRFY or EXPN that is being decided
    cdef bint _asked_binary
    cdef bint _utf8                  # SMTPUTF8
    cdef bint _binary                # BODY=BINARYMIME
    cdef Content _content
    cdef bint _data_asked            # on_data was asked at DATA

    # The chunk
    cdef Py_ssize_t _chunk           # its octets
    cdef Py_ssize_t _chunk_left
    cdef bint _chunk_asked           # on_data was asked for it
    cdef bint _last_chunk
    cdef bytes _waste_reply
    cdef Phase _behind_waste

    cdef int _bind(self, handler) except -1
    cdef int _set_phase(self, Phase phase) except -1
    cdef int _forget_peer(self) except -1
    cdef int _end_transaction(self) except -1
    cdef int _reset(self) except -1
    cdef bytes _greeting(self)
    cdef int _say(self, bytes reply) except -1
    cdef int _out_of_step(self) except -1
