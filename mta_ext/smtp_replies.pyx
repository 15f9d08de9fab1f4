"""What the SMTP server session says of itself: whole replies, made once.

Owns: their codes (RFC 5321 §4.2), enhanced codes (RFC 3463) and texts. Never does: decide which one is said.
"""

OK = b"250 2.0.0 ok\r\n"
MAIL_OK = b"250 2.1.0 ok\r\n"
RCPT_OK = b"250 2.1.5 ok\r\n"
GO_AHEAD = b"354 end data with <CRLF>.<CRLF>\r\n"
BYE = b"221 2.0.0 bye\r\n"
CANNOT_VERIFY = b"252 2.1.5 cannot verify, but send some mail and see\r\n"
HELP = b"214 2.0.0 see RFC 5321\r\n"
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
