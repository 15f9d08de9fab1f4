# The POP3 server session: phases, decisions, what is being sent, and the table of commands.

cimport cython

from mta_ext.retrieval cimport Retrieval
from mta_ext.sending cimport SendingSession
from mta_ext.snapshot cimport Snapshot

# Where the session stands: the states of RFC 1939, and what lies between them.
cdef enum Phase:
    SILENT           # nothing was said yet
    AUTHORIZATION
    EXCHANGE         # a challenge is out: the next line is its response
    HANDSHAKE        # +OK to STLS is out: whatever comes before TLS is on is an attack or nonsense
    TRANSACTION
    UPDATE           # QUIT was said: the handler removes what is marked
    CLOSED

# Which callback was asked last and has not decided yet.
cdef enum Decision:
    NOTHING
    ON_LOGIN
    ON_SASL
    ON_QUIT

# What goes out piece by piece.
cdef enum Sending:
    NOTHING_SENT
    SIZES            # LIST
    UNIQUE_IDS       # UIDL
    MESSAGE          # RETR, TOP


@cython.final
cdef class Pop3ServerSession(SendingSession):
    # Policy: bound once
    cdef object _on_login
    cdef object _on_sasl
    cdef object _on_retrieve
    cdef object _on_quit

    # What was configured
    cdef str _hostname
    cdef tuple _mechanisms           # upper case
    cdef bint _starttls
    cdef bint _plaintext
    cdef Py_ssize_t _command_limit   # octets of a line
    cdef Py_ssize_t _exchange_limit
    cdef Py_ssize_t _login_limit
    cdef Py_ssize_t _login_delay     # seconds, said by CAPA

    # The session
    cdef Phase _phase
    cdef readonly bint secure
    cdef readonly bint utf8
    cdef Py_ssize_t _failed_logins

    # The login
    cdef str _user                   # what USER said
    cdef str _mechanism
    cdef Py_ssize_t _exchanged       # octets of the exchange so far
    cdef readonly int exchange_step

    # The maildrop
    cdef Snapshot _drop
    cdef Py_ssize_t _listed          # messages that the listing is past
    cdef Py_ssize_t _index           # of the message that is being sent
    cdef Retrieval _retrieval

    # Phases
    cdef int _set_phase(self, Phase phase) except -1

    # Replies
    cdef int _complain(self, bytes reply) except -1

    # Commands
    cdef int _refuse(self, bytes reply) except -1
    cdef int _perform(self, const char *line, Py_ssize_t length) except -1

    # The login
    cdef int _end_exchange(self) except -1
    cdef int _respond(self, const char *line, Py_ssize_t length) except -1
    cdef int _ask_sasl(self, object response) except -1
    cdef int _settle_login(self, bytes verdict) except -1
    cdef int _fail_login(self, bytes reply) except -1

    cdef int _retrieve(self, Py_ssize_t index, object lines) except -1

ctypedef int (*proceed_t)(Pop3ServerSession, const char *, Py_ssize_t) except -1

cdef struct Command:
    const char *verb                 # in lower case
    Py_ssize_t length
    int phases                       # in which it is allowed, a bit each
    proceed_t proceed
