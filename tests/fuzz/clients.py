"""The client session and its invariants, against a remote that says whatever it likes.

Owns: what must hold whatever a remote says, see ``cores``. Never does: choose octets.
"""

import re
from collections.abc import Callable, Hashable
from random import Random
from typing import Any

from mta.policy.sasl_client import Binding, Exchange, choose
from mta.routing.destination import Login
from tests.fuzz.ways import Flights, alike, assert_no_bare_line_end, flights_of
from tests.harness.client_driver import Driver, Job

#: The nonce and the password of the exchange that ``seeds`` has written down.
NONCE = "fyko+d2lbbFgONRv9qkxdawL"
PASSWORD = "pencil"
_CHUNK = re.compile(rb"BDAT (\d+) LAST\r\n")
_BINDING = Binding("tls-server-end-point", b"b" * 32)
#: What may be said in the clear where TLS is insisted on.
_CLEAR_VERBS = frozenset((b"EHLO", b"HELO", b"LHLO", b"STARTTLS", b"QUIT", b""))
_BINARY = b"Subject: x\r\n\r\n\r\x00\n.\r\n\xff"


class Shell(Driver):
    """A driver that reads, answers and makes handshakes between the flights of its remote. ``clear``: octets that went
    out before the handshake; None while there was none."""

    clear: int | None = None

    def deliver(self, job: Job) -> None:
        """Binary content is for those who take it."""
        if job.more.get("binary") and not {"BINARYMIME", "CHUNKING"} <= self.session.extensions.keys():
            job.content = b"text\r\n"
            job.more = {}
        super().deliver(job)

    def play(self, flights: Flights) -> None:
        for pieces in flights:
            self.take()
            if self.session.wants_tls:
                assert self.wire.endswith(b"STARTTLS\r\n"), "something goes out between STARTTLS and the handshake"
                self.clear = len(self.wire)
                self.session.tls_started()
                assert not self.session.extensions, "what was said in the clear is not forgotten"
                self.take()
            for piece in pieces:
                self.session.feed(piece)
        self.take()
        self.session.eof()
        self.take()


def _jobs() -> list[Job]:
    long = b"0123456789.\r\n" * 6000
    return [
        Job(0, ["a@x.example", "b@x.example"]),
        Job(1, content=b".dots\r\n..\r\n.", dotted=True),
        Job(2, content=lambda: iter([long[:70_001], long[70_001:]]), size=len(long)),
        Job(3, ["a@x.example", "b@x.example"], _BINARY, more={"binary": True}),
        Job(4, more={"parameters": "RET=HDRS", "recipient_parameters": ["NOTIFY=NEVER"]}),
    ]


def _login(binding: Binding | None) -> Callable[[str], Exchange | None]:
    return lambda offered: choose(offered, Login("user", PASSWORD), NONCE, secure=True, binding=binding)


def client(octets: bytes, random: Random) -> Hashable:
    """SMTP and LMTP, chunks, now and then TLS or a login."""
    options = {"starttls": "none" if random.random() < 0.8 else "opportunistic", "lmtp": random.random() < 0.4}
    if random.random() < 0.1:
        options["login"] = _login(None)
    return _delivering(octets, random, options)


def smarthost(octets: bytes, random: Random) -> Hashable:
    """TLS and logins, wanted or insisted on."""
    options = {
        "starttls": random.choice(("opportunistic", "required")), "secure": random.random() < 0.2,
        "lmtp": random.random() < 0.1,
    }  # fmt: skip
    if random.random() < 0.8:
        options["login"] = _login(random.choice((None, _BINDING)))
    return _delivering(octets, random, options)


def _delivering(octets: bytes, random: Random, options: dict[str, Any]) -> Hashable:
    options = {"reply_line": 256, "reply_lines": 20} | options
    first = 3 if b"BINARYMIME" in octets and random.random() < 0.4 else random.randrange(5)
    jobs = random.randrange(1, 5)

    def run(flights: Flights) -> Shell:
        given = _jobs()
        shell = Shell((given[first:] + given[:first])[:jobs], True, options)
        shell.play(flights)
        return shell

    shells = [run(flights) for flights in flights_of(octets, random)]
    events = alike([shell.events for shell in shells])
    alike([(shell.wire, shell.clear) for shell in shells])
    shell = shells[0]
    _check_ends(shell)
    _check_wire(shell, needs_tls=options["starttls"] == "required" and not options["secure"])
    verbs = {line[:4] for line in shell.wire[-4000:].split(b"\r\n") if line[:4].isupper()}
    happened = tuple((event[0], *(str(one)[:5] for one in event[1:3])) for event in events)
    return happened, frozenset(verbs), shell.clear is not None


def _check_ends(shell: Shell) -> None:
    """Each delivery has one end, and none is said to be done, or perhaps done, whose content did not go out whole."""
    unsure = [done for _, done in shell.trouble[3]].count(True) if shell.trouble else 0
    listed = [token for token, _ in shell.trouble[3]] if shell.trouble else []
    ended: list[Any] = [outcome[0] for outcome in shell.outcomes] + listed
    assert sorted(ended) == sorted(shell.given), "a delivery without an end, or with two"
    done = [outcome for outcome in shell.outcomes if outcome[1] == "DOT"]
    text, chunks = _without_chunks(shell.wire)
    assert len(done) + unsure <= text.split(b"\r\n").count(b".") + chunks, "done before its end went out"


def _check_wire(shell: Shell, *, needs_tls: bool) -> None:
    text, _ = _without_chunks(shell.wire)
    assert_no_bare_line_end(text)
    if needs_tls:
        lines = shell.wire[: shell.clear].split(b"\r\n")
        assert {line.partition(b" ")[0] for line in lines} <= _CLEAR_VERBS, "more than it takes is said before TLS"


def _without_chunks(wire: bytes) -> tuple[bytes, int]:
    """What went out without the octets of whole chunks, and how many there were."""
    text, chunks = b"", 0
    while found := _CHUNK.search(wire):
        end = found.end() + int(found[1])
        text += wire[: found.end()]
        chunks += end <= len(wire)
        wire = wire[end:]
    return text + wire, chunks
