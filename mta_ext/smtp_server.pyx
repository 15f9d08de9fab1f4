"""The SMTP and LMTP server session (RFC 5321, 2033), sans-IO: commands in, replies out, decisions by callback.

Owns: lines, the table of commands, and which of them may come when. What a command means is in ``smtp_mail``,
``smtp_content``, ``smtp_auth`` and ``smtp_asked``; phases are in ``smtp_state``. These hold whatever a peer or a
handler does:

* Content ends where ``smtp_content`` says and nowhere else, and is never read as commands.
* Segmentation never changes the meaning of a session: the same octets give the same replies, in any pieces. Only
  ``in_step`` looks at what is there already: a peer that does not wait where it has to is sent away.
* At most one decision is outstanding, and input waits for it.

LMTP differs in three things: the hello is LHLO, DATA without a valid recipient is 503, and whatever is said behind the
end of content is said once for each accepted recipient.

Never does: sockets, time, policy, or the spool.
"""

from typing import Protocol

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memchr

from mta_ext.content cimport Limits
from mta_ext.scan cimport any_high, first_four, same_word
from mta_ext.smtp_asked cimport (
    etrn,
    expand,
    settle_etrn,
    settle_expand,
    settle_verify,
    settle_xclient,
    settle_xforward,
    verify,
    xclient,
    xforward,
)
from mta_ext.smtp_auth cimport begin_auth, end_exchange, fail_login, respond, settle_sasl, settle_tls, start_tls
from mta_ext.smtp_content cimport (
    begin_bdat,
    begin_data,
    lose_content,
    settle_chunk,
    settle_content,
    settle_data,
    take_octets,
)
from mta_ext.smtp_extensions cimport (
    AUTH,
    CHUNKING,
    ENHANCEDSTATUSCODES,
    ETRN,
    EXPN,
    HELP,
    PIPELINING,
    SMTPUTF8,
    STARTTLS,
    XCLIENT,
    XFORWARD,
    Offers,
)
from mta_ext.smtp_mail cimport (
    add_rcpt,
    begin_mail,
    reset_mail,
    say_ehlo,
    say_helo,
    say_lhlo,
    settle_hello,
    settle_mail,
    settle_rcpt,
)
from mta_ext.smtp_replies cimport (
    BAD_ARGUMENT,
    BAD_OCTET,
    BAD_SEQUENCE,
    BARE_REPLY,
    BYE,
    EHLO_FIRST,
    EXCHANGE_TOO_LONG,
    HELLO_FIRST,
    LHLO_FIRST,
    LINE_TOO_LONG_REPLY,
    NOT_IMPLEMENTED,
    OK,
    OUT_OF_STEP,
    TLS_FIRST,
    TOO_EARLY,
    TOO_SLOW,
    UNKNOWN_COMMAND,
)
from mta_ext.smtp_state cimport (
    CHUNK,
    CHUNKED,
    CLOSED,
    CONTENT,
    EXCHANGE,
    GREETED,
    HANDED,
    MAIL,
    ON_CHUNK,
    ON_CONTENT,
    ON_DATA,
    ON_ETRN,
    ON_EXPAND,
    ON_HELLO,
    ON_MAIL,
    ON_RCPT,
    ON_SASL,
    ON_STARTTLS,
    ON_VERIFY,
    ON_XCLIENT,
    ON_XFORWARD,
    RCPT,
    READY,
    SILENT,
    WASTE,
    SmtpState,
)
from mta_ext.utf8 cimport is_utf8

from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.smtp_extensions import EXTENSIONS

__all__ = ["EXTENSIONS", "MailParameters", "RcptParameters", "SmtpExtensionsHandler", "SmtpServerHandler",
           "SmtpServerSession"]


class SmtpServerHandler(Protocol):
    """The stub says what its methods are; it is here so that it can be imported."""


class SmtpExtensionsHandler(SmtpServerHandler, Protocol):
    """See the stub."""


cdef enum:
    CR = 13
    HT = 9
    SPACE = 32
    FOUR = 52
    COMMANDS = 22
    DECISIONS = 14
    OUTPUT_LIMIT = 65_536    # octets of replies; a read of pipelined EHLO commands asks for twenty times its own size
    # Decisions before which nothing more may have come.
    WATCHED = LAST | CARRIES | ESMTP | OFFERED
    MUST_WAIT = 1 << ON_HELLO | 1 << ON_DATA | 1 << ON_SASL | 1 << ON_XCLIENT


