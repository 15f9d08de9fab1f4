"""Delivery status notifications: multipart/report with a text for people, a status for programs, and the header
section of the message it is about, or all of it (RFC 3461, 3462, 3464, 6533).

Owns: the form of a report, and that nothing a remote or a sender wrote can leave its place in it: no line end, no
control, no line above 998 octets; what is not ASCII is shown as escapes, but to an address that is not ASCII itself,
whose report is *wide*: UTF-8, in the types of RFC 6533. Ids, boundary and moments are passed in.
Never does: decide whether a report is due, or queue it.
"""

import re
from collections.abc import Sequence

from mta.clock import rfc5322_date
from mta.model.message import Message, Recipient, RecipientState
from mta.model.spoolid import format_id

#: Octets of the original's header section that are sent back; more says nothing more about what went wrong.
HEADERS_LIMIT = 32 * 1024
#: Characters of a remote's reply that are shown.
REPLY_LIMIT = 1000
#: Our lines are folded here; lines of the original are cut where RFC 5321 §4.5.3.1.6 ends them.
FOLD = 76
LINE_LIMIT = 998
WORD_LIMIT = 800

_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_KNOWN_BY = re.compile(rb"^(?:message-id|date)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
#: What to report when no better status is known (RFC 3463): expired in the queue, refused, still trying.
_EXPIRED, _REFUSED, _DELAYED, _SUCCESS = "4.4.7", "5.0.0", "4.0.0", "2.0.0"
_SUBJECTS = {
    "failed": "Undelivered mail",
    "delayed": "Delayed mail (still trying)",
    "delivered": "Delivered mail",
    "relayed": "Relayed mail",
    "expanded": "Expanded mail",
}
_SAID = {
    "failed": "could not be delivered to the recipients below, and will not be tried again."
    " Please check the address, or reach the recipient in another way.",
    "delayed": "has not been delivered to the recipients below yet.",
    "delivered": "was delivered to the recipients below.",
    "relayed": "was handed to the servers of the recipients below, which do not report on deliveries.",
    "expanded": "was passed on to those who are behind the addresses below.",
}


def build_dsn(
    kind: str,
    message: Message,
    recipients: Sequence[Recipient],
    *,
    hostname: str,
    now_ms: int,
    headers: bytes,
    spool_id: int,
    give_up_at: int = 0,
    original: bytes | None = None,
) -> bytes:
    """The content of a report about some recipients of a message, CRLF throughout. ``kind``, its action: "failed",
    "delayed", "delivered", "relayed" (to a host that does not report) or "expanded" (to those behind an alias).

    It goes to ``message.reverse_path`` with the null reverse-path. ``spool_id`` is the report's own and makes its
    Message-ID and boundary. ``headers``: header section of the original, cut at HEADERS_LIMIT; ``original``: the whole,
    which takes its place where it can stand in a report. ``give_up_at`` (ms) is promised by a delayed report.
    ValueError for a report about a report or to nobody: such mail is only discarded (RFC 5321 §6.1). Unless the report
    is wide, any octet above 127 comes from ``headers`` or ``original``.
    """
    if kind not in _SUBJECTS:
        raise ValueError(f"a report is {', '.join(_SUBJECTS)}, not {kind}")
    if message.generated or not message.reverse_path:
        raise ValueError("there is nobody to report to")
    if not recipients:
        raise ValueError("a report needs a recipient to report about")
    wide = not message.reverse_path.isascii()
    boundary = f"=_{format_id(spool_id)}"
    returned_type, what, returned = _returned_part(message, headers, original)
    while b"--" + boundary.encode() in returned:
        boundary += "="
    host = _inline(hostname)
    parts = [
        (f"text/plain; charset={'utf-8' if wide else 'us-ascii'}", "Notification",
         _text(kind, message, recipients, host, give_up_at, wide)),
        (f"message/{'global-' if wide else ''}delivery-status", "Delivery report",
         _status_part(kind, message, recipients, host, now_ms, give_up_at, wide)),
        (returned_type, what, returned),
    ]  # fmt: skip
    seven_bit = all(body.isascii() for _, _, body in parts)
    out = [_head(kind, message, recipients, host, now_ms, format_id(spool_id), boundary, seven_bit)]
    for content_type, description, body in parts:
        encoding = "" if body.isascii() else "\r\nContent-Transfer-Encoding: 8bit"
        part = f"\r\n--{boundary}\r\nContent-Type: {content_type}{encoding}\r\nContent-Description: {description}"
        out += [part.encode("ascii"), b"\r\n\r\n", body]
    out.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    return b"".join(out)


def _returned_part(message: Message, headers: bytes, original: bytes | None) -> tuple[str, str, bytes]:
    """Content-Type, description and body of what is sent back. A message that cannot stand in another as it is (it is
    binary, or its lines are too long) gives its header section only."""
    if original is not None:
        ends = original.count(b"\r\n")
        lines = original.count(b"\r") == ends == original.count(b"\n") and b"\0" not in original
        if lines and max(map(len, original.split(b"\r\n"))) <= LINE_LIMIT:
            head = original.partition(b"\r\n\r\n")[0]
            body = original if original.endswith(b"\r\n") else original + b"\r\n"
            return f"message/{'rfc822' if head.isascii() else 'global'}", "Your message", body
    returned = _returned(headers)
    wide = message.smtputf8 and not returned.isascii()
    return "message/global-headers" if wide else "text/rfc822-headers", "Headers of your message", returned


def _head(
    kind: str,
    message: Message,
    recipients: Sequence[Recipient],
    host: str,
    now_ms: int,
    message_id: str,
    boundary: str,
    seven_bit: bool,
) -> bytes:
    """The report's own header section, with the line that readers without MIME see."""
    wide = not message.reverse_path.isascii()
    status = "global-delivery-status" if wide else "delivery-status"
    lines = [
        f"From: Mail delivery <MAILER-DAEMON@{host}>",
        f"To: <{_shown(message.reverse_path, wide)[:WORD_LIMIT]}>",
        f"Subject: {_subject(kind, recipients)}",
        f"Date: {rfc5322_date(now_ms)}",
        f"Message-ID: <{message_id}@{host}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={status};\r\n boundary="{boundary}"',
        *([] if seven_bit else ["Content-Transfer-Encoding: 8bit"]),
        "",
        "This is a report in MIME format.",
    ]
    return "\r\n".join([*lines, ""]).encode()


def _subject(kind: str, recipients: Sequence[Recipient]) -> str:
    count = "1 recipient" if len(recipients) == 1 else f"{len(recipients)} recipients"
    return f"{_SUBJECTS[kind]}: {count}"


# ---- the part for people ---------------------------------------------------------------------------------------


def _text(
    kind: str, message: Message, recipients: Sequence[Recipient], host: str, give_up_at: int, wide: bool
) -> bytes:
    lines = [f"This is the mail server {host}.", ""]
    said = f"Your message of {rfc5322_date(message.arrival)} {_SAID[kind]}"
    if kind == "delayed":
        until = f" until {rfc5322_date(give_up_at)}" if give_up_at else ""
        said += f" There is nothing that you need to do: the server goes on trying{until}."
    lines += _wrapped("", said)
    for recipient in recipients:
        lines += ["", f"<{_shown(recipient.forward_path, wide)}>"]
        if kind != "expanded":
            lines += _wrapped("    ", _reason(kind, recipient))
    return "\r\n".join([*lines, ""]).encode()


def _reason(kind: str, recipient: Recipient) -> str:
    remote = _remote(recipient)
    who = f"{_inline(remote)} said: " if remote and recipient.last_code else ""
    what = _diagnostic(recipient) or "no answer was noted"
    given_up = "Given up after too many attempts. The last one: " if recipient.state is RecipientState.EXPIRED else ""
    return f"{given_up}{who}{what}"


def _remote(recipient: Recipient) -> str:
    """Who answered; "" for a unix socket: no remote, and where it lies is no affair of the sender's."""
    return "" if recipient.last_remote.startswith("/") else recipient.last_remote


# ---- the part for programs (RFC 3464) --------------------------------------------------------------------------


def _status_part(
    kind: str,
    message: Message,
    recipients: Sequence[Recipient],
    host: str,
    now_ms: int,
    give_up_at: int,
    wide: bool,
) -> bytes:
    about_message = []
    if message.envid:
        about_message.append(("Original-Envelope-Id", _from_xtext(message.envid)))
    about_message += [("Reporting-MTA", f"dns; {host}"), ("Arrival-Date", rfc5322_date(message.arrival))]
    groups = [
        about_message,
        *(_recipient_fields(kind, recipient, now_ms, give_up_at, wide) for recipient in recipients),
    ]
    # Each group ends in an empty line; the last one's belongs to the boundary.
    return b"\r\n".join(b"".join(_field(name, value, wide) for name, value in group) for group in groups)


def _recipient_fields(
    kind: str, recipient: Recipient, now_ms: int, give_up_at: int, wide: bool
) -> list[tuple[str, str]]:
    fields = []
    if recipient.orcpt:
        address_type, _, address = recipient.orcpt.rpartition(";")
        decoded = _from_xtext(address)
        fields.append(("Original-Recipient", f"{address_type or 'rfc822'}; {decoded if wide else to_unitext(decoded)}"))
    path = recipient.forward_path
    final = f"rfc822; {path}" if path.isascii() else f"utf-8; {path if wide else to_unitext(path)}"
    fields += [("Final-Recipient", final), ("Action", kind), ("Status", status_of(kind, recipient))]
    if remote := _remote(recipient):
        fields.append(("Remote-MTA", f"dns; {remote}"))
    diagnostic = _diagnostic(recipient)
    if diagnostic and kind != "expanded":
        fields.append(("Diagnostic-Code", f"{'smtp' if recipient.last_code else 'x-hermes'}; {diagnostic}"))
    fields.append(("Last-Attempt-Date", rfc5322_date(recipient.last_attempt or now_ms)))
    if kind == "delayed" and give_up_at:
        fields.append(("Will-Retry-Until", rfc5322_date(give_up_at)))
    return fields


def status_of(kind: str, recipient: Recipient) -> str:
    """The enhanced status to report: what the last attempt met, else the general one of its class (RFC 3463).

    An expired recipient keeps the transient status of its last attempt, which tells more than "expired"."""
    if kind not in ("failed", "delayed"):
        found = _STATUS.fullmatch(recipient.last_status)
        return recipient.last_status if found and recipient.last_status[0] == "2" and kind != "expanded" else _SUCCESS
    expired = recipient.state is RecipientState.EXPIRED
    classes = "4" if kind == "delayed" else "45" if expired else "5"
    found = _STATUS.fullmatch(recipient.last_status)
    if found and recipient.last_status[0] in classes and not (expired and recipient.last_status.endswith(".0.0")):
        return recipient.last_status
    return _DELAYED if kind == "delayed" else _EXPIRED if expired else _REFUSED


def _diagnostic(recipient: Recipient) -> str:
    """``550 5.1.1 no such user``, from a text with or without its codes."""
    text = _inline(recipient.last_reply)[:REPLY_LIMIT]
    if not recipient.last_code or text.startswith(str(recipient.last_code)):
        return text
    if recipient.last_status and not text.startswith(recipient.last_status):
        text = f"{_inline(recipient.last_status)} {text}"
    return f"{recipient.last_code} {text}".rstrip()


# ---- octets ----------------------------------------------------------------------------------------------------


def _inline(text: str) -> str:
    """One line of ASCII: controls are spaces, everything else beyond ASCII an escape such as ``\\u2028``."""
    return _CONTROLS.sub(" ", text).encode("ascii", "backslashreplace").decode("ascii")


def _shown(text: str, wide: bool) -> str:
    """One line, of ASCII unless the report is wide."""
    return _CONTROLS.sub(" ", text).encode("utf-8", "replace").decode() if wide else _inline(text)


def to_xtext(text: str) -> str:
    """An address as a value of ORCPT (RFC 3461 §4), with its type: ``rfc822;user+2Btag@minasi.example``."""
    if not text.isascii():
        return f"utf-8;{to_unitext(text)}"
    return "rfc822;" + "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text)


def to_unitext(text: str) -> str:
    """UTF-8 in ASCII (RFC 6533 §3): ``\\x{FC}`` for what is not, and what would look like that; ASCII stays."""
    if text.isascii():
        return text
    return "".join(c if "!" <= c <= "~" and c not in "\\+=" else f"\\x{{{ord(c):02X}}}" for c in text)


def _from_xtext(text: str) -> str:
    """Decoded xtext (RFC 3461 §4); what it hides is cleaned by ``_field`` like all else."""
    return _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)


