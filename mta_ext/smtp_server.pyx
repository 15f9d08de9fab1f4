"""The SMTP and LMTP server session (RFC 5321, 2033), sans-IO: commands in, replies out, decisions by callback.

Owns: the order of commands, their syntax, the limits, and every reply that is not policy. These hold whatever a
peer or a handler does:

* Content ends at CRLF.CRLF and nowhere else. A bare CR or LF in it is refused after that end, and the connection
  closed.
* Segmentation never changes the meaning of a session: the same octets give the same replies, in any pieces.
* After each refused content or DATA the transaction is gone, so that nothing of it is left for what comes next.
* At most one decision is outstanding, and input waits for it.

The phases move as follows; ``_set_phase`` is the only place that moves them, and refuses what is not in its table.

    SILENT -greet-> GREETED -HELO, EHLO, LHLO-> READY
    READY -MAIL-> MAIL -RCPT-> RCPT -DATA-> CONTENT -its end-> HANDED -answer-> READY
    MAIL, RCPT, CONTENT -RSET, EHLO, refusal-> READY
    every phase -QUIT, shut, eof, bare line end-> CLOSED

LMTP differs in three things: the hello is LHLO, DATA without a valid recipient is 503, and whatever is said behind the
end of content is said once for each accepted recipient.

Never does: sockets, time, policy, or the spool.
"""

from typing import Protocol

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memchr

from mta_ext.content cimport SOUND, BARE_LINE_END, Content, Flaw
from mta_ext.deciding cimport DecidingSession
from mta_ext.params cimport PARAMS_FINE, PARAMS_UNKNOWN, MailParams, ParamFlaw, read_params
from mta_ext.path cimport PathParts, domain_of, is_hello_name, mailbox_of, scan_path
from mta_ext.scan cimport any_high, first_four, same_word
from mta_ext.smtp_replies cimport (
    BAD_ARGUMENT,
    BAD_FORWARD_PATH,
    BAD_OCTET,
    BAD_REVERSE_PATH,
    BAD_SEQUENCE,
    BARE_REPLY,
    BYE,
    CANNOT_VERIFY,
    FLAW_REPLIES,
    GO_AHEAD,
    HELLO_FIRST,
    HELP,
    INTERNAL_ERROR,
    LHLO_FIRST,
    LINE_TOO_LONG_REPLY,
    MAIL_OK,
    NOT_IMPLEMENTED,
    NO_RECIPIENTS,
    NO_RECIPIENTS_LMTP,
    OK,
    RCPT_OK,
    TOO_EARLY,
    TOO_LARGE_REPLY,
    TOO_MANY_ERRORS,
    TOO_MANY_RECIPIENTS,
    TOO_SLOW,
    UNKNOWN_COMMAND,
    UNKNOWN_PARAMETER,
)


class SmtpServerHandler(Protocol):
    """The stub says what its methods are; it is here so that it can be imported."""


cdef enum:
    CR = 13
    HT = 9
    LF = 10
    SPACE = 32
    HYPHEN = 45
    ONE = 49
    TWO = 50
    FOUR = 52
    FIVE = 53
    COMMANDS = 20
    OUTPUT_LIMIT = 65_536    # octets of replies; a read of pipelined EHLO commands asks for twenty times its own size
    PHASES = 8

# -- Phases ----------------------------------------------------------------------------------------------------------

PHASE_NAMES = ("SILENT", "GREETED", "READY", "MAIL", "RCPT", "CONTENT", "HANDED", "CLOSED")
cdef int[PHASES] MOVES = [
    1 << GREETED | 1 << CLOSED,
    1 << READY | 1 << CLOSED,
    1 << MAIL | 1 << CLOSED,
    1 << RCPT | 1 << READY | 1 << CLOSED,
    1 << CONTENT | 1 << READY | 1 << CLOSED,
    1 << HANDED | 1 << READY | 1 << CLOSED,
    1 << READY | 1 << CLOSED,
    0,
]


