"""Golden conversations: their files, and the pieces in which they are played.

A dialogue is a text file. The first line says what it shows. Then, in any order:
``with: name=number …`` limits of the session; ``C: text`` a line of the client, CRLF added; ``c: text`` octets of the
client with Python's backslash escapes, nothing added; ``S: text`` a line of the server; ``TLS:`` here the handshake
takes place; any other key is kept as what the test expects. Never does: assertions about a protocol.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.harness.recording_handler import cut, octet_by_octet


class Dialogue(NamedTuple):
    """``client``: what it says; one part more than there are handshakes."""

    title: str
    client: list[bytes]
    server: bytes
    limits: dict[str, int]
    expected: dict[str, str]


def read(path: Path, keys: tuple[str, ...]) -> Dialogue:
    """``keys``: those that may stand there beside the ones above."""
    title, *lines = path.read_text(encoding="utf-8").splitlines()
    client, server = [b""], []
    limits: dict[str, int] = {}
    expected: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        key, _colon, text = line.partition(":")
        text = text.removeprefix(" ")
        if key == "C":
            client[-1] += text.encode() + b"\r\n"
        elif key == "c":
            client[-1] += text.encode().decode("unicode_escape").encode("latin-1")
        elif key == "S":
            server.append(text.encode() + b"\r\n")
        elif key == "TLS":
            client.append(b"")
        elif key == "with":
            limits = {name: int(value) for name, _, value in (word.partition("=") for word in text.split())}
        elif key in keys:
            expected[key] = text
        else:
            assert not line.strip(), f"{path.name}:{number}: {line!r} is no line of a dialogue"
    return Dialogue(title, client, b"".join(server), limits, expected)


def segmentations(octets: bytes) -> Iterator[list[bytes]]:
    """Whole, octet by octet, and ten times at random."""
    yield [octets]
    yield octet_by_octet(octets)
    random = Random(2920)
    for _ in range(10):
        yield cut(octets, [random.randrange(len(octets) + 1) for _ in range(random.randrange(1, 12))])
