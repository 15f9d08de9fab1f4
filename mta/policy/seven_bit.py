"""8-bit and binary content for a host that takes neither: the same message in quoted-printable or base64 (RFC 6152 §3,
RFC 3030 §3, RFC 2045).

Owns: which parts are encoded and how, and the fields that tell of it. What is clean already stays as it is, octet by
octet; the octets of a decoded part are those of the original. A signed message is refused rather than broken. Pure; any
thread; takes 30 to 40 ms a MiB. Never does: touch the octets of a header field, or decide whether this is needed
(``mta.policy.offer``).
"""

import base64
import binascii
import re
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Final, NamedTuple

#: Parts within parts; deeper nesting is nobody's mail.
DEPTH_LIMIT: Final = 32
#: Octets of a line without its end (RFC 5321 §4.5.3.1.6): a longer one is binary.
LINE_LIMIT: Final = 998
#: Octets above 127 in a text, as one of so many, up to which quoted-printable is the shorter and more readable form.
READABLE: Final = 6
_IDENTITY: Final = ("", "7bit", "8bit", "binary")
_LONG: Final = re.compile(rb"[^\r\n]{%d}" % (LINE_LIMIT + 1))
_FIELD: Final = re.compile(rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_MECHANISM_END: Final = re.compile(r"[;(\s]")
_SECTION_END: Final = b"\r\n\r\n"


class Unconvertible(Exception):
    """There is no way that keeps the message what it is. ``status``: RFC 3463."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class _Entity(NamedTuple):
    """A message or a part of one: its fields as they are, the same parsed, its body."""

    head: bytes
    fields: Message
    body: bytes


def seven_bit(content: bytes) -> bytes:
    """The content with a body of ASCII in lines of at most 998 octets. Raises Unconvertible."""
    entity = _split(content)
    if _is_clean(entity.body) and _encoding(entity.fields) in ("", "7bit"):
        return content
    head, body = _converted(entity, "text/plain", 0)
    if "MIME-Version" not in entity.fields:
        head += b"MIME-Version: 1.0\r\n"
        if "Content-Type" not in entity.fields:
            head += b"Content-Type: text/plain; charset=unknown-8bit\r\n"  # RFC 1428 §3
    return b"%s\r\n%s" % (head, body)


def _split(octets: bytes) -> _Entity:
    if octets.startswith(b"\r\n"):
        head, body = b"", octets[2:]
    else:
        head, end, body = octets.partition(_SECTION_END)
        head += b"\r\n" if end or not head.endswith(b"\r\n") else b""
    return _Entity(head, BytesHeaderParser().parsebytes(head), body)


def _is_clean(body: bytes) -> bool:
    ends = body.count(b"\r\n")
    return (
        body.isascii()
        and b"\0" not in body
        and body.count(b"\r") == ends == body.count(b"\n")
        and _LONG.search(body) is None
    )


def _encoding(fields: Message) -> str:
    """Without a comment behind it (RFC 2045 §6.1), or parameters, which some write."""
    return _MECHANISM_END.split(str(fields.get("Content-Transfer-Encoding", "")).strip(), maxsplit=1)[0].lower()


def _converted(entity: _Entity, default: str, depth: int) -> tuple[bytes, bytes]:
    """Head and body of the entity as it goes out."""
    if depth > DEPTH_LIMIT:
        raise Unconvertible("5.6.1", f"the content is nested more than {DEPTH_LIMIT} deep")
    kind = entity.fields.get_content_type() if "Content-Type" in entity.fields else default
    encoding = _encoding(entity.fields)
    if _is_clean(entity.body):
        return (entity.head if encoding in ("", "7bit") or encoding not in _IDENTITY else _told(entity, b"7bit")), (
            entity.body
        )
    if encoding not in _IDENTITY:
        raise Unconvertible("5.6.1", f"a part says that it is {encoding[:40]!a}, and is not")
    if kind == "multipart/signed":
        raise Unconvertible("5.6.3", "a signed message is not converted, as that would break the signature")
    if kind.startswith("multipart/"):
        return _told(entity, b"7bit"), _parts(entity, kind, depth)
    if kind == "message/rfc822":
        head, body = _converted(_split(entity.body), "text/plain", depth + 1)
        return _told(entity, b"7bit"), b"%s\r\n%s" % (head, body)
    if kind in ("message/partial", "message/external-body"):
        raise Unconvertible("5.6.3", f"a part of the type {kind} cannot be encoded")
    return _leaf(entity, kind)


def _parts(entity: _Entity, kind: str, depth: int) -> bytes:
    """Preamble and epilogue, which nobody is shown, are left out."""
    boundary = entity.fields.get_boundary()
    if not boundary:
        raise Unconvertible("5.6.1", "a part of many has no boundary")
    if not boundary.isascii():
        raise Unconvertible("5.6.1", "the boundary of a part of many is not ASCII")
    mark = b"--" + boundary.encode("ascii")
    delimiters = list(re.finditer(rb"(?:\A|\r\n)%s(--)?[ \t]*(?=\r\n|\Z)" % re.escape(mark), entity.body))
    default = "message/rfc822" if kind == "multipart/digest" else "text/plain"
    out = []
    for number, delimiter in enumerate(delimiters):
        if delimiter[1]:
            break
        start = delimiter.end() + 2
        end = delimiters[number + 1].start() if number + 1 < len(delimiters) else len(entity.body)
        head, body = _converted(_split(entity.body[start : max(start, end)]), default, depth + 1)
        out.append(b"%s\r\n%s\r\n%s\r\n" % (mark, head, body))
    if not out:
        raise Unconvertible("5.6.1", "the boundary of a part of many is nowhere in it")
    return b"%s%s--\r\n" % (b"".join(out), mark)


def _leaf(entity: _Entity, kind: str) -> tuple[bytes, bytes]:
    body = entity.body
    ends = body.count(b"\r\n")
    lines = b"\0" not in body and body.count(b"\r") == ends == body.count(b"\n")
    high = len(body) - len(body.translate(None, bytes(range(128, 256))))
    if kind.startswith("text/") and lines and high * READABLE <= len(body):
        # Without any line end it takes LF for ours.
        encoded = binascii.b2a_qp(body) if ends else binascii.b2a_qp(body).replace(b"\n", b"\r\n")
        return _told(entity, b"quoted-printable"), encoded
    return _told(entity, b"base64"), base64.encodebytes(body).replace(b"\n", b"\r\n")


def _told(entity: _Entity, encoding: bytes) -> bytes:
    """The head with its Content-Transfer-Encoding; all other fields as they were."""
    others = [
        field
        for field in _FIELD.findall(entity.head)
        if field.partition(b":")[0].strip().lower() != b"content-transfer-encoding"
    ]
    return b"%sContent-Transfer-Encoding: %s\r\n" % (b"".join(others), encoding)
