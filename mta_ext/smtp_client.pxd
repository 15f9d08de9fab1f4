# The client session: what is sent runs ahead of what is received; a ring of expected replies joins the two.

from mta_ext.reply cimport Reply, ReplyReader
from mta_ext.session cimport LineSession
from mta_ext.transaction cimport Transaction

cdef enum Kind:                      # whose reply is expected
    NOTHING
    GREETING
    EHLO
    HELO
    RSET
    MAIL
    RCPT
    DATA
    DOT
    LONE_DOT                         # ends a transaction that the server opened though nobody was accepted
    QUIT
    STARTTLS
    AUTH

cdef enum:
    RING = 8                         # at most DOT, RSET, MAIL, RCPT, DATA and QUIT are expected at a time

cdef struct Expected:
    Kind kind
    int count                        # so many replies of this kind in a row


cdef class SmtpClientSession(LineSession):
    # The handler, bound once
    cdef object _on_ready
    cdef object _on_room
    cdef object _on_outcome
    cdef object _on_trouble

    # What is known of the remote
    cdef bytes _ehlo_name
    cdef bint _lmtp
    cdef bint _ready                 # greeting, EHLO, STARTTLS and AUTH are done
    cdef bint _starttls              # wanted if it is offered
    cdef bint _tls_needed            # nothing goes on without
    cdef readonly bint secure
    cdef object _login               # offered mechanisms -> an exchange or None; None: no login is wanted
    cdef object _exchange            # the login under way
    cdef bint _pipelining
    cdef bint _size_offered
    cdef bint _eight_bit_offered
    cdef bint _chunking_offered
    cdef readonly dict extensions

    # What is received
    cdef ReplyReader _reader
    cdef Expected _ring[RING]
    cdef int _first
    cdef int _kinds
    cdef Transaction _front          # replies belong to it
    cdef Transaction _next           # given while the front one waits for the reply to its end of content
    cdef bint _swallowing            # the front one was refused; replies up to that of DATA are nobody's

    # What is sent
    cdef Transaction _sending        # not put out whole yet
    cdef Transaction _content        # its content is being pulled
    cdef Transaction _ending         # its end of content lies in the output
    cdef bint _open                  # the remote has a transaction open that needs RSET before the next MAIL
    cdef bint _taking
    cdef bint _quit_asked
    cdef bint _quit_put

    # Expected replies
    cdef Kind _awaited(self) noexcept nogil
    cdef void _expect(self, Kind kind, int count) noexcept nogil
    cdef void _tick_off(self) noexcept nogil
    cdef str _stage(self)
    cdef str _while(self)

    # Received
    cdef int _on_reply(self) except -1
    cdef int _dispatch(self, Kind kind) except -1
    cdef int _on_greeting(self) except -1
    cdef int _on_hello(self, Kind kind) except -1
    cdef int _introduce(self) except -1
    cdef int _on_starttls(self) except -1
    cdef int _introduced(self) except -1
    cdef int _begin_login(self) except -1
    cdef int _on_login(self) except -1
    cdef int _part(self, str stage, Reply reply, str reason, bytes last=*) except -1
    cdef int _note_extension(self, const char *line, Py_ssize_t length) except -1
    cdef int _on_mail(self) except -1
    cdef int _on_rcpt(self) except -1
    cdef int _on_data(self) except -1
    cdef int _on_swallowed_data(self) except -1
    cdef int _on_dot(self) except -1
    cdef int _outcome(self, str stage, Reply reply, list recipients) except -1
    cdef int _on_odd_reply(self, Kind kind, str reason) except -1
    cdef int _on_421(self, Kind kind) except -1
    cdef int _half_outcome(self, Reply reply) except -1
    cdef int _trouble(self, str stage, Reply reply, str reason) except -1
    cdef int _shut(self) except -1

    # Sent
    cdef bint _has_room(self) noexcept
    cdef int _settle(self) except -1
    cdef int _advance(self) except -1
    cdef int _start_content(self) except -1
    cdef int _pull(self) except -1
    cdef int _end_content(self) except -1
    cdef int _put_quit(self) except -1

    cpdef object feed(self, bytes data)
    cpdef bytes take_output(self)
