"""What policy is asked outside of a transaction: VRFY and EXPN (RFC 5321 §3.5), ETRN (RFC 1985), XCLIENT and XFORWARD
(Postfix's protocols by which a proxy tells whom it stands for).

Owns: their syntax, and their replies where policy has none. Never does: decide who may use them.
"""

import re

from cpython.unicode cimport PyUnicode_DecodeUTF8

from mta_ext.path cimport is_hello_name
from mta_ext.scan cimport same_word
from mta_ext.smtp_extensions cimport SMTPUTF8, VRFY
from mta_ext.smtp_replies cimport (
    BAD_ARGUMENT,
    CANNOT_EXPAND,
    CANNOT_VERIFY,
    NODE_NOT_ALLOWED,
    NON_ASCII_PATH,
    NON_ASCII_REPLY,
    NOT_AUTHORIZED,
    OK,
)
from mta_ext.smtp_state cimport ON_ETRN, ON_EXPAND, ON_VERIFY, ON_XCLIENT, ON_XFORWARD, SmtpState

from mta_ext.path import valid_address_literal, valid_domain
from mta_ext.smtp_extensions import XCLIENT_NAMES, XFORWARD_NAMES
from mta_ext.xtext import decode_xtext

cdef enum:
    SPACE = 32
    VALUE_LIMIT = 255            # characters of an attribute's xtext

_NODE = re.compile(rb"[@#]?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?")

# -- VRFY, EXPN, ETRN ------------------------------------------------------------------------------------------------


cdef object asked_text(SmtpState self, const char *text, Py_ssize_t length):
    """The argument without a SMTPUTF8 behind it (RFC 6531 §3.7.4.2), or the reply that refuses it."""
    cdef bint utf8 = False
    if length > 9 and self.esmtp and self._offers & SMTPUTF8 and same_word(text + length - 9, " smtputf8", 9):
        utf8 = True
        length -= 9
        while length and text[length - 1] == SPACE:
            length -= 1
    self._asked_utf8 = utf8
    if length == 0:
        return BAD_ARGUMENT
    if self._high and not utf8:
        return NON_ASCII_PATH
    return PyUnicode_DecodeUTF8(text, length, NULL)


cdef int say_asked(SmtpState self, bytes reply) except -1:
    """UTF-8 is for those who have said that they read it (RFC 6531 §3.7.4.2)."""
    return self._say(reply if self._asked_utf8 or reply.isascii() else NON_ASCII_REPLY)


cdef int verify(SmtpState self, const char *text, Py_ssize_t length) except -1:
    """RFC 5321 §4.5.1 wants the verb from everybody: where it is not offered, nobody is asked and nothing is told."""
    asked = asked_text(self, text, length)
    if isinstance(asked, bytes):
        return self._say(asked)
    if self._on_verify is None or not self._offers & VRFY:
        return self._say(CANNOT_VERIFY)
    self._decision = ON_VERIFY
    return self._decide(self._on_verify(asked))


cdef int settle_verify(SmtpState self, bytes reply, bint good) except -1:
    return say_asked(self, CANNOT_VERIFY if reply is None else reply)


cdef int expand(SmtpState self, const char *text, Py_ssize_t length) except -1:
    asked = asked_text(self, text, length)
    if isinstance(asked, bytes):
        return self._say(asked)
    self._decision = ON_EXPAND
    return self._decide(None if self._on_expand is None else self._on_expand(asked))


cdef int settle_expand(SmtpState self, bytes reply, bint good) except -1:
    return say_asked(self, CANNOT_EXPAND if reply is None else reply)


cdef int etrn(SmtpState self, const char *text, Py_ssize_t length) except -1:
    """A domain; ``@`` before it: its subdomains too; ``#``: the name of a queue."""
    cdef bytes node = text[:length]
    if _NODE.fullmatch(node) is None:
        return self._say(BAD_ARGUMENT)
    self._decision = ON_ETRN
    return self._decide(None if self._on_etrn is None else self._on_etrn(node.decode("ascii")))


