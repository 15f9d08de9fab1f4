"""Who it really is: STARTTLS (RFC 3207) and AUTH (RFC 4954).

Owns: when they may come, the exchange of challenges and responses with its limits, and the count of failed logins.
Never does: TLS, mechanisms or passwords.
"""

import binascii

from libc.string cimport memchr

from mta_ext.scan cimport any_high
from mta_ext.smtp_replies cimport (
    BAD_ARGUMENT,
    BAD_BASE64,
    BAD_OCTET,
    BAD_SEQUENCE,
    CANCELLED,
    EXCHANGE_TOO_LONG,
    LOGGED_IN,
    NO_MECHANISM,
    NOT_IMPLEMENTED,
    TLS_GO_AHEAD,
    TOO_MANY_FAILED_LOGINS,
    WEAK_MECHANISM,
)
from mta_ext.smtp_state cimport EXCHANGE, HANDSHAKE, ON_SASL, ON_STARTTLS, READY, SmtpState


cdef enum:
    SPACE = 32
    STAR = 42
    TWO = 50


# -- STARTTLS --------------------------------------------------------------------------------------------------------

cdef int start_tls(SmtpState self, const char *text, Py_ssize_t length) except -1:
    if length:
        return self._say(BAD_ARGUMENT)
    if "STARTTLS" not in self._configured.names:
        return self._say(NOT_IMPLEMENTED)
    if self.secure:
        return self._say(BAD_SEQUENCE)
    self._decision = ON_STARTTLS
    return self._decide(None if self._on_starttls is None else self._on_starttls())


cdef int settle_tls(SmtpState self, bytes reply, bint good) except -1:
    if not good:
        return self._say(reply)
    self._set_phase(HANDSHAKE)
    self._octets = True
    self.wants_tls = True
    return self._say(TLS_GO_AHEAD if reply is None else reply)


# -- AUTH ------------------------------------------------------------------------------------------------------------

cdef object decoded(const char *text, Py_ssize_t length):
    """Octets, or None where that is no base64 (RFC 4648 §4, padding and all)."""
    try:
        return binascii.a2b_base64(text[:length], strict_mode=True)
    except binascii.Error:
        return None


cdef int begin_auth(SmtpState self, const char *text, Py_ssize_t length) except -1:
    """``mechanism [initial-response]``, "=" for an empty one."""
    cdef const char *space = <const char *> memchr(text, SPACE, length) if length else NULL
    cdef Py_ssize_t named = space - text if space != NULL else length
    cdef object response = None
    if self._on_sasl is None:
        return self._say(NOT_IMPLEMENTED)
    if self.login_name:
        return self._say(BAD_SEQUENCE)
    if named == 0:
        return self._say(BAD_ARGUMENT)
    mechanism = text[:named].decode("ascii").upper()
    if mechanism not in self._configured.mechanisms:
        return self._say(NO_MECHANISM)
    if not (self.secure or self._configured.plaintext_login):
        return self._say(WEAK_MECHANISM)
    if space != NULL:
        response = b"" if text[named + 1:length] == b"=" else decoded(space + 1, length - named - 1)
        if not response and text[named + 1:length] != b"=":
            return fail_login(self, BAD_BASE64)
    self._mechanism = mechanism
    self._exchanged = length
    self.exchange_step = 0
    return ask_sasl(self, response)


cdef int ask_sasl(SmtpState self, object response) except -1:
    self._asked_login = None
    self._decision = ON_SASL
    return self._decide(self._on_sasl(self._mechanism, response))


cdef int respond(SmtpState self, const char *line, Py_ssize_t length) except -1:
    """A line of the client in an exchange."""
    self._exchanged += length + 2
    if length == 1 and line[0] == STAR:
        return fail_login(self, CANCELLED)
    if self._exchanged > self._exchange_limit:
        return fail_login(self, EXCHANGE_TOO_LONG)
    if any_high(line, length) or memchr(line, 0, length) != NULL:
        return fail_login(self, BAD_OCTET)
    response = decoded(line, length)
    if response is None:
        return fail_login(self, BAD_BASE64)
    self.exchange_step += 1
    return ask_sasl(self, response)


cdef int settle_sasl(SmtpState self, bytes reply, bint good) except -1:
    """A challenge goes on, 235 is a login, anything else a failed one."""
    if reply is not None and reply.startswith(b"334 "):
        if self._phase != EXCHANGE:
            self._set_phase(EXCHANGE)
            self._line_limit = self._exchange_limit
        return self._say(reply)
    if reply is not None and reply[0] != TWO:
        return fail_login(self, reply)
    if not self._asked_login:
        raise RuntimeError("a good login without log_in")
    self.login_name = self._asked_login
    end_exchange(self)
    return self._say(LOGGED_IN if reply is None else reply)


cdef int end_exchange(SmtpState self) except -1:
    self._mechanism = self._asked_login = None
    self._line_limit = self._command_limit
    return self._set_phase(READY) if self._phase == EXCHANGE else 0


cdef int fail_login(SmtpState self, bytes reply) except -1:
    end_exchange(self)
    self._say(reply)
    self._failed_logins += 1
    if self._failed_logins >= self._login_limit and not self.closing:
        return self._say(TOO_MANY_FAILED_LOGINS)
    return 0
