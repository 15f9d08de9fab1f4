"""What fuzzing starts from: our own dialogues, and the corpora where they are there.

Owns: seeds and words for each core. Never does: mutate.
"""

import json
import re
from pathlib import Path
from struct import unpack_from

from tests.fuzz.logins import exchanges
from tests.fuzz.ways import FLIGHT
from tests.harness import ldap_wire
from tests.harness.corpora import CORPORA
from tests.harness.dialogues import read

_FOLDER = Path(__file__).parents[1] / "dialogues"
_KEYS = ("contents", "calls", "closes", "deletes", "waits")
_EHLO = b"250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-8BITMIME\r\n"
_SENT = (
    b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n"
    + FLIGHT
    + b"250 e\r\n250 f\r\n"
    + FLIGHT
    + b"250 g\r\n550 5.1.1 h\r\n221 i\r\n"
)
#: RFC 5802 §5 with the hash of RFC 7677, as ``clients`` says its half.
_SCRAM = (
    b"334 cj1meWtvK2QybGJiRmdPTlJ2OXFreGRhd0wzcmZjTkhZSlkxWlZ2V1ZzN2osbD00MDk2\r\n",
    b"334 cj1meWtvK2QybGJiRmdPTlJ2OXFreGRhd0x4LHM9UVNYQ1IrUTZzZWs4YmY5MixpPTQwOTY=\r\n",
)
_CLIENT = [
    b"220 x\r\n250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 SIZE 100\r\n250 a\r\n250 b\r\n354 c\r\n"
    b"250 d\r\n250 e\r\n550 5.1.1 f\r\n503 g\r\n221 h\r\n",
    b"220 x\r\n500 x\r\n250 HELO\r\n250 a\r\n250 b\r\n354 c\r\n451 4.3.0 d\r\n421 e\r\n",
    b"220 x\r\n" + _EHLO + b"250 STARTTLS\r\n220 go\r\n" + FLIGHT + _EHLO + b"250 ok\r\n" + _SENT,
    b"220 x\r\n" + _EHLO + b"250 STARTTLS\r\n220 go\r\n250 injected\r\n" + FLIGHT + _EHLO + b"250 ok\r\n" + _SENT,
    b"220 x\r\n" + _EHLO + b"250 AUTH PLAIN\r\n235 in\r\n" + _SENT,
    b"220 x\r\n" + _EHLO + b"250 AUTH LOGIN\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 in\r\n" + _SENT,
    *(
        b"220 x\r\n" + _EHLO + b"250 AUTH SCRAM-SHA-256\r\n" + first + b"334 dj1BQUFB\r\n\r\n235 in\r\n"
        for first in _SCRAM
    ),
    b"220 x\r\n" + _EHLO + b"250 STARTTLS\r\n220 go\r\n" + FLIGHT + _EHLO + b"250 AUTH PLAIN\r\n535 no\r\n221 bye\r\n",
    b"220 x\r\n250-x\r\n250 8BITMIME\r\n250 a\r\n250 b\r\n550 c\r\n354 d\r\n" + FLIGHT + b"250 e\r\n250 f\r\n250 g\r\n",
    b"220 x\r\n" + _EHLO + b"250 ok\r\n250 a\r\n250 b\r\n250 c\r\n" + FLIGHT + b"250 d\r\n" + _SENT,
    b"220 x\r\n" + _EHLO + b"250 ok\r\n250 a\r\n250 b\r\n550 c\r\n" + FLIGHT + b"452 4.3.1 d\r\n250 reset\r\n" + _SENT,
    b"220 x\r\n" + _EHLO + b"250 ok\r\n250 a\r\n250 b\r\n250 c\r\n" + FLIGHT + b"250 for one\r\n421 for two\r\n",
    b"220 x\r\n" + _EHLO + b"250 AUTH PLAIN\r\n235 in\r\n250 a\r\n250 b\r\n250 c\r\n" + FLIGHT + b"250 d\r\n" + _SENT,
]
_PROXY = [
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\nEHLO x\r\n", b"PROXY TCP6 2001:db8::1 2001:db8::2 1 25\r\n",
    b"PROXY UNKNOWN and more\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x12\x67\0\x19EHLO x\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2b" + bytes(range(36)) + b"\4\0\4abcd",
]  # fmt: skip
_PATHS = [
    b"<>", b"<a@b>", b'<"a b\\"c"@x.example>', b"<a@[192.0.2.1]>", b"<a@[IPv6:2001:db8::1]>", b"<@one,@two:a@b>",
    b"<Postmaster>", "<ü@bücher.example>".encode(), b"<a%b!c@d>", b"<" + b"a" * 64 + b"@" + b"b" * 63 + b".c>",
]  # fmt: skip
_PARAMS = [
    b"SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=QQ+2B314159 AUTH=<>", b"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+40b@c",
    b"BY=120;RT HOLDFOR=60 MT-PRIORITY=-3 SMTPUTF8 REQUIRETLS",
]  # fmt: skip
_HEADERS = [b"Received: a\r\n b\r\nDate: x\r\nMessage-ID:\r\n <1@x>\r\nFrom: a\r\n\r\nReceived: no\r\n"]
WORDS = [
    b"\r\n.\r\n", b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n..\r\n", b"\r\n", b"\r", b"\n", b"\0", b"\xff",
    b"BDAT 5 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT 3\r\n", b"DATA\r\n", b"RSET\r\n", b"MAIL FROM:<a@b>\r\n", b".",
    b"RCPT TO:<c@d>\r\n", b"EHLO x\r\n", b"LHLO x\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"QUIT\r\n", b"NOOP\r\n",
    b" SMTPUTF8", b" BODY=BINARYMIME", b" SIZE=99999999999999999999", b"<", b">", b"@", b'"', b"\\", b"[IPv6:", b"=",
    b"USER paula\r\n", b"PASS x\r\n", b"RETR 1\r\n", b"TOP 1 1\r\n", b"DELE 1\r\n", b"250-x\r\n", b"354 go\r\n",
    b"250 ok\r\n", b"421 x\r\n", b";", b"\xc3\xbc", b"Received: x\r\n", b"\r\n\r\n", b"+",
    b"4294967296", b"-1", b"\x30\x84\xff\xff\xff\xff", b"\xa0\x02", FLIGHT, FLIGHT, b"STLS\r\n", b"*\r\n", b"=\r\n",
    b"STARTTLS\r\n" + FLIGHT + b"EHLO x\r\n", b"AUTH LOGIN\r\n", b"AUTH PLAIN AHBhdWxhAHNlY3JldA==\r\n", b"334 \r\n",
    b"AUTH SCRAM-SHA-256 ", b"cGF1bGE=\r\n", b"c2VjcmV0\r\n", b"XCLIENT ADDR=192.0.2.1 LOGIN=paula\r\n", b"235 in\r\n",
    b"XFORWARD NAME=x HELO=y\r\n", b"LAST", b"220 go\r\n" + FLIGHT, b"250-AUTH PLAIN LOGIN\r\n", b"250-STARTTLS\r\n",
    b"250-BINARYMIME\r\n250-CHUNKING\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
]  # fmt: skip


