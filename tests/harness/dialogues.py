"""Golden conversations: their files, and the pieces in which they are played.

A dialogue is a text file. The first line says what it shows. Then, in any order:
``with: name=value …`` options of the session: a number, a word, or words with commas between them (``one,`` is one of
them); ``C: text`` a line of the client, CRLF added; ``c: text`` octets of the client with Python's backslash escapes,
nothing added; ``S: text`` a line of the server; ``TLS:`` here the handshake takes place; any other key is kept as what
the test expects. Never does: assertions about a protocol.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.harness.recording_handler import cut, octet_by_octet


class Dialogue(NamedTuple):
    """``client``: what it says; one part more than there are handshakes. ``writes``: the same by part, cut where the
    client has read replies: all that stands between two lines of the server is sent at once."""

    title: str
    client: list[bytes]
    writes: list[list[bytes]]
    server: bytes
    limits: dict[str, Any]
    expected: dict[str, str]


def read(path: Path, keys: tuple[str, ...]) -> Dialogue:
    """``keys``: those that may stand there beside the ones above."""
    title, *lines = path.read_text(encoding="utf-8").splitlines()
    writes: list[list[bytes]] = [[b""]]
    server: list[bytes] = []
    limits: dict[str, Any] = {}
    expected: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        key, _colon, text = line.partition(":")
        text = text.removeprefix(" ")
        if key == "C":
            writes[-1][-1] += text.encode() + b"\r\n"
        elif key == "c":
            writes[-1][-1] += text.encode().decode("unicode_escape").encode("latin-1")
        elif key == "S":
            server.append(text.encode() + b"\r\n")
            if writes[-1][-1]:
                writes[-1].append(b"")
        elif key == "TLS":
            writes.append([b""])
        elif key == "with":
            limits = {name: _option(value) for name, _, value in (word.partition("=") for word in text.split())}
        elif key in keys:
            expected[key] = text
        else:
            assert not line.strip(), f"{path.name}:{number}: {line!r} is no line of a dialogue"
    client = [b"".join(part) for part in writes]
    return Dialogue(
        title, client, [[one for one in part if one] for part in writes], b"".join(server), limits, expected
    )


def _option(value: str) -> int | str | tuple[str, ...]:
    if "," in value:
        return tuple(word for word in value.split(",") if word)
    return int(value) if value.isdigit() else value


def segmentations(octets: bytes) -> Iterator[list[bytes]]:
    """Whole, octet by octet, and ten times at random."""
    yield [octets]
    yield octet_by_octet(octets)
    random = Random(2920)
    for _ in range(10):
        yield cut(octets, [random.randrange(len(octets) + 1) for _ in range(random.randrange(1, 12))])
