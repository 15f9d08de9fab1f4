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

_second = 0
_date = b""


def _date_text(ms: int) -> bytes:
    global _second, _date
    second = ms // 1000
    if second != _second:
        _second, _date = second, rfc5322_date(ms).encode("ascii")
    return _date


def received_field(
    hello_name: str, address: str, hostname: str, protocol: str, spool_id: str, forward_path: str | None, now: int
) -> bytes:
    """``Received: from … by … with … id … [for …]; date`` in three lines, CRLF at the end.

    ``forward_path`` is named only when it is the only recipient, so that a blind copy stays blind. ``now`` in ms.
    """
    if _PLAIN_NAME.fullmatch(hello_name) is None:
        hello_name = _UNSAFE_IN_NAME.sub("?", hello_name[:SHOWN]) or "unknown"
    literal = f"IPv6:{address}" if ":" in address else address
    to = f"\r\n\tfor <{_UNSAFE_IN_PATH.sub('?', forward_path[:SHOWN])}>" if forward_path is not None else ""
    head = f"Received: from {hello_name} ([{literal}])\r\n\tby {hostname} (Hermes) with {protocol} id {spool_id}{to};"
    return b"%b\r\n\t%b\r\n" % (head.encode("ascii", "replace"), _date_text(now))