@cython.final
cdef class SmtpServerSession(DecidingSession):
    """See the stub."""

    def __init__(self, handler, str hostname, *, Py_ssize_t message_size=52_428_800, Py_ssize_t recipients=1000,
                 Py_ssize_t command_line=2048, Py_ssize_t content_line=65_536, Py_ssize_t header_section=1_048_576,
                 Py_ssize_t errors=20, Py_ssize_t hops=50, Py_ssize_t stream_above=1_048_576,
                 bint lmtp=False, tuple extensions=("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES")):
        self._hostname = hostname.encode("ascii")
        self._own_domain = hostname.lower()
        self._lmtp = lmtp
        self.hello_name = ""
        self._line_limit = command_line
        self._said_limit = OUTPUT_LIMIT
        self._recipient_limit = recipients
        self._error_limit = errors
        self._limits = Limits(message_size, content_line, header_section, hops, stream_above)
        self._offers_size = "SIZE" in extensions
        self._offers_8bitmime = "8BITMIME" in extensions
        lines = [f"SIZE {message_size}" if name == "SIZE" else name for name in extensions]
        marks = ["250-"] * (len(lines) - 1) + ["250 "]
        self._extension_lines = "".join(
            f"{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=False)).encode("ascii")
        self._bind(handler)

    cdef int _bind(self, handler) except -1:
        self._on_hello = handler.on_hello
        self._on_mail = handler.on_mail
        self._on_rcpt = handler.on_rcpt
        self._on_data = handler.on_data
        self._on_piece = handler.on_piece
        self._on_content = handler.on_content
        self._on_refused_content = handler.on_refused_content
        self._on_reset = handler.on_reset
        self._on_error = getattr(handler, "on_error", None)
        return 0

    cdef void _unbind(self) noexcept:
        self._on_hello = self._on_mail = self._on_rcpt = self._on_data = self._on_piece = None
        self._on_content = self._on_refused_content = self._on_reset = self._on_error = None

    # -- What the shell reads and says --

    @property
    def in_content(self):
        return self._phase == CONTENT

    @property
    def content_octets(self):
        return self._content.arrived if self._phase == CONTENT or self._phase == HANDED else 0

    @property
    def idle(self):
        return (self._phase <= READY or self._phase == CLOSED) and not (
            self.pending or self._tail_length or self._skipping)

    def greet(self):
        if self.closing:
            return
        self._set_phase(GREETED)
        self._say(b"220 " + self._hostname + (b" LMTP Hermes\r\n" if self._lmtp else b" ESMTP Hermes\r\n"))

    def timed_out(self):
        self.shut(TOO_SLOW)

    # -- Phases --

    cdef int _set_phase(self, Phase phase) except -1:
        """The only writer of the phase."""
        if not MOVES[<int> self._phase] >> phase & 1:
            raise AssertionError(f"phase {PHASE_NAMES[phase]} cannot follow {PHASE_NAMES[self._phase]}")
        self._phase = phase
        return 0

    cdef int _end_transaction(self) except -1:
        self._recipients = 0
        self._tried = self._failed = self._octets = False
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
        return self._set_phase(CLOSED)

    # -- Replies and decisions --

    cdef int _say(self, bytes reply) except -1:
        """Put a reply out. Permanent errors are counted; 421, whoever says it, is the last word."""
        cdef const char *octets = PyBytes_AS_STRING(reply)
        self._output.append(reply)
        self._said += PyBytes_GET_SIZE(reply)
        if octets[0] == FIVE:
            self._count_error(TOO_MANY_ERRORS)
        elif octets[0] == FOUR and octets[1] == TWO and octets[2] == ONE:
            self._close()
        return 0

    cdef int _on_verdict(self, int decision, bytes verdict) except -1:
        return SETTLE[decision](self, verdict, verdict is None or PyBytes_AS_STRING(verdict)[0] < FOUR)

    cdef int _on_trouble(self) except -1:
        """The transaction is lost, the session goes on."""
        if self._phase == CONTENT:
            self._failed = True      # the content must be read to its end before anything can be said
            self._content.throw_away()
            return 0
        if self._phase == HANDED:
            return self._say_of_content(INTERNAL_ERROR)
        self._reset()
        return self._say(INTERNAL_ERROR)

    # -- Commands --

    cdef int _on_overlong(self) except -1:
        self.progress += 1
        return self._refuse_early() if self._phase == SILENT else self._say(LINE_TOO_LONG_REPLY)

    cdef int _on_line(self, const char *line, Py_ssize_t length) except -1:
        self.progress += 1
        if self._phase == SILENT:
            return self._refuse_early()
        if length < 2 or line[length - 2] != CR or memchr(line, CR, length - 2) != NULL:
            return self._refuse_bare()
        length -= 2
        if memchr(line, 0, length) != NULL or any_high(line, length):
            return self._say(BAD_OCTET)
        # RFC 5321 §4.1.1: white space before the line's end should be tolerated.
        while length and (line[length - 1] == SPACE or line[length - 1] == HT):
            length -= 1
        try:
            return self._perform(line, length)
        except Exception as error:
            return self._trouble(error)

    cdef int _refuse_early(self) except -1:
        """A peer that speaks before the greeting is no mail server."""
        self._say(TOO_EARLY)
        return self._close()

    cdef int _refuse_bare(self) except -1:
        self._say(BARE_REPLY)
        return self._close()

    cdef int _perform(self, const char *line, Py_ssize_t length) except -1:
        cdef const Command *command = find_command(line, length)
        if command == NULL:
            return self._say(UNKNOWN_COMMAND)
        if not command.phases >> self._phase & 1:
            if self._phase == GREETED:
                return self._say(LHLO_FIRST if self._lmtp else HELLO_FIRST)
            return self._say(BAD_SEQUENCE)
        if length == command.length:
            return command.proceed(self, line + length, 0)
        return command.proceed(self, line + command.length + 1, length - command.length - 1)

    cdef int _hello(self, str verb, const char *text, Py_ssize_t length) except -1:
        if self._lmtp != (verb == "LHLO"):
            return self._say(UNKNOWN_COMMAND)
        if not is_hello_name(text, length):
            return self._say(BAD_ARGUMENT)
        self._asked_name = PyUnicode_DecodeASCII(text, length, NULL)
        self._asked_esmtp = verb != "HELO"
        self._decision = ON_HELLO
        return self._decide(self._on_hello(verb, self._asked_name))

    # -- Content --

    cdef Py_ssize_t _on_octets(self, const char *octets, Py_ssize_t length) except -1:
        cdef Content content = self._content
        cdef Py_ssize_t consumed = content.take(octets, length)
        try:
            if content.ended():
                self.progress += 1
                self._octets = False
                self._end_content()
            elif content.has_piece():
                self._on_piece(content.take_piece())
        except Exception as error:
            self._trouble(error)
        return consumed

    cdef int _end_content(self) except -1:
        cdef Flaw flaw = self._content.flaw()
        if flaw != SOUND or self._failed:
            return self._refuse_content(FLAW_REPLIES[<int> flaw], flaw == BARE_LINE_END)
        self._set_phase(HANDED)
        self._decision = ON_CONTENT
        return self._decide(self._on_content(self._content))

    cdef int _refuse_content(self, bytes reply, bint close) except -1:
        cdef Py_ssize_t recipients = self._recipients
        self._end_transaction()
        self._tell(self._on_refused_content)
        if self.closing:
            return 0
        self._say(reply * recipients if self._lmtp else reply)
        return self._close() if close else 0

    cdef int _say_of_content(self, bytes reply) except -1:
        """One reply of ours to the end of content; LMTP: to each recipient. It counts as one mistake at most."""
        cdef Py_ssize_t recipients = self._recipients
        self._end_transaction()
        return self._say(reply * recipients if self._lmtp else reply)


# -- One function a verb ---------------------------------------------------------------------------------------------

cdef int _helo(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._hello("HELO", text, length)


cdef int _ehlo(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._hello("EHLO", text, length)


cdef int _lhlo(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._hello("LHLO", text, length)


cdef int _mail(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    """``FROM:<path>`` and parameters. A space after the colon is an error, as RFC 5321 §3.3 says."""
    cdef PathParts path
    cdef bint sized = self.esmtp and self._offers_size
    cdef bint typed = self.esmtp and self._offers_8bitmime
    cdef MailParams params = MailParams(sized, typed, 0, False, False, False)
    cdef Py_ssize_t at
    cdef ParamFlaw flaw
    if length < 6 or not same_word(text, "from:", 5) or text[5] == SPACE:
        return self._say(BAD_ARGUMENT)
    at = scan_path(text + 5, length - 5, &path)
    if at < 0 or path.mailbox_length and not path.domain_length:
        return self._say(BAD_REVERSE_PATH)
    at += 5
    flaw = read_params(text + at, length - at, &params)
    if flaw != PARAMS_FINE:
        return self._say(UNKNOWN_PARAMETER if flaw == PARAMS_UNKNOWN else BAD_ARGUMENT)
    if params.size > self._limits.size:
        return self._say(TOO_LARGE_REPLY)
    self._decision = ON_MAIL
    return self._decide(self._on_mail(mailbox_of(&path), domain_of(&path), params.size, params.eight_bit, None))


cdef int _rcpt(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    """``TO:<path>``; no parameter is known yet."""
    cdef PathParts path
    cdef MailParams params = MailParams(False, False, 0, False, False, False)
    cdef Py_ssize_t at
    cdef ParamFlaw flaw
    cdef str domain
    self._tried = True
    if length < 4 or not same_word(text, "to:", 3) or text[3] == SPACE:
        return self._say(BAD_ARGUMENT)
    at = scan_path(text + 3, length - 3, &path)
    if at < 0 or not path.mailbox_length:
        return self._say(BAD_FORWARD_PATH)
    at += 3
    flaw = read_params(text + at, length - at, &params)
    if flaw != PARAMS_FINE:
        return self._say(UNKNOWN_PARAMETER if flaw == PARAMS_UNKNOWN else BAD_ARGUMENT)
    if self._recipients >= self._recipient_limit:
        return self._say(TOO_MANY_RECIPIENTS)
    domain = domain_of(&path) if path.domain_length else self._own_domain
    self._decision = ON_RCPT
    return self._decide(self._on_rcpt(mailbox_of(&path), domain, None))


cdef int _data(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    if length:
        return self._say(BAD_ARGUMENT)
    if self._phase == MAIL:
        if not self._tried:
            return self._say(BAD_SEQUENCE)
        self._reset()
        return self._say(NO_RECIPIENTS_LMTP if self._lmtp else NO_RECIPIENTS)
    self._decision = ON_DATA
    return self._decide(self._on_data())


cdef int _rset(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    if length:
        return self._say(BAD_ARGUMENT)
    self._reset()
    return self._say(OK)


cdef int _noop(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._say(OK)


cdef int _quit(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    if length:
        return self._say(BAD_ARGUMENT)
    self.bye = True
    self._say(BYE)
    return self._close()


cdef int _vrfy(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._say(CANNOT_VERIFY if length else BAD_ARGUMENT)


cdef int _help(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._say(HELP)


cdef int _not_implemented(SmtpServerSession self, const char *text, Py_ssize_t length) except -1:
    return self._say(NOT_IMPLEMENTED)


# -- One function a decision -----------------------------------------------------------------------------------------

cdef int _settle_hello(SmtpServerSession self, bytes reply, bint good) except -1:
    """A refused EHLO changes nothing; an accepted one is a RSET too (RFC 5321 §4.1.4)."""
    if not good:
        return self._say(reply)
    self._reset()
    self.hello_name = self._asked_name
    self.esmtp = self._asked_esmtp
    if self._phase == GREETED:
        self._set_phase(READY)
    return self._say(own_hello_reply(self) if reply is None else reply)


cdef bytes own_hello_reply(SmtpServerSession self):
    greets = self._hostname + b" greets " + self.hello_name.encode("ascii") + b"\r\n"
    if self.esmtp and self._extension_lines:
        return b"250-" + greets + self._extension_lines
    return b"250 " + greets


cdef int _settle_mail(SmtpServerSession self, bytes reply, bint good) except -1:
    if good:
        self._set_phase(MAIL)
    return self._say(MAIL_OK if reply is None else reply)


cdef int _settle_rcpt(SmtpServerSession self, bytes reply, bint good) except -1:
    if good:
        self._recipients += 1
        if self._phase == MAIL:
            self._set_phase(RCPT)
    return self._say(RCPT_OK if reply is None else reply)


cdef int _settle_data(SmtpServerSession self, bytes reply, bint good) except -1:
    if not good:
        self._reset()
        return self._say(reply)
    if self._content is None:
        self._content = Content()
    self._content.begin(&self._limits)
    self._set_phase(CONTENT)
    self._octets = True
    return self._say(GO_AHEAD if reply is None else reply)


cdef int _settle_content(SmtpServerSession self, bytes reply, bint good) except -1:
    if self._lmtp and reply is not None:
        return settle_each(self, reply)
    if good:
        self._errors = 0
    return self._say_of_content(OK if reply is None else reply)


cdef int settle_each(SmtpServerSession self, bytes replies) except -1:
    """LMTP: a reply to each accepted recipient. A 421 behind others speaks for all that are left."""
    cdef Replies seen = read_replies(PyBytes_AS_STRING(replies), PyBytes_GET_SIZE(replies))
    if not seen.sound or seen.count > self._recipients or (seen.count < self._recipients and not seen.last_word):
        raise ValueError(f"{replies!r} is not a reply to each of {self._recipients} recipients")
    self._end_transaction()
    if seen.accepted:
        self._errors = 0
    self._say(replies)
    return self._close() if seen.last_word else 0


cdef Replies read_replies(const char *octets, Py_ssize_t length) noexcept nogil:
    """Counts replies that stand one behind the other; those of several lines have a hyphen behind the code."""
    cdef Replies seen = Replies(0, 0, False, length > 0)
    cdef const char *line = octets
    cdef const char *end
    while length > 0:
        end = <const char *> memchr(line, LF, length)
        if end == NULL or end - line < 4 or end[-1] != CR or seen.last_word:
            seen.sound = False
            return seen
        if line[3] != HYPHEN:
            seen.count += 1
            seen.accepted += line[0] == TWO
            seen.last_word = line[0] == FOUR and line[1] == TWO and line[2] == ONE
        length -= end + 1 - line
        line = end + 1
    return seen


cdef settle_t[6] SETTLE = [NULL, _settle_hello, _settle_mail, _settle_rcpt, _settle_data, _settle_content]

# -- The table of commands -------------------------------------------------------------------------------------------

cdef Command[COMMANDS] TABLE
cdef int _commands = 0


cdef int _define(const char *verb, Py_ssize_t length, int phases, proceed_t proceed) except -1:
    global _commands
    assert _commands < COMMANDS
    TABLE[_commands] = Command(first_four(verb), verb, length, phases, proceed)
    _commands += 1
    return 0


cdef int _fill_table() except -1:
    cdef int always = 1 << GREETED | 1 << READY | 1 << MAIL | 1 << RCPT
    _define("rcpt", 4, 1 << MAIL | 1 << RCPT, _rcpt)
    _define("mail", 4, 1 << READY, _mail)
    _define("data", 4, 1 << MAIL | 1 << RCPT, _data)
    _define("ehlo", 4, always, _ehlo)
    _define("helo", 4, always, _helo)
    _define("lhlo", 4, always, _lhlo)
    _define("quit", 4, always, _quit)
    _define("rset", 4, always, _rset)
    _define("noop", 4, always, _noop)
    _define("vrfy", 4, always, _vrfy)
    _define("help", 4, always, _help)
    _define("expn", 4, always, _not_implemented)
    _define("starttls", 8, always, _not_implemented)
    _define("auth", 4, always, _not_implemented)
    _define("bdat", 4, always, _not_implemented)
    _define("etrn", 4, always, _not_implemented)
    _define("turn", 4, always, _not_implemented)
    _define("send", 4, always, _not_implemented)
    _define("soml", 4, always, _not_implemented)
    _define("saml", 4, always, _not_implemented)
    return 0


_fill_table()


cdef const Command *find_command(const char *line, Py_ssize_t length) noexcept nogil:
    """The command whose verb stands before the first space, or NULL."""
    cdef const Command *command
    cdef uint32_t word
    cdef int i
    if length < 4:
        return NULL
    word = first_four(line)
    for i in range(COMMANDS):
        command = &TABLE[i]
        if command.word == word:
            if length < command.length or (length > command.length and line[command.length] != SPACE):
                return NULL
            return command if same_word(line, command.verb, command.length) else NULL
    return NULL
