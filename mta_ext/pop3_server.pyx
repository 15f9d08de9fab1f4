"""The POP3 server session (RFC 1939, 2449, 2595, 5034, 6856), sans-IO: commands in, replies out, logins by callback.

Owns: the order of commands, their syntax, the limits, the marks of DELE, and every reply that is not policy. These hold
whatever a peer or a handler does:

* Only QUIT in TRANSACTION removes anything; any other end of the session removes nothing.
* A message that its source does not give whole is never ended by a dot line: the connection is closed instead, so that
  no client takes it for whole and deletes it.
* Messages and listings are put out piece by piece. A client that does not read costs one piece.
* What follows STLS in the clear is not read: the connection closes over it (a command injected there would be
  performed under TLS).
* Segmentation never changes the meaning of a session.

APOP is refused by design, and the greeting has no timestamp: its digest can be checked only by a server that keeps the
password itself (RFC 1939 §7), and it is MD5. SCRAM-SHA-256 does what APOP was for, and keeps no password.

The phases move as follows; ``_set_phase`` is the only place that moves them, and refuses what is not in its table.

    SILENT -greet-> AUTHORIZATION -a good login-> TRANSACTION -QUIT-> UPDATE
    AUTHORIZATION -AUTH, challenged-> EXCHANGE -a bad one, cancel-> AUTHORIZATION
    AUTHORIZATION -STLS-> HANDSHAKE -TLS is on-> AUTHORIZATION
    EXCHANGE -a good login-> TRANSACTION
    every phase -QUIT answered, shut, eof, bare line end-> CLOSED

Never does: sockets, time, passwords, SASL mechanisms, or the store.
"""

from typing import Protocol

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memchr

from mta_ext.pop3_replies cimport (
    BAD_ARGUMENT,
    BAD_BASE64,
    BAD_OCTET,
    BAD_SEQUENCE,
    BAD_UTF8,
    BARE_REPLY,
    BEGIN_TLS,
    BYE,
    CANCELLED,
    EXCHANGE_TOO_LONG,
    INTERNAL_ERROR,
    LANGUAGES,
    LINE_TOO_LONG,
    LOGGED_IN,
    NEEDS_TLS,
    NO_APOP,
    NO_LANGUAGE,
    NO_MECHANISM,
    NO_MESSAGE,
    NO_STLS,
    NUL_REPLY,
    OK,
    SEND_PASS,
    TOO_EARLY,
    TOO_MANY_ERRORS,
    UNKNOWN_COMMAND,
    USER_FIRST,
    UTF8_ON,
)
from mta_ext.pop3_words cimport blank, decoded, is_challenge, is_reply, read_text, take_number
from mta_ext.retrieval cimport Retrieval
from mta_ext.scan cimport any_high, same_word
from mta_ext.sending cimport CHUNK, SendingSession
from mta_ext.snapshot cimport Snapshot


class Pop3ServerHandler(Protocol):
    """The stub says what its methods are; it is here so that it can be imported."""


cdef enum:
    CR = 13
    SPACE = 32
    HYPHEN = 45
    COMMANDS = 17
    PHASES = 7

# Mechanisms that show the password to whoever listens.
cdef frozenset PLAINTEXT = frozenset({"PLAIN", "LOGIN"})

# -- Phases ----------------------------------------------------------------------------------------------------------

PHASE_NAMES = ("SILENT", "AUTHORIZATION", "EXCHANGE", "HANDSHAKE", "TRANSACTION", "UPDATE", "CLOSED")
cdef int[PHASES] MOVES = [
    1 << AUTHORIZATION | 1 << CLOSED,
    1 << EXCHANGE | 1 << HANDSHAKE | 1 << TRANSACTION | 1 << CLOSED,
    1 << AUTHORIZATION | 1 << TRANSACTION | 1 << CLOSED,
    1 << AUTHORIZATION | 1 << CLOSED,
    1 << UPDATE | 1 << CLOSED,
    1 << CLOSED,
    0,
]


