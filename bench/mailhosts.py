"""Servers with mailboxes under test: Hermes, Postfix in front of Dovecot, and Dovecot alone.

Owns: the ``MailHost`` protocol, who has a mailbox, and how a delivery shows in a server's own log. Never does: measure.
Everyone keeps mail of one domain for the same people, takes it by SMTP and LMTP, hands it out by POP3 with passwords in
clear on 127.0.0.1, and syncs before each 250.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from bench.dovecot import Dovecot, Format
from bench.hermes import Hermes
from bench.peers import Postfix
from bench.process import free_port

DOMAIN = "dst.test"
PASSWORD = "arlington"


def people(count: int) -> dict[str, str]:
    """Addresses with their passwords: so many mailboxes."""
    return {f"user{number}@{DOMAIN}": PASSWORD for number in range(count)}


class Deliveries:
    """Counts a server's deliveries while its log grows: one mark each. Reads what is new and nothing twice."""

    def __init__(self, log: Path, mark: bytes) -> None:
        self._log = log
        self._mark = mark
        self._at = log.stat().st_size if log.exists() else 0
        self._tail = b""
        self.count = 0

    def look(self) -> int:
        """How many there have been since it was made."""
        if self._log.exists():
            with self._log.open("rb") as log:
                log.seek(self._at)
                data = log.read()
            self._at += len(data)
            # A mark that only half has been written of is found the next time, and no other twice.
            text = self._tail + data
            self.count += text.count(self._mark)
            self._tail = text[-(len(self._mark) - 1) :]
        return self.count


class MailHost(Protocol):
    """``lmtp``: as smtp-source wants it. Its directory is kept from ``start`` to ``start``, mail and all."""

    name: str
    people: Mapping[str, str]
    lmtp: str
    pop3_port: int

    def version(self) -> str: ...

    def start(self) -> int:
        """Up and listening, everybody has a mailbox; the SMTP port, 0: it takes no SMTP. Raises UnavailableError."""

    def deliveries(self) -> Deliveries: ...

    def stop(self) -> None: ...

    def check(self) -> str: ...


_TOML = """\
hostname = "hermes.test"
data_dir = "{{directory}}/data"
workers = {{workers}}
local.domains = ["{domain}"]
log.rotate_size = "4GiB"

[[listener]]
address = "127.0.0.1:{{port}}"

[[listener]]
protocol = "pop3"
address = "127.0.0.1:{pop3}"
dangerously_allow_plaintext_auth = true
"""


class HermesMail(Hermes):
    """``hermes-N`` with mailboxes. Everything is at its default but that the log stays in one file, to be counted."""

    def __init__(self, name: str, directory: Path, people: Mapping[str, str]) -> None:
        self.people = people
        self.pop3_port = free_port()
        super().__init__(name, directory, 0, _TOML.format(domain=DOMAIN, pop3=self.pop3_port))
        self.lmtp = f"unix:{directory}/data/lmtp.sock"
        self._events = directory / "data" / "events.jsonl"
        self._peopled = False

    def start(self) -> int:
        port = super().start()
        if not self._peopled:
            for address, password in self.people.items():
                self.mta("directory", "user", "add", address, "--password-stdin", stdin=f"{password}\n")
            self._peopled = True
        return port

    def deliveries(self) -> Deliveries:
        return Deliveries(self._events, b'"type":"Delivery"')


class DovecotMail:
    """Dovecot alone: ``dovecot`` keeps a Maildir for everybody, ``dovecot-mdbox`` Dovecot's own format."""

    def __init__(self, name: str, directory: Path, people: Mapping[str, str]) -> None:
        self.name = name
        self.people = people
        form: Format = "mdbox" if name.endswith("-mdbox") else "maildir"
        self._form = form
        self._dovecot = Dovecot(directory, people, lmtp_port=free_port(), pop3_port=free_port(), form=form)
        self.pop3_port = self._dovecot.pop3_port
        self.lmtp = f"unix:{self._dovecot.lmtp_socket}"

    @staticmethod
    def missing() -> str:
        return Dovecot.missing()

    def version(self) -> str:
        return f"{Dovecot.version()}, {self._form}, mail_fsync = always"

    def start(self) -> int:
        self._dovecot.start()
        return 0

    def deliveries(self) -> Deliveries:
        return Deliveries(self._dovecot.log, b": saved mail to INBOX")

    def stop(self) -> None:
        self._dovecot.stop()

    def check(self) -> str:
        """Errors in its log, all runs together."""
        errors = self._dovecot.errors()
        return f"{len(errors)} errors in Dovecot's log, first: {errors[0]}" if errors else ""


_MAIN_CF = """\
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:{directory}/etc/mailboxes
virtual_transport = lmtp:{lmtp}
lmtp_destination_concurrency_limit = 50
lmtp_connection_cache_on_demand = yes
lmtp_connection_cache_destinations = {domain}
"""


class PostfixDovecot:
    """Postfix takes the mail and hands it to Dovecot by LMTP over a unix socket, into Maildirs."""

    def __init__(self, name: str, directory: Path, people: Mapping[str, str]) -> None:
        self.name = name
        self.people = people
        home, front = directory / "dovecot", directory / "postfix"
        for place in (home, front, front / "etc"):
            place.mkdir(parents=True)
            place.chmod(0o755)
        self._dovecot = DovecotMail(name, home, people)
        self.pop3_port, self.lmtp = self._dovecot.pop3_port, self._dovecot.lmtp
        further = _MAIN_CF.format(domain=DOMAIN, directory=front, lmtp=self.lmtp)
        (front / "etc" / "mailboxes").write_text("".join(f"{address} here\n" for address in people))
        self._postfix = Postfix(name, front, 1, further)

    @staticmethod
    def missing() -> str:
        return Postfix.missing() or Dovecot.missing()

    def version(self) -> str:
        return f"{self._postfix.version()}, then by LMTP {self._dovecot.version()}"

    def start(self) -> int:
        self._dovecot.start()
        return self._postfix.start()

    def deliveries(self) -> Deliveries:
        return self._dovecot.deliveries()

    def stop(self) -> None:
        try:
            self._postfix.stop()
        finally:
            self._dovecot.stop()

    def check(self) -> str:
        return "; ".join(filter(None, (self._postfix.check(), self._dovecot.check())))