@cython.final
cdef class SmtpServerSession(SmtpState):
    """See the stub."""

    def __init__(self, handler, str hostname, *, Py_ssize_t message_size=52_428_800, Py_ssize_t recipients=1000,
                 Py_ssize_t command_line=2048, Py_ssize_t content_line=65_536, Py_ssize_t header_section=1_048_576,
                 Py_ssize_t errors=20, Py_ssize_t hops=50, Py_ssize_t stream_above=1_048_576, Py_ssize_t messages=0,
                 bint lmtp=False, tuple extensions=("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"),
                 bint in_step=True, bint secure=False, bint tls_required=False, bint plaintext_login=False,
                 tuple mechanisms=(), Py_ssize_t exchange=12_288, Py_ssize_t failed_logins=3,
                 long long max_hold=0, str max_hold_until="", long long min_by=0):
        self._hostname = hostname.encode("ascii")
        self._own_domain = hostname.lower()
        self._lmtp = lmtp
        self.hello_name = self.login_name = ""
        self.secure = secure
        self._in_step = in_step
        self._needs_tls = tls_required
        self._line_limit = self._command_limit = command_line
        self._exchange_limit = exchange
        self._login_limit = failed_logins
        self._said_limit = OUTPUT_LIMIT
        self._recipient_limit = recipients
        self._message_limit = messages
        self._error_limit = errors
        self._limits = Limits(message_size, content_line, header_section, hops, stream_above)
        self._configured = Offers(extensions, mechanisms, plaintext_login, message_size, recipients, messages,
                                  max_hold, max_hold_until, min_by)
        self._offers = self._configured.now(secure)
        self._coded = self._offers & ENHANCEDSTATUSCODES != 0
        self._bind(handler)

    # -- What the shell and the handler read and say --

    @property
    def in_content(self):
        return self._phase == CONTENT or self._phase == CHUNK or self._phase == WASTE

    @property
    def content_octets(self):
        if self._phase == WASTE:
            return self._chunk - self._chunk_left
        return self._content.arrived if CHUNKED <= self._phase <= HANDED else 0

    @property
    def idle(self):
        return (self._phase <= READY or self._phase == CLOSED) and not (
            self.pending or self._tail_length or self._skipping)

    def greet(self):
        if self.closing:
            return
        if self._in_step and (self._tail_length or self._skipping):
            self._refuse_early()
            return
        self._set_phase(GREETED)
        self._say(self._greeting())

    def log_in(self, str name not None):
        if self.closing:
            return
        if not name:
            raise ValueError("a login needs a name")
        if self._decision != ON_SASL and self._decision != ON_XCLIENT:
            raise RuntimeError("nobody is logging in")
        self._asked_login = name

    def timed_out(self):
        self.shut(TOO_SLOW)

    cdef int _secured(self) except -1:
        self.secure = True
        self._octets = False
        return self._forget_peer()

    # -- Decisions --

    cdef int _on_verdict(self, int decision, bytes verdict) except -1:
        if self._unread and self._in_step and MUST_WAIT >> decision & 1:
            return self._out_of_step()
        return SETTLE[decision](self, verdict, verdict is None or PyBytes_AS_STRING(verdict)[0] < FOUR)

    cdef int _on_trouble(self) except -1:
        """The transaction or the login is lost, the session goes on."""
        end_exchange(self)
        return lose_content(self)

    # -- Lines --

    cdef Py_ssize_t _on_octets(self, const char *octets, Py_ssize_t length) except -1:
        return take_octets(self, octets, length)

    cdef int _on_overlong(self) except -1:
        self.progress += 1
        if self._phase == SILENT:
            return self._refuse_early()
        if self._phase == EXCHANGE:
            return fail_login(self, EXCHANGE_TOO_LONG)
        return self._say(LINE_TOO_LONG_REPLY)

    cdef int _on_line(self, const char *line, Py_ssize_t length) except -1:
        self.progress += 1
        if self._phase == SILENT:
            return self._refuse_early()
        if length < 2 or line[length - 2] != CR or memchr(line, CR, length - 2) != NULL:
            return self._refuse_bare()
        length -= 2
        if self._phase == EXCHANGE:
            if self._unread and self._in_step:
                return self._out_of_step()
        else:
            self._high = any_high(line, length)
            if memchr(line, 0, length) != NULL or self._high and not self._reads_utf8(line, length):
                return self._refuse_octet(line, length)
            # RFC 5321 §4.1.1: white space before the line's end should be tolerated.
            while length and (line[length - 1] == SPACE or line[length - 1] == HT):
                length -= 1
        try:
            return respond(self, line, length) if self._phase == EXCHANGE else self._perform(line, length)
        except Exception as error:
            return self._trouble(error)

    cdef int _refuse_early(self) except -1:
        """A peer that speaks before the greeting is no mail server."""
        self._say(TOO_EARLY)
        return self._close()

    cdef int _refuse_bare(self) except -1:
        self._say(BARE_REPLY)
        return self._close()

    cdef int _refuse_octet(self, const char *line, Py_ssize_t length) except -1:
        """Behind a BDAT that cannot be read stand nobody knows how many octets; behind DATA, what did not wait."""
        cdef bint chunk = length >= 4 and same_word(line, "bdat", 4)
        self._say(BAD_OCTET)
        if chunk or (self._unread and length >= 4 and same_word(line, "data", 4)):
            return self._close()
        return 0

    cdef bint _reads_utf8(self, const char *line, Py_ssize_t length) noexcept:
        return self.esmtp and self._offers & SMTPUTF8 and is_utf8(line, length)

    cdef bint _hurries(self, const Command *command) noexcept:
        """More is there already, and its sender had to wait: behind this command, or because nothing was said yet that
        lets it send on."""
        cdef bint pipelines = self.esmtp and self._offers & PIPELINING
        if command == NULL:
            return not pipelines
        if command.traits & LAST:
            return True
        return not pipelines and not command.traits & CARRIES

    cdef bytes _refusal(self, const Command *command):
        """The reply to a command that cannot be taken now, or None."""
        cdef bytes refusal
        if self._unread and self._in_step and self._hurries(command):
            return OUT_OF_STEP
        if command == NULL:
            return BAD_OCTET if self._high else UNKNOWN_COMMAND
        refusal = self._refusal_of(command)
        return OUT_OF_STEP if refusal is not None and self._unread and command.traits & OPENS else refusal

    cdef bytes _refusal_of(self, const Command *command):
        if self._high and not command.traits & TEXT:
            return BAD_OCTET
        if command.traits & OFFERED and command.needs & ~self._offers:
            return NOT_IMPLEMENTED
        if not command.phases >> self._phase & 1:
            if self._phase == GREETED:
                return LHLO_FIRST if self._lmtp else HELLO_FIRST
            return BAD_SEQUENCE
        if command.traits & ESMTP and not self.esmtp:
            return EHLO_FIRST
        if self._needs_tls and not self.secure and not command.traits & IN_CLEAR:
            return TLS_FIRST
        return None

    cdef int _perform(self, const char *line, Py_ssize_t length) except -1:
        cdef const Command *command = find_command(line, length)
        cdef bytes refusal
        if command == NULL or self._high or not self._at_ease or command.traits & WATCHED:
            refusal = self._refusal(command)
            if refusal is not None:
                if refusal is OUT_OF_STEP:
                    return self._out_of_step()
                self._say(refusal)
                return self._close() if refusal is BAD_OCTET and command != NULL and command.traits & CARRIES else 0
        elif not command.phases >> self._phase & 1:
            return self._say(BAD_SEQUENCE)
        if length == command.length:
            return command.proceed(self, line + length, 0)
        return command.proceed(self, line + command.length + 1, length - command.length - 1)


