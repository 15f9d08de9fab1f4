"""The three servers of figure 1 and a real name server (nsd), for stories that are told with clients of others.

Owns: who is where (127.0.0.2 and on, one SMTP port for all, as on the Internet), the people with their passwords, and
how to write and fetch letters with smtplib and poplib. Starts and ends all of it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.process import free_port
from tests.harness.mta_server import MtaServer
from tests.harness.sinks import peer_program
from tests.harness.zone_server import RealZoneServer

PARADIGMS, MINASI = "paradigms.example", "minasi.example"
ADA, MARK, NOBODY = f"ada@{PARADIGMS}", f"mark@{MINASI}", f"nobody@{MINASI}"
PASSWORDS = {ADA: "athens-1998", MARK: "arlington-1998"}
ATHENA_HOST, HERMES_HOST, ARLINGTON_HOST = "127.0.0.2", "127.0.0.3", "127.0.0.4"

_HEAD = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
ZONES = {
    MINASI: f"{_HEAD}@ MX 10 arlington\narlington A {ARLINGTON_HOST}\n",
    PARADIGMS: f"{_HEAD}@ MX 10 hermes\nhermes A {HERMES_HOST}\nathena A {ATHENA_HOST}\n",
}

#: What the store of the reader's server puts above a message; then come the Received fields, the latest first.
_STORE = re.compile(rb"Return-Path: <([^\r\n]*)>\r\nDelivered-To: ([^\r\n]*)\r\n")
_RECEIVED = re.compile(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_BY = re.compile(rb"\sby (\S+)")


class Fetched:
    """A message taken apart: the envelope as the store has noted it, the servers it came by, first to last, and what
    the author wrote. Fails on a message that the store has not marked."""

    def __init__(self, octets: bytes) -> None:
        store = _STORE.match(octets)
        assert store, octets[:200]
        self.reverse_path, self.recipient = store[1].decode(), store[2].decode()
        self.servers: list[str] = []
        at = store.end()
        while field := _RECEIVED.match(octets, at):
            server = _BY.search(field[0])
            assert server, field[0]
            self.servers.insert(0, server[1].decode())
            at = field.end()
        self.content = octets[at:]


class Figure1:
    """``athena`` and ``arlington`` have mailboxes, ``hermes`` is the gateway between them."""

    def __init__(self, directory: Path, names: RealZoneServer) -> None:
        port = free_port()
        dns = {"servers": [names.address], "timeout": "2s"}

        def listeners(host: str) -> list[dict[str, object]]:
            return [{"address": f"{host}:{port}"}]

        def pop3(host: str) -> dict[str, object]:
            return {"protocol": "pop3", "address": f"{host}:0", "dangerously_allow_plaintext_auth": True}

        delivery = {"port": port, "retry_after": ["500ms"], "warn_after": "0s"}
        self.athena = MtaServer(
            directory / "athena",
            hostname=f"athena.{PARADIGMS}",
            listener=[*listeners(ATHENA_HOST), pop3(ATHENA_HOST)],
            local={"domains": [PARADIGMS]},
            route=[{"domain": "*", "to": f"smtp://{HERMES_HOST}:{port}"}],
        )
        self.hermes = MtaServer(
            directory / "hermes",
            hostname=f"hermes.{PARADIGMS}",
            listener=listeners(HERMES_HOST),
            relay={"domains": [PARADIGMS]},
            route=[{"domain": PARADIGMS, "to": f"smtp://{ATHENA_HOST}:{port}"}],
            dns=dns,
            delivery=delivery,
        )
        self.arlington = MtaServer(
            directory / "arlington",
            hostname=f"arlington.{MINASI}",
            listener=[*listeners(ARLINGTON_HOST), pop3(ARLINGTON_HOST)],
            local={"domains": [MINASI]},
            dns=dns,
            delivery=delivery,
        )

    @property
    def servers(self) -> tuple[MtaServer, ...]:
        return self.athena, self.hermes, self.arlington

    def start(self) -> None:
        """All of them at once, then the people."""
        for server in self.servers:
            server.begin()
        for server in self.servers:
            server.await_ready()
        self.athena.add_person(ADA, PASSWORDS[ADA])
        self.arlington.add_person(MARK, PASSWORDS[MARK])

    def home(self, person: str) -> MtaServer:
        """The server with the person's mailbox."""
        return self.athena if person == ADA else self.arlington

    def write(self, author: str, to: str, content: bytes) -> str:
        """From the author's desk by smtplib; the queue id at the author's server."""
        return self.home(author).send(to, content, author)

    def fetch(self, person: str, count: int = 1) -> list[Fetched]:
        """By poplib, as soon as so many messages have been stored since the start; the mailbox is empty then."""
        home = self.home(person)
        home.wait_for_events(count, "Delivery", recipient=person)
        return [Fetched(octets) for octets in home.fetch(person, PASSWORDS[person])]


def letter(author: str, to: str, subject: str, text: str = "It goes from one to the other.\r\n..a dot\r\n") -> bytes:
    return f"From: <{author}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\r\n{text}".encode()


@contextmanager
def running_figure_1(directory: Path) -> Iterator[Figure1]:
    """Everything runs inside; at the end each server drains: exit 0, no traceback, balanced books, those of the stores
    too."""
    peer_program("nsd", "nsd")
    directory.mkdir()
    names = RealZoneServer(directory, ZONES, MINASI)
    figure = Figure1(directory, names)
    names.start()
    try:
        figure.start()
        yield figure
        for server in (figure.athena, figure.arlington):
            [books] = server.rows("mailbox", "audit")
            assert books["drift"] == 0, books
        for server in figure.servers:
            server.stop()
    finally:
        for server in figure.servers:
            server.close()
        names.stop()
