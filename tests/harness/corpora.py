"""Where third-party test data lies. It is read, never copied; a test that wants it is skipped by name without it."""

import mailbox
import os
import re
from contextlib import closing
from pathlib import Path

import pytest

CORPORA = Path(os.environ.get("MTA_CORPORA") or Path(__file__).parents[3] / "shared" / "corpora")


def corpus(name: str) -> Path:
    """The folder of one corpus; skips the calling test when it is absent."""
    folder = CORPORA / name
    if not folder.is_dir():
        pytest.skip(f"corpus {name} is not there")
    return folder


def crlf(text: bytes) -> bytes:
    """Line ends as they travel, also behind the last line. A bare CR stays."""
    lines = re.sub(rb"\r?\n", b"\r\n", text)
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


#: No message but a binary container (OLE) with bare CRs in it: every server of ours refuses it.
NO_MESSAGE = "mail_outlook_1"


def sendable_messages() -> dict[str, bytes]:
    """Corpus ``eml`` without ``NO_MESSAGE``: name → content with CRLF line ends, the last line ended."""
    found = {}
    for path in sorted(corpus("eml").rglob("*")):
        if path.is_file() and not path.name.startswith("LICENSE") and path.name != NO_MESSAGE:
            found[path.name] = crlf(path.read_bytes())
    assert len(found) > 80, "the corpus has shrunk"
    return found


def mbox_messages() -> list[bytes]:
    """Corpus ``pop3-mbox``, in its order, with CRLF line ends."""
    with closing(mailbox.mbox(corpus("pop3-mbox") / "imaptest-default.mbox", create=False)) as box:
        found = [crlf(box.get_bytes(key)) for key in box.iterkeys()]
    assert len(found) > 4, "the corpus has shrunk"
    return found
