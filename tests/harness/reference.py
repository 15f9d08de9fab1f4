"""The slow and obvious way to read content, as an oracle for the fast one.

Owns: nothing. It is written from RFC 5321 §4.5.2 with ``find`` and ``split``, on whole inputs only, so that it can be
seen to be right. Never does: limits, sessions or speed.
"""

from typing import NamedTuple


class Split(NamedTuple):
    """Content up to its end: unstuffed, how many octets it took with its dot line, and what was noticed."""

    content: bytes
    consumed: int
    bare: bool
    dotted: bool
    longest_line: int


def split_content(data: bytes) -> Split | None:
    """What ``data``, which begins right behind DATA, holds up to the first end of content; None without an end."""
    if data.startswith(b".\r\n"):
        raw, consumed = b"", 3
    else:
        end = data.find(b"\r\n.\r\n")
        if end < 0:
            return None
        raw, consumed = data[: end + 2], end + 5
    lines = raw.split(b"\r\n")
    bare = any(b"\r" in line or b"\n" in line for line in lines)
    plain = [line[1:] if line.startswith(b".") else line for line in lines]
    return Split(
        b"\r\n".join(plain),
        consumed,
        bare,
        any(line.startswith(b".") for line in plain),
        max(len(line) + 2 for line in plain[:-1]) if len(plain) > 1 else 0,
    )


def split_chunks(data: bytes, *, binary: bool = False) -> Split | None:
    """The same for ``data`` that begins with a BDAT command (RFC 3030): its chunks up to the one with LAST; None when
    there is none, or something else than a chunk comes between. Text gets the line end that it lacks."""
    content, consumed = b"", 0
    last = False
    while not last:
        line, end, rest = data[consumed:].partition(b"\r\n")
        words = line.upper().split(b" ")
        if not end or words[0] != b"BDAT" or len(words) not in (2, 3) or not words[1].isdigit():
            return None
        size, last = int(words[1]), words[2:] == [b"LAST"]
        if len(rest) < size or (len(words) == 3 and not last):
            return None
        content += rest[:size]
        consumed += len(line) + 2 + size
    bare = any(b"\r" in line or b"\n" in line for line in content.split(b"\r\n"))
    if content and not binary and not content.endswith(b"\r\n"):
        content += b"\r\n"
    lines = content.split(b"\r\n")
    return Split(
        content,
        consumed,
        bare,
        any(line.startswith(b".") for line in lines),
        max(len(line) + 2 for line in lines[:-1]) if len(lines) > 1 else 0,
    )


def count_last_chunks(data: bytes) -> int:
    """The most messages that ``data`` could ever hold by BDAT: its lines that announce a last chunk, wherever they
    stand."""
    return sum(line.upper().startswith(b"BDAT ") and line.upper().endswith(b" LAST") for line in _all_lines(data))


def _all_lines(data: bytes) -> list[bytes]:
    """Whatever stands before a CRLF, from any octet that could begin a command."""
    pieces = data.split(b"\r\n")[:-1]
    return [piece[max(piece.upper().rfind(b"BDAT"), 0) :].rstrip(b" \t") for piece in pieces]


def stuff_content(content: bytes) -> bytes:
    """Transparency dots and the final dot line, as a client sends it."""
    lines = content.split(b"\r\n")
    stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    return stuffed + (b".\r\n" if not content or content.endswith(b"\r\n") else b"\r\n.\r\n")


def count_ends(data: bytes) -> int:
    """The most messages that ``data`` could ever hold: its dot lines between CRLFs, wherever they stand."""
    return sum(line == b"." for line in data.split(b"\r\n")[:-1])


def header_lines(content: bytes) -> list[bytes]:
    """The lines of the header section, folded lines as their own; all lines when there is no empty one."""
    section = (b"\r\n" + content).split(b"\r\n\r\n")[0].removeprefix(b"\r\n")
    return section.split(b"\r\n")


def count_fields(content: bytes, name: bytes) -> int:
    """Fields of that name in the header section."""
    starts = [line.partition(b":")[0] for line in header_lines(content) if b":" in line]
    return sum(start.rstrip(b" \t").lower() == name for start in starts)