@cython.final
cdef class Pop3ServerSession(SendingSession):
    """See the stub."""

    def __init__(self, handler, str hostname, *, bint secure=False, bint starttls=False, bint plaintext_login=False,
                 tuple mechanisms=(), Py_ssize_t command_line=255, Py_ssize_t exchange=12_288,
                 Py_ssize_t errors=20, Py_ssize_t failed_logins=3, Py_ssize_t login_delay=0):
        self._hostname = hostname
        self.secure = secure
        self._starttls = starttls
        self._plaintext = plaintext_login
        self._mechanisms = mechanisms
        self._line_limit = self._command_limit = command_line
        self._exchange_limit = exchange
        self._error_limit = errors
        self._login_limit = failed_logins
        self._login_delay = login_delay
        self._on_login = handler.on_login
        self._on_sasl = handler.on_sasl
        self._on_retrieve = handler.on_retrieve
        self._on_quit = handler.on_quit
        self._on_error = getattr(handler, "on_error", None)

    cdef void _unbind(self) noexcept:
        self._on_login = self._on_sasl = self._on_retrieve = self._on_quit = self._on_error = None

    # -- What the shell and the handler read and say --

    @property
    def admitted(self):
        return self._phase == TRANSACTION or self._phase == UPDATE

    @property
    def idle(self):
        return not (self.pending or self._sending or self._tail_length or self._skipping)

    @property
    def plaintext_allowed(self):
        return self.secure or self._plaintext

    def greet(self):
        if self.closing:
            return
        self._set_phase(AUTHORIZATION)
        self._say(f"+OK {self._hostname} POP3 Hermes ready\r\n".encode("ascii"))

    def open_maildrop(self, sizes, unique_ids):
        if self.closing:
            return
        if self._decision != ON_LOGIN and self._decision != ON_SASL:
            raise RuntimeError("nobody is logging in")
        self._drop = Snapshot(sizes, unique_ids)

    def timed_out(self):
        """RFC 1939 §3: without a word."""
        self._close()

    # -- Phases --

    cdef int _set_phase(self, Phase phase) except -1:
        """The only writer of the phase."""
        if not MOVES[<int> self._phase] >> phase & 1:
            raise AssertionError(f"phase {PHASE_NAMES[phase]} cannot follow {PHASE_NAMES[self._phase]}")
        self._phase = phase
        self._line_limit = self._exchange_limit if phase == EXCHANGE else self._command_limit
        self._octets = phase == HANDSHAKE
        return 0

    cdef int _secured(self) except -1:
        """RFC 2595 §4: what was known before the handshake is forgotten."""
        self.secure = True
        self.utf8 = False
        self._user = None
        return self._set_phase(AUTHORIZATION)

    cdef Py_ssize_t _on_octets(self, const char *octets, Py_ssize_t length) except -1:
        """Something in the clear behind STLS."""
        self._close()
        return length

    cdef int _wind_up(self) except -1:
        self._end_sending()
        self._user = self._drop = None
        self.wants_tls = False
        return self._set_phase(CLOSED)

    # -- Replies and decisions --

    cdef int _complain(self, bytes reply) except -1:
        """A mistake of the peer; those beyond the limit end the session."""
        self._say(reply)
        return self._count_error(TOO_MANY_ERRORS)

    cdef int _on_verdict(self, int decision, bytes verdict) except -1:
        if decision != ON_QUIT:
            return self._settle_login(verdict)
        if verdict is not None and not is_reply(verdict):
            raise ValueError(f"{verdict!r} is no reply")
        self._say(BYE if verdict is None else verdict)
        self.bye = True
        return self._close()

    cdef int _on_trouble(self) except -1:
        self._end_exchange()
        if self._phase == AUTHORIZATION:
            self._user = self._drop = None
        self._say(INTERNAL_ERROR)
        return self._close() if self._phase == UPDATE else 0

    # -- Lines --

    cdef int _on_overlong(self) except -1:
        self.progress += 1
        if self._phase == SILENT:
            return self._refuse(TOO_EARLY)
        if self._phase == EXCHANGE:
            return self._fail_login(EXCHANGE_TOO_LONG)
        return self._complain(LINE_TOO_LONG)

    cdef int _on_line(self, const char *line, Py_ssize_t length) except -1:
        self.progress += 1
        if self._phase == SILENT:
            return self._refuse(TOO_EARLY)
        if length < 2 or line[length - 2] != CR or memchr(line, CR, length - 2) != NULL:
            return self._refuse(BARE_REPLY)
        length -= 2
        if memchr(line, 0, length) != NULL:
            return self._refuse(NUL_REPLY)
        try:
            return self._respond(line, length) if self._phase == EXCHANGE else self._perform(line, length)
        except Exception as error:
            return self._trouble(error)

    cdef int _refuse(self, bytes reply) except -1:
        """Nobody who means well says this."""
        self._say(reply)
        return self._close()

    cdef int _perform(self, const char *line, Py_ssize_t length) except -1:
        cdef const Command *command = find_command(line, length)
        if command == NULL:
            return self._complain(BAD_OCTET if any_high(line, length) else UNKNOWN_COMMAND)
        if not command.phases >> self._phase & 1:
            return self._complain(BAD_SEQUENCE)
        if length == command.length:
            return command.proceed(self, line + length, 0)
        return command.proceed(self, line + command.length + 1, length - command.length - 1)

    # -- The login --

    cdef int _respond(self, const char *line, Py_ssize_t length) except -1:
        """A line of the client in an exchange (RFC 5034 §4)."""
        self._exchanged += length + 2
        if length == 1 and line[0] == b"*":
            return self._fail_login(CANCELLED)
        if self._exchanged > self._exchange_limit:
            return self._fail_login(EXCHANGE_TOO_LONG)
        response = decoded(line, length)
        if response is None:
            return self._fail_login(BAD_BASE64)
        self.exchange_step += 1
        return self._ask_sasl(response)

    cdef int _ask_sasl(self, object response) except -1:
        self._decision = ON_SASL
        return self._decide(self._on_sasl(self._mechanism, response))

    cdef int _end_exchange(self) except -1:
        self._mechanism = None
        return self._set_phase(AUTHORIZATION) if self._phase == EXCHANGE else 0

    cdef int _settle_login(self, bytes verdict) except -1:
        """A challenge goes on, +OK opens the maildrop, -ERR is a failed login."""
        if verdict is not None and self._mechanism is not None and is_challenge(verdict):
            if self._phase != EXCHANGE:
                self._set_phase(EXCHANGE)
            return self._say(verdict)
        if verdict is not None and not is_reply(verdict):
            raise ValueError(f"{verdict!r} is no reply to a login")
        if verdict is not None and PyBytes_AS_STRING(verdict)[0] == HYPHEN:
            return self._fail_login(verdict)
        if self._drop is None:
            raise RuntimeError("a good login without open_maildrop")
        self._end_exchange()
        self._user = None
        self._errors = 0
        self._set_phase(TRANSACTION)
        return self._say(LOGGED_IN if verdict is None else verdict)

    cdef int _fail_login(self, bytes reply) except -1:
        self._end_exchange()
        self._user = None
        self._drop = None
        self._say(reply)
        self._failed_logins += 1
        return self._close() if self._failed_logins >= self._login_limit else 0

    # -- What goes out piece by piece --

    cdef int _retrieve(self, Py_ssize_t index, object lines) except -1:
        """The first piece is asked for before +OK is said: a message that cannot be read is no more than -ERR."""
        cdef Retrieval retrieval
        cdef bytes first
        source = self._on_retrieve(index)
        if self.closing:
            return 0
        if isinstance(source, bytes):
            if not is_reply(source) or source[0] != HYPHEN:
                raise ValueError(f"{source!r} is no refusal")
            return self._say(source)
        retrieval = Retrieval(source, lines)
        first = retrieval.piece()
        if self.closing:
            return 0
        self._retrieval = retrieval
        self._index = index
        self._say(b"+OK %d octets\r\n" % self._drop.size(index) if lines is None else OK)
        if first is not None:
            self._say(first)
        return self._send(MESSAGE)

    cdef bytes _next_piece(self):
        cdef Retrieval retrieval = self._retrieval       # its source may close the session while it is asked
        cdef bytes piece
        if self._sending != MESSAGE:
            if self._listed < self._drop.length:
                return self._drop.scan_listing(&self._listed, self._sending == UNIQUE_IDS, CHUNK - self._said)
            self._say(b".\r\n")
            return None
        piece = retrieval.piece()
        if piece is None and self._sending:
            if not retrieval.whole_so_far(self._drop.size(self._index)):
                raise EOFError(f"message {self._index + 1}: {retrieval.octets} octets came, "
                               f"of {self._drop.size(self._index)}")
            self._say(retrieval.end())
        return piece

    cdef int _sent(self) except -1:
        self._retrieval = None
        return 0


