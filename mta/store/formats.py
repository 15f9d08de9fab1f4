"""How other programs keep mailboxes: Maildir names and mbox files; and what a listing shows of a message.

Owns: names, quoting, line ends, reading of both. Never does: IO. On the way out lines end as on this machine (LF), on
the way in they end in CRLF again, so that what was exported is imported octet for octet.

mbox is mboxrd: lines that look like ``From `` behind any number of ``>`` get one more, and lose it again. Its first
header field is ``X-UIDL`` with the unique-id; one that stands there and is of ours is taken off again. A Maildir name
carries the unique-id behind a ``U``: ``1795773600.M123456P4711U06H0PNA5B4000.hermes.example,S=1234:2,``.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import NamedTuple

from mta.clock import LAST_MOMENT
from mta.errors import DataError
from mta.model.spoolid import format_id, parse_id

#: Characters of a field that a listing shows.
SHOWN = 200

_MAILDIR = re.compile(r"(\d{1,12})\.(?:M(\d{1,6}))?[^:,]*?(?:U([0-9A-F][0-9A-HJKMNP-TV-Z]{12}))?\.")
_LOOKS_LIKE_FROM = re.compile(rb"^(>*From )", re.MULTILINE)
_QUOTED_FROM = re.compile(rb">+From ")
_LONE_LF = re.compile(rb"(?<!\r)\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_FIELD = re.compile(rb"^(from|subject)[ \t]*:[ \t]*(.*?)\r?$", re.IGNORECASE | re.MULTILINE)
_X_UIDL = re.compile(rb"X-UIDL: ([0-9A-F][0-9A-HJKMNP-TV-Z]{12})\r?\n")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


class Letter(NamedTuple):
    """A message on its way in or out. ``uid`` 0: it brings none. ``arrival``: ms since 1970, 0: not known. Line ends
    are CRLF."""

    content: bytes
    uid: int = 0
    arrival: int = 0


class UnixLines:
    """CRLF to LF, in pieces."""

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, octets: bytes) -> bytes:
        octets = self._kept + octets
        self._kept = b"\r" if octets.endswith(b"\r") else b""
        return octets[: len(octets) - len(self._kept)].replace(b"\r\n", b"\n")

    def finish(self) -> bytes:
        """What was kept, since a LF might have followed."""
        kept, self._kept = self._kept, b""
        return kept


def network_lines(octets: bytes) -> bytes:
    """LF to CRLF; CRLF stays."""
    return _LONE_LF.sub(b"\r\n", octets)


# Maildir


def maildir_name(arrival: int, uid: int, host: str, pid: int) -> str:
    """The unique part of a name; it is the same for every export by one process. ``arrival`` in ms."""
    host = host.replace("/", r"\057").replace(":", r"\072")
    return f"{arrival // 1000}.M{arrival % 1000 * 1000}P{pid}U{format_id(uid)}.{host}"


def maildir_letter(name: str, octets: bytes) -> Letter:
    """A file of a Maildir: ``name`` may tell when it arrived and its unique-id, whoever wrote it."""
    met = _MAILDIR.match(name)
    if met is None:
        return Letter(network_lines(octets))
    arrival = int(met[1]) * 1000 + int(met[2] or 0) // 1000
    return Letter(network_lines(octets), parse_id(met[3]) if met[3] else 0, arrival)


# mbox


def mbox_head(uid: int, arrival: int, sender: str) -> bytes:
    """The separator line and the field with the unique-id."""
    date = datetime.fromtimestamp(min(arrival / 1000, LAST_MOMENT), UTC).strftime("%a %b %e %H:%M:%S %Y")
    who = re.sub(r"[^!-~]", "?", sender) or "MAILER-DAEMON"
    return f"From {who} {date}\nX-UIDL: {format_id(uid)}\n".encode()


class MboxLines:
    """A message with LF line ends into an mbox, in pieces. A line is looked at whole."""

    def __init__(self) -> None:
        self._line = b""
        self._at_start = True

    def feed(self, octets: bytes) -> bytes:
        octets = self._line + octets
        cut = octets.rfind(b"\n") + 1
        self._line = octets[cut:]
        return _LOOKS_LIKE_FROM.sub(rb">\1", octets[:cut])

    def finish(self) -> bytes:
        """The end of the message and the empty line behind it."""
        last, self._line = self._line, b""
        return _LOOKS_LIKE_FROM.sub(rb">\1", last) + (b"\n" if last else b"") + b"\n"


def mbox_letters(lines: Iterable[bytes], limit: int) -> Iterator[Letter]:
    """The messages of an mbox. ``lines``: in order, whole or in parts; ``limit``: octets of one message. Raises
    DataError for what is no mbox, or a message beyond the limit."""
    head: bytes | None = None
    parts: list[bytes] = []
    octets = number = 0
    at_start, after_empty = True, True
    for line in lines:
        if at_start and after_empty and line.startswith(b"From "):
            if head is not None:
                yield _mbox_letter(head, parts)
            head, parts, octets = line, [], 0
            number += 1
        elif head is None:
            if line.strip():
                raise DataError('not an mbox: its first line does not begin with "From "')
        else:
            octets += len(line)
            if octets > limit:
                raise DataError(f"message {number} of the mbox is larger than {limit} octets (limits.message_size)")
            parts.append(line[1:] if at_start and _QUOTED_FROM.match(line) else line)
        after_empty = at_start and line in (b"\n", b"\r\n")
        at_start = line.endswith(b"\n")
    if head is not None:
        yield _mbox_letter(head, parts)


def _mbox_letter(head: bytes, parts: list[bytes]) -> Letter:
    if parts and parts[-1] in (b"\n", b"\r\n"):
        parts.pop()  # it belongs to the separator
    uid = 0
    if parts and (met := _X_UIDL.fullmatch(parts[0])):
        uid = parse_id(met[1].decode())
        del parts[0]
    return Letter(network_lines(b"".join(parts)), uid, _mbox_arrival(head))


def _mbox_arrival(head: bytes) -> int:
    """The date of a separator line, taken as UTC; 0 when it is in no form that we know."""
    words = head.decode("latin-1").split()[-5:]
    try:
        when = datetime.strptime(" ".join(words), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return max(0, int(when.timestamp()) * 1000)


# What a listing shows


def summary(beginning: bytes) -> tuple[str, str]:
    """(From, Subject) of a message, as text for one line of a terminal; "" where there is none."""
    header = _FOLD.sub(b" ", re.split(rb"\r?\n\r?\n", beginning, maxsplit=1)[0])
    found: dict[bytes, bytes] = {}
    for name, value in _FIELD.findall(header):
        found.setdefault(name.lower(), value)
    return _readable(found.get(b"from", b"")), _readable(found.get(b"subject", b""))


def _readable(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    try:
        text = str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        pass  # it is shown as it stands
    return _UNSEEN.sub(" ", text).strip()[:SHOWN]
