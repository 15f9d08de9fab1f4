"""Distinguished names as text (RFC 4514), and the form in which two of them are compared.

Owns: reading, writing and folding of names. Never does: look anything up.
"""

import re
from typing import Final

from mta.ldap.schema import attribute, fold, fold_as

#: A name for comparing: per level, from the entry up, its (attribute, folded value) pairs in order.
Key = tuple[tuple[tuple[str, str], ...], ...]

_TYPE: Final = re.compile(r" *(?:oid\.)?([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*) *= *", re.IGNORECASE)
_PIECE: Final = re.compile(r"\\([0-9A-Fa-f]{2})|\\([ \"#+,;<=>\\])|([^\\\"+,;<>\x00]+)")
#: A sharp sign must be escaped at the beginning only; some readers want it everywhere.
_SPECIAL: Final = re.compile(r'[\\"#+,;<>=\x00-\x1f\x7f]')


class BadName(Exception):
    """Not a distinguished name."""


def escape(value: str) -> str:
    """``value`` as it stands in a name."""
    text = _SPECIAL.sub(_escaped, value)
    if text.startswith(" "):
        text = "\\" + text
    if len(value) > 1 and value.endswith(" "):
        text = text[:-1] + "\\ "
    return text


def _escaped(hit: re.Match[str]) -> str:
    sign = hit[0]
    return f"\\{ord(sign):02X}" if sign < " " or sign == "\x7f" else "\\" + sign


def key(name: str) -> Key:
    """``name`` in the form for comparing; "" is the empty one. Raises BadName."""
    if not name.strip(" "):
        return ()
    levels: list[tuple[tuple[str, str], ...]] = []
    level: list[tuple[str, str]] = []
    at = 0
    while True:
        kind = _TYPE.match(name, at)
        if kind is None:
            raise BadName(name)
        text, at = _value(name, kind.end())
        known = attribute(kind[1])
        level.append((known.name, fold_as(known, text)) if known else (kind[1].lower(), fold(text)))
        if at < len(name) and name[at] == "+":
            at += 1
            continue
        levels.append(tuple(sorted(level)))
        level = []
        if at == len(name):
            return tuple(levels)
        at += 1


def _value(name: str, at: int) -> tuple[str, int]:
    """The value that begins at ``at``, and where what ends it is: a comma (or the semicolon of older clients), a plus
    or the end. Octets, since escaped pairs of hexadecimal digits are octets of UTF-8."""
    octets = bytearray()
    kept = 0  # octets up to which spaces are the value's own, being escaped
    while at < len(name) and name[at] not in ",;+":
        piece = _PIECE.match(name, at)
        if piece is None:
            raise BadName(name)
        if piece[3]:
            octets += piece[3].encode()
        else:
            octets += bytes.fromhex(piece[1]) if piece[1] else piece[2].encode()
            kept = len(octets)
        at = piece.end()
    while len(octets) > kept and octets[-1:] == b" ":
        octets.pop()
    try:
        return octets.decode(), at
    except UnicodeDecodeError:
        raise BadName(name) from None
