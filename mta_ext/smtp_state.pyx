"""The state of an SMTP or LMTP session: its phases, and what is forgotten when.

Owns: the table of moves between phases, the handler's methods, the open transaction and its end, and the replies on
their way out. Never does: read commands (``smtp_server``), or carry one out (``smtp_mail`` and its neighbours).

    SILENT -greet-> GREETED -HELO, EHLO, LHLO-> READY
    READY -MAIL-> MAIL -RCPT-> RCPT -DATA-> CONTENT -its end-> HANDED -answer-> READY
    RCPT -BDAT-> CHUNK -its end-> CHUNKED -BDAT-> CHUNK -end of the last one-> HANDED
    MAIL, RCPT, CONTENT, CHUNK, CHUNKED -RSET, EHLO, refusal-> READY
    READY -AUTH-> EXCHANGE -success, failure-> READY
    READY -STARTTLS-> HANDSHAKE -TLS is on-> GREETED; READY -XCLIENT-> GREETED
    GREETED, READY -a chunk that is refused-> WASTE -its end-> GREETED, READY
    every phase -QUIT, shut, eof, bare line end, out of step-> CLOSED
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from mta_ext.deciding cimport DecidingSession
from mta_ext.smtp_replies cimport OUT_OF_STEP, TOO_MANY_ERRORS, without_codes

cdef enum:
    ONE = 49
    TWO = 50
    FOUR = 52
    FIVE = 53
    PHASES = 13

PHASE_NAMES = ("SILENT", "GREETED", "READY", "EXCHANGE", "HANDSHAKE", "WASTE", "MAIL", "RCPT", "CHUNKED", "CHUNK",
               "CONTENT", "HANDED", "CLOSED")
cdef int[PHASES] MOVES = [
    1 << GREETED | 1 << CLOSED,
    1 << READY | 1 << WASTE | 1 << CLOSED,
    1 << MAIL | 1 << EXCHANGE | 1 << HANDSHAKE | 1 << WASTE | 1 << GREETED | 1 << CLOSED,
    1 << READY | 1 << CLOSED,
    1 << GREETED | 1 << CLOSED,
    1 << GREETED | 1 << READY | 1 << CLOSED,
    1 << RCPT | 1 << READY | 1 << CLOSED,
    1 << CONTENT | 1 << CHUNK | 1 << READY | 1 << CLOSED,
    1 << CHUNK | 1 << READY | 1 << CLOSED,
    1 << CHUNKED | 1 << HANDED | 1 << READY | 1 << CLOSED,
    1 << HANDED | 1 << READY | 1 << CLOSED,
    1 << READY | 1 << CLOSED,
    0,
]


cdef class SmtpState(DecidingSession):
    """The base of the server session; made by nobody else."""

    cdef int _bind(self, handler) except -1:
        self._on_hello = handler.on_hello
        self._on_mail = handler.on_mail
        self._on_rcpt = handler.on_rcpt
        self._on_data = handler.on_data
        self._on_piece = handler.on_piece
        self._on_content = handler.on_content
        self._on_refused_content = handler.on_refused_content
        self._on_reset = handler.on_reset
        self._on_starttls = getattr(handler, "on_starttls", None)
        self._on_sasl = getattr(handler, "on_sasl", None)
        self._on_verify = getattr(handler, "on_verify", None)
        self._on_expand = getattr(handler, "on_expand", None)
        self._on_etrn = getattr(handler, "on_etrn", None)
        self._on_xclient = getattr(handler, "on_xclient", None)
        self._on_xforward = getattr(handler, "on_xforward", None)
        self._on_error = getattr(handler, "on_error", None)
        return 0

    cdef void _unbind(self) noexcept:
        self._on_hello = self._on_mail = self._on_rcpt = self._on_data = self._on_piece = None
        self._on_content = self._on_refused_content = self._on_reset = self._on_error = None
        self._on_starttls = self._on_sasl = self._on_verify = self._on_expand = self._on_etrn = None
        self._on_xclient = self._on_xforward = None

    # -- Phases --

    cdef int _set_phase(self, Phase phase) except -1:
        """The only writer of the phase."""
        if not MOVES[<int> self._phase] >> phase & 1:
            raise AssertionError(f"phase {PHASE_NAMES[phase]} cannot follow {PHASE_NAMES[self._phase]}")
        self._phase = phase
        return 0

    cdef int _forget_peer(self) except -1:
        """Back to the greeting: what the peer said of itself is worth nothing (RFC 3207 §4.2, XCLIENT)."""
        self.hello_name = self.login_name = ""
        self.esmtp = self._at_ease = False
        self._asked_name = self._asked_login = self._mechanism = None
        self._offers = self._configured.now(self.secure)
        return 0 if self._phase == GREETED else self._set_phase(GREETED)

    cdef int _end_transaction(self) except -1:
        self._recipients = 0
        self._tried = self._failed = self._octets = self._utf8 = self._binary = False
        if self._content is not None:
            self._content.release()
        if MAIL <= self._phase <= HANDED:
            self._set_phase(READY)
        return 0

    cdef int _reset(self) except -1:
        """Take away the open transaction, if there is one. What was handed to on_content is not ours any more."""
        cdef bint is_open = MAIL <= self._phase <= CONTENT or self._decision == ON_MAIL
        self._end_transaction()
        if is_open:
            self._tell(self._on_reset)
        return 0

    cdef int _wind_up(self) except -1:
        """An open transaction is gone. A Content in a handler's hands keeps its buffer."""
        if self._phase == HANDED:
            self._content = None
        self._reset()
        self._content = None
        self._mechanism = self._asked_login = self._waste_reply = None
        self.wants_tls = False
        return self._set_phase(CLOSED)

    # -- Replies --

    cdef bytes _greeting(self):
        return b"220 " + self._hostname + (b" LMTP Hermes\r\n" if self._lmtp else b" ESMTP Hermes\r\n")

    cdef int _put(self, bytes reply) except -1:
        self._output.append(reply if self._coded else without_codes(reply))
        return 0

    cdef int _say(self, bytes reply) except -1:
        """Put a reply out. Permanent errors are counted; 421, whoever says it, is the last word."""
        cdef const char *octets
        if not self._coded:
            reply = without_codes(reply)
        octets = PyBytes_AS_STRING(reply)
        self._output.append(reply)
        self._said += PyBytes_GET_SIZE(reply)
        if octets[0] == FIVE:
            self._count_error(TOO_MANY_ERRORS)
        elif octets[0] == FOUR and octets[1] == TWO and octets[2] == ONE:
            self._close()
        return 0

    cdef int _out_of_step(self) except -1:
        """Input that is there although its sender had to wait for a reply (RFC 2920 §3.1): content that was sent
        without waiting for 354, perhaps. Whatever it is, it is not read as commands."""
        self._put(OUT_OF_STEP)  # nobody counts it: it is the last word
        return self._close()