# -- One function a verb: AUTHORIZATION ------------------------------------------------------------------------------

cdef int _user(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    """Says +OK to every name: who exists is nobody's business."""
    if not self.plaintext_allowed:
        return self._complain(NEEDS_TLS)
    if blank(text, length):
        return self._complain(BAD_ARGUMENT)
    name = read_text(text, length)
    if name is None:
        return self._complain(BAD_UTF8)
    self._user = name
    return self._say(SEND_PASS)


cdef int _pass(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    """A password may hold spaces, also at its end."""
    cdef str user = self._user
    if not self.plaintext_allowed:
        return self._complain(NEEDS_TLS)
    if user is None:
        return self._complain(USER_FIRST)
    password = read_text(text, length)
    if password is None:
        return self._complain(BAD_UTF8)
    self._decision = ON_LOGIN
    return self._decide(self._on_login(user, password))


cdef int _auth(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    """``mechanism [initial-response]``, "=" for an empty one."""
    cdef const char *space = <const char *> memchr(text, SPACE, length) if length else NULL
    cdef Py_ssize_t named = space - text if space != NULL else length
    cdef object response = None
    if any_high(text, length):
        return self._complain(BAD_OCTET)
    mechanism = text[:named].decode("ascii").upper()
    if mechanism in PLAINTEXT and not self.plaintext_allowed:
        return self._complain(NEEDS_TLS)
    if mechanism not in self._mechanisms:
        return self._complain(NO_MECHANISM)
    if space != NULL:
        response = b"" if text[named + 1:length] == b"=" else decoded(space + 1, length - named - 1)
        if not response and text[named + 1:length] != b"=":
            return self._complain(BAD_BASE64)
    self._user = None
    self._mechanism = mechanism
    self._exchanged = length
    self.exchange_step = 0
    return self._ask_sasl(response)


cdef int _apop(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._complain(NO_APOP)


cdef int _stls(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    if not blank(text, length):
        return self._complain(BAD_ARGUMENT)
    if not self._starttls or self.secure:
        return self._complain(NO_STLS)
    self._set_phase(HANDSHAKE)
    self.wants_tls = True
    return self._say(BEGIN_TLS)


cdef int _utf8(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    if not blank(text, length):
        return self._complain(BAD_ARGUMENT)
    self.utf8 = True
    return self._say(UTF8_ON)


# -- One function a verb: any time -----------------------------------------------------------------------------------

cdef int _capa(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    if not blank(text, length):
        return self._complain(BAD_ARGUMENT)
    return self._say(b"+OK capabilities follow\r\n" + capabilities(self) + b".\r\n")


cdef bytes capabilities(Pop3ServerSession self):
    """RFC 2449 §6: what is allowed only in one state, or only under TLS, is announced only there."""
    cdef list lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "UTF8 USER", "LANG"]
    mechanisms = [name for name in self._mechanisms if self.plaintext_allowed or name not in PLAINTEXT]
    if self.plaintext_allowed:
        lines.append("USER")
    if mechanisms:
        lines.append("SASL " + " ".join(mechanisms))
    if self._starttls and not self.secure and self._phase == AUTHORIZATION:
        lines.append("STLS")
    if self._login_delay:
        lines.append(f"LOGIN-DELAY {self._login_delay}")
    lines.append("IMPLEMENTATION Hermes")
    return "".join([line + "\r\n" for line in lines]).encode("ascii")


cdef int _lang(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    """RFC 6856 §3. All texts are English, so there is nothing to remember."""
    cdef bytes reply = LANGUAGES.get(text[:length].strip(b" ").lower())
    return self._complain(NO_LANGUAGE) if reply is None else self._say(reply)


cdef int _quit(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    if not blank(text, length):
        return self._complain(BAD_ARGUMENT)
    if self._phase == AUTHORIZATION:
        self.bye = True
        self._say(BYE)
        return self._close()
    self._set_phase(UPDATE)
    self._decision = ON_QUIT
    return self._decide(self._on_quit(self._drop.marked()))


# -- One function a verb: TRANSACTION --------------------------------------------------------------------------------

cdef Py_ssize_t the_message(Pop3ServerSession self, const char **text, Py_ssize_t *length) except -2:
    """The index of the message whose number comes next; -1 when there is none, and that is said."""
    cdef long long number = take_number(text, length)
    if number < 0:
        self._complain(BAD_ARGUMENT)
        return -1
    if not self._drop.exists(number - 1):
        self._say(NO_MESSAGE)
        return -1
    return number - 1


cdef Py_ssize_t only_message(Pop3ServerSession self, const char *text, Py_ssize_t length) except -2:
    """As ``the_message``, and nothing may follow."""
    cdef const char *rest = text
    cdef Py_ssize_t left = length
    if take_number(&rest, &left) >= 0 and left:
        self._complain(BAD_ARGUMENT)
        return -1
    return the_message(self, &text, &length)


cdef int _stat(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    if not blank(text, length):
        return self._complain(BAD_ARGUMENT)
    return self._say(b"+OK %d %d\r\n" % (self._drop.count, self._drop.octets))


cdef int _list(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    cdef Py_ssize_t index
    if blank(text, length):
        self._listed = 0
        self._say(b"+OK %d messages (%d octets)\r\n" % (self._drop.count, self._drop.octets))
        return self._send(SIZES)
    index = only_message(self, text, length)
    return 0 if index < 0 else self._say(b"+OK %d %d\r\n" % (index + 1, self._drop.size(index)))


cdef int _uidl(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    cdef Py_ssize_t index
    if blank(text, length):
        self._listed = 0
        self._say(OK)
        return self._send(UNIQUE_IDS)
    index = only_message(self, text, length)
    return 0 if index < 0 else self._say(b"+OK %d %b\r\n" % (index + 1, self._drop.unique_id(index)))


cdef int _retr(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    cdef Py_ssize_t index = only_message(self, text, length)
    return 0 if index < 0 else self._retrieve(index, None)


cdef int _top(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    cdef const char *rest = text
    cdef Py_ssize_t left = length
    cdef Py_ssize_t index
    cdef long long lines
    if take_number(&rest, &left) < 0:
        return self._complain(BAD_ARGUMENT)
    lines = take_number(&rest, &left)
    if lines < 0 or left:
        return self._complain(BAD_ARGUMENT)
    index = the_message(self, &text, &length)
    return 0 if index < 0 else self._retrieve(index, lines)


cdef int _dele(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    cdef Py_ssize_t index = only_message(self, text, length)
    if index < 0:
        return 0
    self._drop.mark(index)
    return self._say(b"+OK message %d marked\r\n" % (index + 1))


cdef int _rset(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    if not blank(text, length):
        return self._complain(BAD_ARGUMENT)
    self._drop.unmark_all()
    return self._say(b"+OK %d messages (%d octets)\r\n" % (self._drop.count, self._drop.octets))


cdef int _noop(Pop3ServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._say(OK) if blank(text, length) else self._complain(BAD_ARGUMENT)


# -- The table of commands -------------------------------------------------------------------------------------------

cdef Command[COMMANDS] TABLE
cdef int _commands = 0


cdef int _define(const char *verb, Py_ssize_t length, int phases, proceed_t proceed) except -1:
    global _commands
    assert _commands < COMMANDS
    TABLE[_commands] = Command(verb, length, phases, proceed)
    _commands += 1
    return 0


cdef int _fill_table() except -1:
    cdef int before = 1 << AUTHORIZATION
    cdef int after = 1 << TRANSACTION
    _define("retr", 4, after, _retr)
    _define("dele", 4, after, _dele)
    _define("top", 3, after, _top)
    _define("uidl", 4, after, _uidl)
    _define("list", 4, after, _list)
    _define("stat", 4, after, _stat)
    _define("noop", 4, after, _noop)
    _define("rset", 4, after, _rset)
    _define("user", 4, before, _user)
    _define("pass", 4, before, _pass)
    _define("auth", 4, before, _auth)
    _define("apop", 4, before, _apop)
    _define("stls", 4, before, _stls)
    _define("utf8", 4, before, _utf8)
    _define("capa", 4, before | after, _capa)
    _define("lang", 4, before | after, _lang)
    _define("quit", 4, before | after, _quit)
    return 0


_fill_table()


cdef const Command *find_command(const char *line, Py_ssize_t length) noexcept nogil:
    """The command whose verb stands before the first space, or NULL."""
    cdef const Command *command
    cdef int i
    for i in range(_commands):
        command = &TABLE[i]
        if length == command.length or (length > command.length and line[command.length] == SPACE):
            if same_word(line, command.verb, command.length):
                return command
    return NULL