# -- Verbs without a noun --------------------------------------------------------------------------------------------

cdef int _noop(SmtpState self, const char *text, Py_ssize_t length) except -1:
    return self._say(OK)


cdef int _quit(SmtpState self, const char *text, Py_ssize_t length) except -1:
    if length:
        return self._say(BAD_ARGUMENT)
    self.bye = True
    self._say(BYE)
    return self._close()


cdef int _help(SmtpState self, const char *text, Py_ssize_t length) except -1:
    """The verbs that are understood now."""
    cdef list verbs = []
    cdef const Command *command
    cdef int i
    for i in range(_commands):
        command = &TABLE[i]
        verb = command.verb[:command.length].decode("ascii").upper()
        if command.proceed == _not_implemented or command.needs & ~self._offers:
            continue
        if self._lmtp == (verb == "LHLO") or verb not in ("HELO", "EHLO", "LHLO"):
            verbs.append(verb)
    return self._say(b"214 2.0.0 %b\r\n" % " ".join(sorted(verbs)).encode("ascii"))


cdef int _not_implemented(SmtpState self, const char *text, Py_ssize_t length) except -1:
    return self._say(NOT_IMPLEMENTED)


# -- The tables ------------------------------------------------------------------------------------------------------

cdef settle_t[DECISIONS] SETTLE
cdef Command[COMMANDS] TABLE
cdef int _commands = 0


