"""The trace field that reception puts at the head of a message (RFC 5321 §4.4).

Owns: its form. Never does: read the clock. The date's text is made once a second. Loop thread only (the memo).
"""

from mta.clock import rfc5322_date

#: Characters of the client's name and of a forward-path that are shown; the rest is cut, so that no line is too long.
SHOWN = 255

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
    if not hello_name.isalnum():
        hello_name = _plain(hello_name)
    literal = f"IPv6:{address}" if ":" in address else address
    to = f"\r\n\tfor <{forward_path[:SHOWN]}>" if forward_path is not None else ""
    head = f"Received: from {hello_name} ([{literal}])\r\n\tby {hostname} (Hermes) with {protocol} id {spool_id}{to};\r\n\t"
    return b"%b%b\r\n" % (head.encode("utf-8", "replace"), _date_text(now))


def _plain(name: str) -> str:
    """The client's name as it may stand in a comment-free field: printable, no brackets, bounded."""
    return "".join(c if c.isalnum() or c in ".-_:[]" else "?" for c in name[:SHOWN]) or "unknown"
