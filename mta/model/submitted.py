"""What a submission server may do to a message (RFC 6409 §8): missing fields are added, blind copies taken out.

Owns: exactly that, on a header section in octets; every other octet stays as it is, so that signatures hold.
Never does: read the clock, or touch a body.
"""

import re

from mta.clock import rfc5322_date
from mta_ext.headers import scan_headers

_BLIND = re.compile(rb"^(?:resent-)?bcc[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)


def head_end(content: bytes, since: int = 0) -> int:
    """Where the header section of ``content`` ends, its last line end included; -1: not in what is there. ``since``:
    octets that have been looked at before."""
    if content.startswith(b"\r\n"):
        return 0
    found = content.find(b"\r\n\r\n", max(0, since - 3))
    return found + 2 if found >= 0 else -1


def without_blind_copies(head: bytes) -> bytes:
    """A header section without its Bcc and Resent-Bcc fields."""
    return _BLIND.sub(b"", head) if b"bcc" in head.lower() else head


def missing_fields(head: bytes, spool_id: str, hostname: str, now: int) -> bytes:
    """Date and Message-ID, as far as the header section has none. ``now`` in ms."""
    found = scan_headers(head)
    date = b"" if found.has_date else f"Date: {rfc5322_date(now)}\r\n".encode()
    return date + (b"" if found.has_message_id else f"Message-ID: <{spool_id}@{hostname}>\r\n".encode())
