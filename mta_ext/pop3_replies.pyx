"""What the POP3 session says of itself: whole replies, made once.

Owns: their response codes (RFC 2449 §8, 3206) and texts. Never does: decide which one is said.
"""

OK = b"+OK\r\n"
BYE = b"+OK bye\r\n"
SEND_PASS = b"+OK send PASS\r\n"
LOGGED_IN = b"+OK logged in\r\n"
BEGIN_TLS = b"+OK begin TLS\r\n"
UTF8_ON = b"+OK UTF-8 it is\r\n"
INTERNAL_ERROR = b"-ERR [SYS/TEMP] internal error\r\n"
TOO_MANY_ERRORS = b"-ERR too many errors\r\n"
UNKNOWN_COMMAND = b"-ERR command not recognized\r\n"
BAD_SEQUENCE = b"-ERR not now\r\n"
BAD_ARGUMENT = b"-ERR syntax error in arguments\r\n"
BAD_OCTET = b"-ERR 8-bit octet in a command\r\n"
BAD_UTF8 = b"-ERR neither controls nor anything but UTF-8 in a name or password\r\n"
LINE_TOO_LONG = b"-ERR line too long\r\n"
BARE_REPLY = b"-ERR CR and LF may only come together\r\n"
NUL_REPLY = b"-ERR NUL in a command\r\n"
TOO_EARLY = b"-ERR wait for the greeting\r\n"
NEEDS_TLS = b"-ERR passwords in clear text need TLS\r\n"
NO_APOP = b"-ERR APOP is not offered\r\n"
NO_STLS = b"-ERR STLS is not offered\r\n"
NO_MECHANISM = b"-ERR mechanism not offered\r\n"
NO_LANGUAGE = b"-ERR language not known\r\n"
NO_MESSAGE = b"-ERR no such message\r\n"
USER_FIRST = b"-ERR USER first\r\n"
CANCELLED = b"-ERR exchange cancelled\r\n"
BAD_BASE64 = b"-ERR not base 64\r\n"
EXCHANGE_TOO_LONG = b"-ERR exchange too long\r\n"

# What LANG says to a tag in lower case (RFC 6856 §3); "" asks for the list.
LANGUAGES = {
    b"": b"+OK languages follow\r\nen English\r\ni-default English\r\n.\r\n",
    b"en": b"+OK en English it is\r\n",
    b"*": b"+OK i-default English it is\r\n",
    b"i-default": b"+OK i-default English it is\r\n",
}
