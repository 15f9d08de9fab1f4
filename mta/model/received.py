"""The trace field that reception puts at the head of a message (RFC 5321 §4.4).

Owns: its form, and that nothing a client says can leave it: no line end, no bracket, no line above 998 octets.
Never does: read the clock. The date's text is made once a second. Loop thread only (the memo).
"""

import re

from mta.clock import rfc5322_date

#: Characters of the client's name and of a forward-path that are shown; the rest is cut, so that no line is too long.
SHOWN = 255

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}")
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9_.:\[\]-]")
_UNSAFE_IN_PATH = re.compile(r"[^!-;=?-~]")
#: In a message whose header may have UTF-8 (RFC 6532): all but controls, white space and brackets.
_UNSAFE_IN_UTF8_PATH = re.compile(r"[\x00-\x20<>\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_UNSAFE_IN_WORD = re.compile(r"[^A-Za-z0-9_.:-]")

_second = 0
_date = b""


def _date_text(ms: int) -> bytes:
    global _second, _date
    second = ms // 1000
    if second != _second:
        _second, _date = second, rfc5322_date(ms).encode("ascii")
    return _date


def received_field(
    hello_name: str,
    address: str,
    hostname: str,
    protocol: str,
    spool_id: str,
    forward_path: str | None,
    now: int,
    tls: tuple[str, str] | None = None,
) -> bytes:
    """``Received: from … by … with … id … [(version=… cipher=…)] [for …]; date`` in up to four lines, CRLF at the end.

    ``forward_path`` is named only when it is the only recipient, so that a blind copy stays blind. ``protocol``: see
    ``protocol_name``; with UTF-8 in it the path is shown as it is. ``now`` in ms. ``tls``: version and cipher.
    """
    if _PLAIN_NAME.fullmatch(hello_name) is None:
        hello_name = _UNSAFE_IN_NAME.sub("?", hello_name[:SHOWN]) or "unknown"
    literal = f"IPv6:{address}" if ":" in address else address
    to = ""
    if forward_path is not None:
        unsafe = _UNSAFE_IN_UTF8_PATH if protocol.startswith("UTF8") else _UNSAFE_IN_PATH
        to = f"\r\n\tfor <{unsafe.sub('?', forward_path[:SHOWN])}>"
    channel = f"\r\n\t(version={_word(tls[0])} cipher={_word(tls[1])})" if tls is not None else ""
    by = f"by {hostname} (Hermes) with {protocol} id {spool_id}"
    head = f"Received: from {hello_name} ([{literal}])\r\n\t{by}{channel}{to};"
    return b"%b\r\n\t%b\r\n" % (head.encode(), _date_text(now))


def protocol_name(*, extended: bool, utf8: bool, tls: bool, login: bool) -> str:
    """The keyword behind ``with`` (RFC 3848, RFC 6531 §4.3): ``ESMTPSA`` and so on. There is none for HELO under
    TLS."""
    if not extended:
        return "SMTP"
    return f"{'UTF8SMTP' if utf8 else 'ESMTP'}{'S' if tls else ''}{'A' if login else ''}"


def _word(text: str) -> str:
    return _UNSAFE_IN_WORD.sub("?", text)
