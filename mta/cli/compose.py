"""A message from a file or from what somebody typed: line ends, and the header fields that it lacks.

Owns: that form. Pure; the moment and the id are passed in. Never does: read, send, or change a field that is there.
"""

import re

from mta.clock import rfc5322_date
from mta.errors import DataError
from mta_ext.headers import scan_headers

#: A header field's first line: a name without spaces, then a colon (RFC 5322 §2.2).
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


def with_crlf(content: bytes) -> bytes:
    """Lines of a text file end in LF; those of a message in CRLF. Raises DataError for an empty message."""
    if not content:
        raise DataError("the message is empty")
    return b"\r\n".join(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))


def with_headers(content: bytes, author: str, now_ms: int, message_id: str) -> bytes:
    """Puts Date, Message-ID and From in front where they are missing; "" is no author. Needs CRLF line ends.

    A text that does not begin with a header field is all body: an empty line comes between.
    """
    bare = _FIELD.match(content) is None
    have = scan_headers(b"" if bare else content)
    fields = [
        ("Date", rfc5322_date(now_ms), have.has_date),
        ("Message-ID", f"<{message_id}>", have.has_message_id),
        ("From", f"<{author}>", have.has_from or not author),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value, there in fields if not there).encode()
    return head + (b"\r\n" if bare and not content.startswith(b"\r\n") else b"") + content
