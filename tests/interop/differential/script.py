"""The script: what a client says, how many messages of it are legitimate, and what Hermes answers.

Owns: dialogues written from RFC 5321, 3030, 2920 and from published defects of other servers; the byte vectors of the
corpus ``smuggling-eod`` are read, not kept here. Every dialogue ends with QUIT behind a true end of content, so that
whoever was confused by it has the occasion to show it. Never does: talk to anybody.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from tests.harness.corpora import CORPORA
from tests.harness.smtp_peers import MESSAGE_SIZE

#: Takes the place of the tag in envelopes, as long as it is: each run has its own, and what arrives is counted by it.
TAG = b"@@tag@"
HEAD = b"From: <alice@src.test>\r\nTo: <bob@dst.test>\r\nDate: Fri, 27 Nov 2026 11:00:00 +0000\r\nSubject: x\r\n\r\n"
HELLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<alice@src.test>\r\n"
RCPT = b"RCPT TO:<" + TAG + b"@dst.test>\r\n"
ENVELOPE = MAIL + RCPT
DATA = b"DATA\r\n"
END = b"\r\n.\r\n"
QUIT = b"QUIT\r\n"
MESSAGE = ENVELOPE + DATA + HEAD + b"hello" + END
TOO_MUCH = (b"y" * 70 + b"\r\n") * (MESSAGE_SIZE // 72 + 2)
#: What an attacker wants to be read as commands.
SMUGGLED = (
    b"MAIL FROM:<smuggled@src.test>\r\nRCPT TO:<victim-" + TAG + b"@dst.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
)


class Dialogue(NamedTuple):
    """``classes``: first digits of Hermes's replies. ``accepted``: messages that it takes: those that a client
    legitimately sent, or none of a content that it refuses. ``chunking``: only for who offers it. ``content``: octets
    that must be in what arrives, untouched."""

    name: str
    said: bytes
    classes: str
    accepted: int
    chunking: bool = False
    content: bytes = b""


def bdat(content: bytes, last: bool = True) -> bytes:
    """One chunk with its command."""
    return b"BDAT %d%b\r\n%b" % (len(content), b" LAST" * last, content)


def _d(name: str, said: bytes, classes: str, accepted: int, content: bytes = b"") -> Dialogue:
    """``classes`` between those of EHLO and QUIT; with ``!`` Hermes closes there and hears nothing of what follows."""
    replies = classes.rstrip("!") if classes.endswith("!") else classes + "2"
    return Dialogue(name, HELLO + said + QUIT, "2" + replies, accepted, False, content)


def _b(name: str, said: bytes, classes: str, accepted: int, content: bytes = b"") -> Dialogue:
    return _d(name, said, classes, accepted, content)._replace(chunking=True)


_ORDER = [
    _d("one message", MESSAGE, "2232", 1),
    _d("two messages", MESSAGE * 2, "22322232", 2),
    _d("two recipients", MAIL + RCPT * 2 + DATA + HEAD + END, "22232", 1),
    _d("a reset in between", ENVELOPE + b"RSET\r\n" + MESSAGE, "2222232", 1),
    _d("a second hello resets", ENVELOPE + HELLO + DATA + MESSAGE, "22252232", 1),
    _d("DATA without a recipient", MAIL + DATA + RCPT + DATA + HEAD + END, "25232", 1),
    _d("DATA first", DATA + MESSAGE, "52232", 1),
    _d("RCPT first", RCPT + MESSAGE, "52232", 1),
    _d("MAIL twice", MAIL + MAIL + RCPT + DATA + HEAD + END, "25232", 1),
    _d("nothing is left after a message", MESSAGE + RCPT + DATA, "223255", 1),
    _d("nothing is left after a refused message",
       ENVELOPE + DATA + HEAD + TOO_MUCH + b".\r\n" + RCPT + DATA + MESSAGE, "2235" + "55" + "2232", 1),
    _d("an unknown command and an empty line", b"XYZZY\r\n\r\n" + MESSAGE, "552232", 1),
    _d("an 8-bit recipient does not spoil the next",
       MAIL + b"RCPT TO:<\xc3\xbc@dst.test>\r\n" + RCPT + DATA + HEAD + END, "25232", 1),
    _d("an 8-bit VRFY between", ENVELOPE + b"VRFY \xc3\xbc\r\n" + DATA + HEAD + END, "22532", 1),
    _d("commands behind QUIT", MESSAGE + QUIT + MESSAGE, "2232", 1),
    _d("an address and a line called starttls", MAIL + b"RCPT TO:<starttls." + TAG + b"@dst.test>\r\n" + DATA + HEAD
       + b"starttls\r\nSTARTTLS\r\n.\r\n", "2232", 1, b"starttls\r\nSTARTTLS\r\n"),
    _d("sizes that are none",
       b"".join(b"MAIL FROM:<a@src.test> SIZE=%b\r\n" % size for size in (b"-1", b"+1", b"1_0", b"1 0", b"9" * 21, b""))
       + MESSAGE, "555555" + "2232", 1),
    _d("a size beyond the limit", b"MAIL FROM:<a@src.test> SIZE=999999\r\n" + MESSAGE, "52232", 1),
]  # fmt: skip
_LINES = [
    _d("a bare LF ends no command", b"NOOP\nNOOP\r\n" + MESSAGE, "5!", 0),
    _d("a bare CR ends no command", b"NOOP\rNOOP\r\n" + MESSAGE, "5!", 0),
    _d("an envelope in one line with bare LFs", ENVELOPE.replace(b"\r\n", b"\n") + MESSAGE, "5!", 0),
    _d("a NUL in a command", b"NOOP \0\r\n" + MESSAGE, "52232", 1),
    _d("an 8-bit octet in a command", b"NOOP \xff\r\n" + MESSAGE, "52232", 1),
    _d("a command of 3,000 octets", b"NOOP " + b"x" * 2995 + b"\r\n" + MESSAGE, "52232", 1),
    _d("a long command is not split", b"x" * 2046 + b"\r\n" + b"x" * 2048 + b"NOOP\r\n" + MESSAGE, "552232", 1),
]  # fmt: skip
_CONTENT = [
    _d("empty content", ENVELOPE + DATA + b".\r\n", "2232", 1),
    _d("a dot line first, then what would be commands", ENVELOPE + DATA + b".\r\n" + MESSAGE, "22322232", 2),
    _d("transparency", ENVELOPE + DATA + HEAD + b"..\r\n...\r\n.x\r\n" + b".\r\n", "2232", 1, b"\r\n.\r\n..\r\nx\r\n"),
    _d("commands as content", ENVELOPE + DATA + HEAD + SMUGGLED + END, "2232", 1, SMUGGLED.replace(TAG, b"")[:20]),
    _d("8-bit content", ENVELOPE + DATA + HEAD + bytes(range(128, 256)) + END, "2232", 1),
    _d("NUL in content", ENVELOPE + DATA + HEAD + b"a\0b" + END, "2232", 1),
    _d("content of the largest size", ENVELOPE + DATA + HEAD + TOO_MUCH[: MESSAGE_SIZE - 1600] + END, "2232", 1),
    _d("a line of 2,500 octets", ENVELOPE + DATA + HEAD + b"z" * 2500 + END, "2232", 1, b"z" * 2500),
    _d("a bare LF in content", ENVELOPE + DATA + HEAD + b"a\nb" + END, "2235!", 0),
    _d("a bare CR in content", ENVELOPE + DATA + HEAD + b"a\rb" + END, "2235!", 0),
    _d("a bare LF in a header", ENVELOPE + DATA + b"Subject: a\nb\r\n" + HEAD + END, "2235!", 0),
    _d("too much, then a smuggled end, then more commands",
       ENVELOPE + DATA + HEAD + TOO_MUCH + b".\n" + SMUGGLED + b"\r\n.\n" + b"NOOP\r\n" + END, "2235!", 0),
]  # fmt: skip
_CHUNKS = [
    _b("one chunk", ENVELOPE + bdat(HEAD + b"hello\r\n"), "222", 1),
    _b("chunks", ENVELOPE + bdat(HEAD, False) + bdat(b"a\r", False) + bdat(b"\nb\r\n"), "22222", 1, b"a\r\nb\r\n"),
    _b("an empty last chunk", ENVELOPE + bdat(HEAD, False) + bdat(b""), "2222", 1),
    _b("one octet a chunk", ENVELOPE + b"".join(bdat(HEAD[n : n + 1], False) for n in range(30)) + bdat(HEAD[30:]),
       "22" + "2" * 31, 1),
    _b("a dot line ends no chunk", ENVELOPE + bdat(HEAD + b"a\r\n.\r\n..\r\n" + SMUGGLED + b"\r\n.\r\n"), "222", 1,
       b"a\r\n.\r\n..\r\n"),
    _b("BDAT, then DATA", ENVELOPE + bdat(HEAD, False) + DATA + b"RSET\r\n" + MESSAGE, "22252" + "2232", 1),
    _b("BDAT behind the last", ENVELOPE + bdat(HEAD) + bdat(HEAD) + MESSAGE, "2225" + "2232", 2),
    _b("BDAT without a recipient reads its octets", MAIL + bdat(MESSAGE) + b"RSET\r\n" + MESSAGE, "252" + "2232", 1),
    _b("BDAT without MAIL reads its octets", bdat(MESSAGE) + MESSAGE, "5" + "2232", 1),
    _b("a reset between chunks", ENVELOPE + bdat(HEAD, False) + b"RSET\r\n" + MESSAGE, "22222232", 1),
    _b("QUIT between chunks", ENVELOPE + bdat(HEAD, False), "222", 0),
    _b("too much in chunks, each of them read",
       ENVELOPE + bdat(HEAD + TOO_MUCH, False) + bdat(MESSAGE) + MESSAGE, "22552232", 1),
    *(
        _b(f"a chunk size that is none: {size.decode()}", ENVELOPE + b"BDAT %b\r\n" % size + DATA, "225!", 0)
        for size in (b"-1", b"+5", b"1_0", b"9" * 25, b"x", b"1 LAST x", b" 1")
    ),
    _b("a message by DATA behind one by BDAT", ENVELOPE + bdat(HEAD) + MESSAGE, "2222232", 2),
    _b("a bare LF in a chunk", ENVELOPE + bdat(HEAD + b"a\nb\r\n"), "225!", 0),
    _b("BDAT smuggled behind dot LF", ENVELOPE + DATA + HEAD + b"x\r\n.\n" + MAIL
       + b"RCPT TO:<victim-" + TAG + b"@dst.test>\r\nBDAT 3 LAST\r\nx\r\n" + b".\r\n", "2235!", 0),
]  # fmt: skip


def vectors() -> Iterator[Dialogue]:
    """The corpus, each vector in the middle of a line, behind a line end, and behind more than the size limit."""
    path = CORPORA / "smuggling-eod" / "eod_vectors.json"
    if not path.is_file():
        return
    seen = set()
    for vector in json.loads(path.read_text())["vectors"]:
        octets = bytes.fromhex(vector["hex"])
        for place, before in (("line", b"first"), ("start", b"first\r\n"), ("large", TOO_MUCH)):
            name = f"vector {octets.hex()} {place}"
            if name not in seen:
                seen.add(name)
                said = ENVELOPE + DATA + HEAD + before + octets + SMUGGLED + END
                yield _d(name, said, "2235!", 0) if _is_bare(octets) else _harmless(name, said, place)


def _is_bare(octets: bytes) -> bool:
    """A CR or LF without its partner."""
    rest = octets.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


def _harmless(name: str, said: bytes, place: str) -> Dialogue:
    """Octets that are content like any other: what follows them is content too."""
    return _d(name, said, "2235", 0) if place == "large" else _d(name, said, "2232", 1, b"MAIL FROM:<smuggled")


DIALOGUES = [*_ORDER, *_LINES, *_CONTENT, *_CHUNKS, *vectors()]