def dialogues(protocol: str) -> list[bytes]:
    """Client octets of our golden conversations; a new flight behind each handshake."""
    paths = sorted((_FOLDER / protocol).glob("*.txt"))
    return [FLIGHT.join(read(path, _KEYS).client) for path in paths]


def logins() -> list[bytes]:
    """Each exchange in the clear, under TLS, and in front of TLS; then a message."""
    hello, tls = b"EHLO x\r\n", b"STARTTLS\r\n" + FLIGHT
    message = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n"
    starts = (hello, hello + tls + hello)
    behind = (message, tls + hello + message, b"XCLIENT LOGIN=paula\r\n" + hello + message)
    return [start + said + rest for said in exchanges() for start in starts for rest in behind]


def foreign() -> list[bytes]:
    """The corpora's sessions and smuggling vectors; [] without them."""
    found = []
    for path in sorted((CORPORA / "smtp-fuzz-seeds").glob("*.raw")):
        octets = path.read_bytes()
        found.append(_written(octets) if "replay" in path.name else octets)
    vectors = CORPORA / "smuggling-eod" / "eod_vectors.json"
    if vectors.is_file():
        head = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nfirst"
        tail = b"MAIL FROM:<s@x>\r\nRCPT TO:<v@y>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
        found += [head + bytes.fromhex(one["hex"]) + tail for one in json.loads(vectors.read_text())["vectors"]]
    return found


def _written(octets: bytes) -> bytes:
    """A length before each write."""
    at, writes = 0, []
    while at < len(octets):
        [length] = unpack_from("<I", octets, at)
        writes.append(octets[at + 4 : at + 4 + length])
        at += 4 + length
    return b"".join(writes)


def words() -> list[bytes]:
    """Ours, and those of the corpus's dictionary."""
    path = CORPORA / "smtp-fuzz-seeds" / "smtp.dict"
    theirs = re.findall(rb'"([^"\n]+)"', path.read_bytes()) if path.is_file() else []
    return WORDS + theirs


def seeds(core: str) -> list[bytes]:
    """At least one for each."""
    sessions = {"smtp": ["smtp"], "lmtp": ["lmtp", "smtp"], "pop3": ["pop3"], "submission": ["smtp"]}
    if core in sessions:
        own = [octets for protocol in sessions[core] for octets in dialogues(protocol)]
        return own + (logins() if core == "submission" else foreign() if core != "pop3" else [])
    if core == "ldap":
        folk = "(&(objectClass=person)(|(cn=a*b)(mail=x)(!(sn=*))))"
        return [
            ldap_wire.bind(1, "cn=x", "y"),
            ldap_wire.search(2, folk),
            ldap_wire.extended(3, "1.3.6.1.4.1.1466.20037"),
        ]
    others = {
        "client": _CLIENT,
        "smarthost": [one for one in _CLIENT if b"STARTTLS" in one or b"AUTH" in one],
        "reply": _CLIENT,
        "path": _PATHS,
        "params": _PARAMS,
        "headers": _HEADERS,
        "proxy": _PROXY,
    }
    return others.get(core) or [b".x\r\n..\r\n.\r\n", b"a\r\n.\r\nb", *foreign()]