cdef int settle_etrn(SmtpState self, bytes reply, bint good) except -1:
    return self._say(NODE_NOT_ALLOWED if reply is None else reply)


# -- XCLIENT, XFORWARD -----------------------------------------------------------------------------------------------

cdef int xclient(SmtpState self, const char *text, Py_ssize_t length) except -1:
    attributes = read_attributes(text[:length], XCLIENT_NAMES)
    if attributes is None:
        return self._say(BAD_ARGUMENT)
    if self._on_xclient is None:
        return self._say(NOT_AUTHORIZED)
    self._asked_login = None
    self._decision = ON_XCLIENT
    return self._decide(self._on_xclient(attributes))


cdef int settle_xclient(SmtpState self, bytes reply, bint good) except -1:
    """The session begins anew, as another client's."""
    cdef str login = self._asked_login
    if not good:
        self._asked_login = None
        return self._say(reply)
    self._forget_peer()
    if login:
        self.login_name = login
    return self._say(self._greeting() if reply is None else reply)


cdef int xforward(SmtpState self, const char *text, Py_ssize_t length) except -1:
    attributes = read_attributes(text[:length], XFORWARD_NAMES)
    if attributes is None:
        return self._say(BAD_ARGUMENT)
    if self._on_xforward is None:
        return self._say(NOT_AUTHORIZED)
    self._decision = ON_XFORWARD
    return self._decide(self._on_xforward(attributes))


cdef int settle_xforward(SmtpState self, bytes reply, bint good) except -1:
    return self._say(OK if reply is None else reply)


cdef object read_attributes(bytes text, tuple names):
    """Names in upper case and values without xtext, or None. A value that the proxy does not know stands as
    ``[UNAVAILABLE]`` or ``[TEMPUNAVAIL]``."""
    cdef dict attributes = {}
    for word in text.decode("latin-1").split(" "):
        if not word:
            continue
        name, equals, raw = word.partition("=")
        name = name.upper()
        if not equals or name not in names or name in attributes or len(raw) > VALUE_LIMIT:
            return None
        value = read_value(name, raw)
        if value is None:
            return None
        attributes[name] = value
    return attributes or None


cdef object read_value(str name, str raw):
    cdef bytes octets = decode_xtext(raw) if raw.isascii() else None
    if not octets:
        return None
    if octets.upper() in (b"[UNAVAILABLE]", b"[TEMPUNAVAIL]"):
        return octets.decode("ascii").upper()
    try:
        value = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return CHECKS[name](octets, value)


def _name(bytes octets, str value):
    return value if valid_domain(octets.removesuffix(b".")) else None


def _address(bytes octets, str value):
    """``192.0.2.1`` or ``IPV6:2001:db8::1``; the tag is taken off."""
    if valid_address_literal(b"[%b]" % octets):
        return value[5:].lower() if value.upper().startswith("IPV6:") else value
    return value.lower() if valid_address_literal(b"[IPv6:%b]" % octets) else None


def _port(bytes octets, str value):
    return value if octets.isdigit() and len(octets) <= 5 and int(octets) <= 65535 else None


def _protocol(bytes octets, str value):
    return value.upper() if octets.isalnum() and len(octets) <= 16 else None


def _helo(bytes octets, str value):
    return value if is_hello_name(octets, len(octets)) and octets.isascii() else None


def _text(bytes octets, str value):
    return value


def _source(bytes octets, str value):
    return value.upper() if value.upper() in ("LOCAL", "REMOTE") else None


CHECKS = {
    "NAME": _name, "ADDR": _address, "PORT": _port, "PROTO": _protocol, "HELO": _helo, "LOGIN": _text,
    "DESTADDR": _address, "DESTPORT": _port, "IDENT": _text, "SOURCE": _source,
}
