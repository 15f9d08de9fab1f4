"""A Hermes with mailboxes for tests with real clients: people with passwords, POP3 three ways, LMTP over TCP.

Owns: its listeners, its certificate and the people that its directory is given by ``mta directory``; a POP3 session
of the standard library to look into mailboxes with. What a message looks like above its own header is known here too.
"""

import re
import smtplib
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.harness.mta_server import PATIENCE, MtaServer
from tests.harness.pop3_wire import Pop3Wire
from tests.harness.sinks import peer_program

DOMAIN = "minasi.example"
MARK, ZOE = f"mark@{DOMAIN}", f"zoe@{DOMAIN}"
PEOPLE = {MARK: "arlington-1998", ZOE: "athens-1998"}
#: What Hermes and the store put above a message that came in by SMTP; Received is not there when it came by LMTP.
TRACE = re.compile(
    rb"\AReturn-Path: <[^\r\n]*>\r\nDelivered-To: [^\r\n]+\r\n(?:Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)?"
)


class Certificate(NamedTuple):
    """For 127.0.0.1 and localhost, signed by itself: who trusts ``file`` trusts the server."""

    file: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.file))


def make_certificate(directory: Path) -> Certificate:
    """A fresh one, by the openssl command."""
    made = Certificate(directory / "cert.pem", directory / "key.pem")
    subprocess.run(
        [
            peer_program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-out", str(made.file), "-keyout", str(made.key),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return made


def below_trace(message: bytes) -> bytes:
    """What the sender wrote. Fails on a message that the store has not marked."""
    head = TRACE.match(message)
    assert head, f"no Return-Path and Delivered-To above it: {message[:200]!r}"
    return message[head.end() :]


class MailHouse(MtaServer):
    """``MailHouse(directory).start()``; ``people``: address → password."""

    def __init__(self, directory: Path, people: Mapping[str, str] = PEOPLE, **settings: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.people = dict(people)
        self.certificate = make_certificate(directory)
        tls = {"certificate": str(self.certificate.file), "private_key": str(self.certificate.key)}
        pop3 = {"protocol": "pop3", "address": "127.0.0.1:0"}
        own = {
            "listener": [
                {"address": "127.0.0.1:0"},
                {"protocol": "lmtp", "address": "127.0.0.1:0"},
                {**pop3, "tls": "starttls", "dangerously_allow_plaintext_auth": True, **tls},
                {**pop3, "tls": "required", **tls},
                {**pop3, "tls": "implicit", **tls},
                {"protocol": "ldap", "address": "127.0.0.1:0"},
            ],
            "local": {"domains": [DOMAIN]},
        }
        super().__init__(directory, **(own | settings))

    def start(self) -> "MailHouse":
        """With everybody in its directory."""
        super().start()
        known = {row["address"] for row in self.rows("directory", "user", "list")}
        for address, password in self.people.items():
            if address not in known:
                self.add_person(address, password)
        return self

    # Where it answers.

    def ports(self, protocol: str) -> list[int]:
        """Of all TCP listeners of that protocol, in the order of the configuration."""
        rows = self.status()["listeners"]
        return [int(row["address"].rpartition(":")[2]) for row in rows if row["protocol"] == protocol]

    @property
    def port(self) -> int:
        return self.ports("smtp")[0]

    @property
    def lmtp_port(self) -> int:
        return self.ports("lmtp")[0]

    @property
    def pop3_port(self) -> int:
        """Plain text; passwords are taken without TLS, and STLS is offered."""
        return self.ports("pop3")[0]

    @property
    def pop3_tls_port(self) -> int:
        """No password before STLS."""
        return self.ports("pop3")[1]

    @property
    def pop3s_port(self) -> int:
        return self.ports("pop3")[2]

    # Mail.

    def pop3(self, address: str = MARK) -> Pop3Wire:
        """A session that is logged in."""
        session = Pop3Wire(self.pop3_port)
        session.login(address, self.people[address])
        return session

    def mailbox(self, address: str = MARK) -> list[bytes]:
        """What RETR gives of every message, dots unstuffed."""
        with self.pop3(address) as session:
            return [session.content(f"RETR {n}") for n in range(1, session.count() + 1)]

    def count(self, address: str = MARK) -> int:
        with self.pop3(address) as session:
            return session.count()

    def empty(self) -> "MailHouse":
        """As new for the next test: nothing queued, nothing in a mailbox, no event remembered."""
        self.wait_for_empty_queue()
        for address in self.people:
            with self.pop3(address) as session:
                for number in range(1, session.count() + 1):
                    assert session.say(f"DELE {number}").startswith(b"+OK")
        self.events()
        self._events.clear()
        return self

    def fill(self, contents: Iterable[bytes], address: str = MARK, sender: str = "alice@athena.example") -> None:
        """By LMTP, so that all of it is in the mailbox on return, in this order."""
        with self.lmtp() as session:
            for content in contents:
                assert session.docmd("MAIL", f"FROM:<{sender}>")[0] == 250
                assert session.docmd("RCPT", f"TO:<{address}>")[0] == 250
                code, text = session.data(content)
                assert code == 250, (code, text)

    def lmtp(self) -> smtplib.LMTP:
        """A session that has said LHLO."""
        session = smtplib.LMTP("127.0.0.1", self.lmtp_port, "client.example", timeout=PATIENCE)
        code, text = session.ehlo()
        assert code == 250, text
        return session
