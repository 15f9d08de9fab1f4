"""What the SMTP server session says of itself: whole replies, made once.

Owns: their codes (RFC 5321 §4.2), enhanced codes (RFC 3463) and texts, and how any reply reads without enhanced codes.
Never does: decide which one is said.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcpy

from mta_ext.reply cimport enhanced_at

cdef enum:
    LF = 10
    CR = 13
    SPACE = 32
    HYPHEN = 45

OK = b"250 2.0.0 ok\r\n"
MAIL_OK = b"250 2.1.0 ok\r\n"
RCPT_OK = b"250 2.1.5 ok\r\n"
GO_AHEAD = b"354 end data with <CRLF>.<CRLF>\r\n"
BYE = b"221 2.0.0 bye\r\n"
CANNOT_VERIFY = b"252 2.1.5 cannot verify, but send some mail and see\r\n"
TOO_SLOW = b"421 4.4.2 too slow, closing the connection\r\n"
TOO_MANY_ERRORS = b"421 4.7.0 too many errors\r\n"
INTERNAL_ERROR = b"451 4.3.0 internal error\r\n"
TOO_MANY_RECIPIENTS = b"452 4.5.3 too many recipients\r\n"
UNKNOWN_COMMAND = b"500 5.5.1 command not recognized\r\n"
LINE_TOO_LONG_REPLY = b"500 5.5.2 line too long\r\n"
BAD_OCTET = b"500 5.5.2 NUL or 8-bit octet in a command\r\n"
BAD_FORWARD_PATH = b"501 5.1.3 bad forward-path\r\n"
BAD_REVERSE_PATH = b"501 5.1.7 bad reverse-path\r\n"
BAD_ARGUMENT = b"501 5.5.4 syntax error in arguments\r\n"
NOT_IMPLEMENTED = b"502 5.5.1 command not implemented\r\n"
BAD_SEQUENCE = b"503 5.5.1 bad sequence of commands\r\n"
HELLO_FIRST = b"503 5.5.1 EHLO or HELO first\r\n"
LHLO_FIRST = b"503 5.5.1 LHLO first\r\n"
NO_RECIPIENTS_LMTP = b"503 5.5.1 no valid recipients\r\n"
BARE_REPLY = b"550 5.5.2 CR and LF may only come together\r\n"
TOO_LARGE_REPLY = b"552 5.3.4 message too large\r\n"
TOO_EARLY = b"554 5.5.0 wait for the greeting\r\n"
NO_RECIPIENTS = b"554 5.5.1 no valid recipients\r\n"
UNKNOWN_PARAMETER = b"555 5.5.4 parameter not recognized or not implemented\r\n"
TLS_GO_AHEAD = b"220 2.0.0 ready to start TLS\r\n"
LOGGED_IN = b"235 2.7.0 authentication succeeded\r\n"
TOO_MANY_FAILED_LOGINS = b"421 4.7.0 too many failed logins\r\n"
TOO_MANY_MESSAGES = b"421 4.7.0 too many messages in one connection\r\n"
TLS_UNAVAILABLE = b"454 4.7.0 TLS not available\r\n"
NODE_NOT_ALLOWED = b"459 4.7.1 node not allowed\r\n"
BAD_BASE64 = b"501 5.5.2 not base64\r\n"
CANCELLED = b"501 5.7.0 authentication cancelled\r\n"
EXCHANGE_TOO_LONG = b"500 5.5.6 authentication exchange too long\r\n"
CANNOT_EXPAND = b"502 5.7.0 lists are not expanded here\r\n"
EHLO_FIRST = b"503 5.5.1 EHLO first\r\n"
BINARY_NEEDS_BDAT = b"503 5.5.1 BODY=BINARYMIME needs BDAT\r\n"
NO_MECHANISM = b"504 5.5.4 mechanism not offered\r\n"
TLS_FIRST = b"530 5.7.0 issue STARTTLS first\r\n"
WEAK_MECHANISM = b"538 5.7.11 encryption required for this mechanism\r\n"
NOT_AUTHORIZED = b"550 5.7.0 not authorized\r\n"
NON_ASCII_PATH = b"553 5.6.7 8-bit address without SMTPUTF8\r\n"
NON_ASCII_REPLY = b"553 5.6.8 the answer needs SMTPUTF8\r\n"
OUT_OF_STEP = b"554 5.5.0 improper command pipelining\r\n"
BY_TOO_SHORT = b"554 5.4.7 delivery time too short\r\n"

# In the order of content.Flaw.
FLAW_REPLIES = (
    INTERNAL_ERROR,
    BARE_REPLY,
    TOO_LARGE_REPLY,
    b"554 5.6.0 line too long\r\n",
    b"554 5.6.0 header section too large\r\n",
    b"554 5.4.6 too many hops\r\n",
    b"452 4.3.1 out of memory\r\n",
)


cpdef bytes without_codes(bytes reply):
    """Replies, of one line or several, as a listener says them that does not offer ENHANCEDSTATUSCODES (RFC 2034)."""
    cdef const char *line = PyBytes_AS_STRING(reply)
    cdef Py_ssize_t left = PyBytes_GET_SIZE(reply)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, left)
    cdef char *start = PyBytes_AS_STRING(made)
    cdef char *to = start
    cdef Py_ssize_t length, code
    cdef const char *end
    while left > 0:
        end = <const char *> memchr(line, LF, left)
        length = end + 1 - line if end != NULL else left
        code = _code_in(line, length)
        if code:
            memcpy(to, line, 4)
            memcpy(to + 4, line + 4 + code, length - 4 - code)
        else:
            memcpy(to, line, length)
        to += length - code
        line += length
        left -= length
    return made[:to - start]


cdef Py_ssize_t _code_in(const char *line, Py_ssize_t length) noexcept nogil:
    """Octets of the enhanced code behind the code of a reply's line, and of the space behind it; 0: there is none."""
    cdef Py_ssize_t text = length - 4
    cdef Py_ssize_t code
    if text <= 0 or (line[3] != SPACE and line[3] != HYPHEN):
        return 0
    while text > 0 and (line[3 + text] == LF or line[3 + text] == CR):
        text -= 1
    code = enhanced_at(line + 4, text, line[0])
    return code + 1 if code and code < text else code
