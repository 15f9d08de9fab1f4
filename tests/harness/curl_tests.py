"""curl's own tests (corpus ``curl-mail-tests``) read: what curl is told, what it is to say, what it is to get.

Owns: the parts of a test file and the macros in them. Never does: decide which of them our server has to pass.
"""

import base64
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.harness.corpora import corpus
from tests.harness.pop3_wire import unstuffed


@dataclass(frozen=True)
class CurlTest:
    """One file, macros unexpanded. ``offers``: SASL mechanisms of the test's server, [] = USER and PASS only."""

    number: int
    name: str
    command: str
    protocol: list[str]
    exit_code: int
    mail: bytes
    offers: list[str]
    text: str


def pop3_tests() -> dict[int, CurlTest]:
    """Every test whose server speaks POP3, by number."""
    found = {}
    for path in sorted(corpus("curl-mail-tests").glob("test*")):
        text = path.read_text(encoding="latin-1")
        if re.search(r"<server>\s*pop3s?\s", text):
            test = _read(path, text)
            found[test.number] = test
    assert len(found) > 50, "the corpus has shrunk"
    return found


def _read(path: Path, text: str) -> CurlTest:
    code = _part(text, "errorcode").split()
    server = _part(_part(text, "reply"), "servercmd")
    mechanisms = re.search(r"^AUTH (.*)$", server, re.MULTILINE)
    return CurlTest(
        number=int(path.name.removeprefix("test")),
        name=_part(text, "name").strip(),
        command=" ".join(_part(text, "command").split()),
        protocol=[line for line in _part(text, "protocol").splitlines() if line],
        exit_code=int(code[0]) if code else 0,
        mail=unstuffed(_part(_part(text, "reply"), "data").encode("latin-1").replace(b"\n", b"\r\n")),
        offers=mechanisms[1].split() if mechanisms else [],
        text=text,
    )


def _part(text: str, tag: str) -> str:
    """What stands between the lines of the first such tag; "" without it."""
    found = re.search(rf"<{tag}(?: [^>]*)?>\n(.*?)\n?</{tag}>", text, re.DOTALL)
    return f"{found[1]}\n" if found and found[1] else ""


def expanded(text: str, macros: Mapping[str, str]) -> str:
    """With ``%NAME`` replaced, and base 64 of what stands in ``%b64[…]b64%``; ``%00`` in there is NUL."""
    for name, value in macros.items():
        text = text.replace(f"%{name}", value)
    return re.sub(r"%b64\[(.*?)\]b64%", _encoded, text)


def _encoded(found: "re.Match[str]") -> str:
    octets = re.sub(rb"%([0-9a-f]{2})", lambda hexed: bytes([int(hexed[1], 16)]), found[1].encode())
    return base64.b64encode(octets).decode()


def words(command: str) -> list[str]:
    """As a shell would read it."""
    return shlex.split(command)
