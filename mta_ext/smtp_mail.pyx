"""Who speaks, and the envelope: HELO, EHLO and LHLO, MAIL, RCPT and RSET (RFC 5321 §4.1.1, 2033, 6531).

Owns: their syntax, what they change, and their replies. Never does: content, or policy.
"""

from cpython.unicode cimport PyUnicode_DecodeASCII

from mta_ext.params cimport PARAMS_FINE, PARAMS_WRONG, MailParams, ParamFlaw, read_params
from mta_ext.path cimport PathParts, domain_of, is_hello_name, is_sound_utf8, mailbox_of, scan_path
from mta_ext.scan cimport any_high, same_word
from mta_ext.smtp_extensions cimport BINARYMIME, EIGHTBITMIME, PIPELINING, SIZE
from mta_ext.smtp_params cimport mail_parameters, rcpt_parameters
from mta_ext.smtp_replies cimport (
    BAD_ARGUMENT,
    BAD_FORWARD_PATH,
    BAD_REVERSE_PATH,
    MAIL_OK,
    NON_ASCII_PATH,
    OK,
    RCPT_OK,
    TOO_LARGE_REPLY,
    TOO_MANY_MESSAGES,
    TOO_MANY_RECIPIENTS,
    UNKNOWN_COMMAND,
)
from mta_ext.smtp_state cimport GREETED, MAIL, ON_HELLO, ON_MAIL, ON_RCPT, RCPT, READY, SmtpState

from mta_ext.envelope import MailParameters

cdef enum:
    SPACE = 32

cdef object _only_binary = MailParameters(binary=True)

# -- Who speaks ------------------------------------------------------------------------------------------------------


cdef int say_helo(SmtpState self, const char *text, Py_ssize_t length) except -1:
    return ask_hello(self, "HELO", text, length)


cdef int say_ehlo(SmtpState self, const char *text, Py_ssize_t length) except -1:
    return ask_hello(self, "EHLO", text, length)


cdef int say_lhlo(SmtpState self, const char *text, Py_ssize_t length) except -1:
    return ask_hello(self, "LHLO", text, length)


cdef int ask_hello(SmtpState self, str verb, const char *text, Py_ssize_t length) except -1:
    if self._lmtp != (verb == "LHLO"):
        return self._say(UNKNOWN_COMMAND)
    if not is_hello_name(text, length):
        return self._say(BAD_ARGUMENT)
    self._asked_name = PyUnicode_DecodeASCII(text, length, NULL)
    self._asked_esmtp = verb != "HELO"
    self._decision = ON_HELLO
    return self._decide(self._on_hello(verb, self._asked_name))


cdef int settle_hello(SmtpState self, bytes reply, bint good) except -1:
    """A refused EHLO changes nothing; an accepted one is a RSET too (RFC 5321 §4.1.4)."""
    if not good:
        return self._say(reply)
    self._reset()
    self.hello_name = self._asked_name
    self.esmtp = self._asked_esmtp
    self._at_ease = self.esmtp and self._offers & PIPELINING and (self.secure or not self._needs_tls)
    if self._phase == GREETED:
        self._set_phase(READY)
    return self._say(own_hello_reply(self) if reply is None else reply)


cdef bytes own_hello_reply(SmtpState self):
    cdef bytes greets = self._hostname + b" greets " + self.hello_name.encode("ascii") + b"\r\n"
    cdef bytes lines = self._configured.lines(self.secure) if self.esmtp else b""
    return b"250-" + greets + lines if lines else b"250 " + greets


# -- The envelope ----------------------------------------------------------------------------------------------------

cdef int begin_mail(SmtpState self, const char *text, Py_ssize_t length) except -1:
    """``FROM:<path>`` and parameters. A space after the colon is an error, as RFC 5321 §3.3 says."""
    cdef PathParts path
    cdef long offers = self._offers if self.esmtp else 0
    cdef MailParams params = MailParams(
        offers & SIZE != 0, offers & EIGHTBITMIME != 0, offers & BINARYMIME != 0, 0, False, False, False, False)
    cdef object parameters = None
    cdef bint utf8 = False
    cdef Py_ssize_t at
    cdef ParamFlaw flaw
    if length < 6 or not same_word(text, "from:", 5) or text[5] == SPACE:
        return self._say(BAD_ARGUMENT)
    if self._message_limit and self._messages >= self._message_limit:
        return self._say(TOO_MANY_MESSAGES)
    at = scan_path(text + 5, length - 5, &path)
    if at < 0 or path.mailbox_length and not path.domain_length:
        return self._say(BAD_REVERSE_PATH)
    at += 5
    flaw = read_params(text + at, length - at, &params)
    if flaw == PARAMS_WRONG:
        return self._say(BAD_ARGUMENT)
    if flaw != PARAMS_FINE:
        parameters = mail_parameters(text + at, length - at, &params, offers, self._configured)
        if isinstance(parameters, bytes):
            return self._say(parameters)
        utf8 = parameters.smtputf8
    elif params.binary:
        parameters = _only_binary
    if self._high and not utf8:
        return self._say(NON_ASCII_PATH)
    if self._high and not is_sound_utf8(text + 5, at - 5, &path):
        return self._say(BAD_REVERSE_PATH)
    if params.size > self._limits.size:
        return self._say(TOO_LARGE_REPLY)
    self._asked_utf8 = utf8
    self._asked_binary = params.binary
    self._decision = ON_MAIL
    return self._decide(self._on_mail(mailbox_of(&path), domain_of(&path), params.size, params.eight_bit, parameters))


cdef int settle_mail(SmtpState self, bytes reply, bint good) except -1:
    if good:
        self._set_phase(MAIL)
        self._utf8 = self._asked_utf8
        self._binary = self._asked_binary
        self._messages += 1
    return self._say(MAIL_OK if reply is None else reply)


cdef int add_rcpt(SmtpState self, const char *text, Py_ssize_t length) except -1:
    """``TO:<path>`` and parameters."""
    cdef PathParts path
    cdef object parameters = None
    cdef Py_ssize_t at
    cdef str domain
    self._tried = True
    if length < 4 or not same_word(text, "to:", 3) or text[3] == SPACE:
        return self._say(BAD_ARGUMENT)
    at = scan_path(text + 3, length - 3, &path)
    if at < 0 or not path.mailbox_length:
        return self._say(BAD_FORWARD_PATH)
    at += 3
    if self._high and any_high(text, at):
        if not self._utf8:
            return self._say(NON_ASCII_PATH)
        if not is_sound_utf8(text + 3, at - 3, &path):
            return self._say(BAD_FORWARD_PATH)
    if at < length:
        parameters = rcpt_parameters(text + at, length - at, self._offers if self.esmtp else 0, self._utf8)
        if isinstance(parameters, bytes):
            return self._say(parameters)
    if self._recipients >= self._recipient_limit:
        return self._say(TOO_MANY_RECIPIENTS)
    domain = domain_of(&path) if path.domain_length else self._own_domain
    self._decision = ON_RCPT
    return self._decide(self._on_rcpt(mailbox_of(&path), domain, parameters))


cdef int settle_rcpt(SmtpState self, bytes reply, bint good) except -1:
    if good:
        self._recipients += 1
        if self._phase == MAIL:
            self._set_phase(RCPT)
    return self._say(RCPT_OK if reply is None else reply)


cdef int reset_mail(SmtpState self, const char *text, Py_ssize_t length) except -1:
    if length:
        return self._say(BAD_ARGUMENT)
    self._reset()
    return self._say(OK)