def _field(name: str, value: str, wide: bool) -> bytes:
    return "\r\n ".join(_wrapped("", f"{name}: {_shown(value, wide)}")).encode() + b"\r\n"


def _wrapped(indent: str, text: str) -> list[str]:
    """Lines broken at spaces, at most FOLD characters where words allow it; only a word of WORD_LIMIT is cut.

    What ends in a colon or semicolon keeps its value beside it, also on a line that gets long: programs read it."""
    lines, line = [], indent
    for word in text.split():
        for piece in (word[i : i + WORD_LIMIT] for i in range(0, len(word), WORD_LIMIT)):
            gap = "" if line == indent else " "
            if line == indent or len(line) + 1 + len(piece) <= FOLD or (line[-1] in ":;" and len(line) <= FOLD):
                line += gap + piece
            else:
                lines.append(line)
                line = indent + piece
    return [*lines, line]


def redacted(headers: bytes) -> bytes:
    """Of a header section only what the sender knows the message by: what had to travel under TLS all the way must
    not come back in the clear (RFC 8689 §5)."""
    return b"".join(_KNOWN_BY.findall(headers))


def _returned(headers: bytes) -> bytes:
    """The original's header section: whole lines up to the limit, each short enough, no NUL, CRLF ends."""
    section = headers.partition(b"\r\n\r\n")[0]
    if len(section) > HEADERS_LIMIT:
        section = section[: section.rfind(b"\r\n", 0, HEADERS_LIMIT) + 2] if b"\r\n" in section[:HEADERS_LIMIT] else b""
    lines = [line.replace(b"\r", b" ").replace(b"\0", b" ")[:LINE_LIMIT] for line in re.split(b"\r?\n", section)]
    while lines and not lines[-1].strip():
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