cdef int _define(const char *verb, Py_ssize_t length, int phases, int traits, long needs, proceed_t proceed) except -1:
    global _commands
    assert _commands < COMMANDS
    TABLE[_commands] = Command(first_four(verb), verb, length, phases, traits, needs, proceed)
    _commands += 1
    return 0


cdef int _fill_table() except -1:
    cdef int always = 1 << GREETED | 1 << READY | 1 << MAIL | 1 << RCPT | 1 << CHUNKED
    cdef int ready = 1 << READY
    _define("rcpt", 4, 1 << MAIL | 1 << RCPT, TEXT, 0, add_rcpt)
    _define("mail", 4, ready, TEXT, 0, begin_mail)
    _define("data", 4, 1 << MAIL | 1 << RCPT, LAST | OPENS, 0, begin_data)
    _define("bdat", 4, always, CARRIES | IN_CLEAR, CHUNKING, begin_bdat)
    _define("ehlo", 4, always, LAST | IN_CLEAR, 0, say_ehlo)
    _define("helo", 4, always, LAST | IN_CLEAR, 0, say_helo)
    _define("lhlo", 4, always, LAST | IN_CLEAR, 0, say_lhlo)
    _define("quit", 4, always, IN_CLEAR, 0, _quit)
    _define("rset", 4, always, IN_CLEAR, 0, reset_mail)
    _define("noop", 4, always, IN_CLEAR, 0, _noop)
    _define("starttls", 8, ready, ESMTP | IN_CLEAR, STARTTLS, start_tls)
    _define("auth", 4, ready, LAST | ESMTP | OFFERED, AUTH, begin_auth)
    _define("vrfy", 4, always, TEXT, 0, verify)
    _define("expn", 4, always, TEXT | OFFERED, EXPN, expand)
    _define("etrn", 4, ready, ESMTP | OFFERED, ETRN, etrn)
    _define("help", 4, always, IN_CLEAR | OFFERED, HELP, _help)
    _define("xclient", 7, 1 << GREETED | ready, LAST | OFFERED, XCLIENT, xclient)  # again and again, if it is long
    _define("xforward", 8, ready, ESMTP | OFFERED, XFORWARD, xforward)
    _define("turn", 4, always, 0, 0, _not_implemented)
    _define("send", 4, always, 0, 0, _not_implemented)
    _define("soml", 4, always, 0, 0, _not_implemented)
    _define("saml", 4, always, 0, 0, _not_implemented)
    return 0


cdef int _settles(int decision, settle_t settle) except -1:
    SETTLE[decision] = settle
    return 0


cdef int _fill_decisions() except -1:
    _settles(ON_HELLO, settle_hello)
    _settles(ON_MAIL, settle_mail)
    _settles(ON_RCPT, settle_rcpt)
    _settles(ON_DATA, settle_data)
    _settles(ON_CHUNK, settle_chunk)
    _settles(ON_CONTENT, settle_content)
    _settles(ON_STARTTLS, settle_tls)
    _settles(ON_SASL, settle_sasl)
    _settles(ON_VERIFY, settle_verify)
    _settles(ON_EXPAND, settle_expand)
    _settles(ON_ETRN, settle_etrn)
    _settles(ON_XCLIENT, settle_xclient)
    _settles(ON_XFORWARD, settle_xforward)
    return 0


_fill_table()
_fill_decisions()


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
