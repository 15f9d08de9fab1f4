"""Drives a client session against octets or a ScriptedRemote and records all that its handler hears.

Owns: the handler that delivers its jobs as room comes, and the loop that carries octets back and forth.
Never does: checking; tests look at ``events``, ``wire`` and ``writes``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mta_ext.reply import Reply
from mta_ext.smtp_client import SmtpClientSession
from tests.harness.scripted_remote import ScriptedRemote

STAGES = ("GREETING", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "CONTENT", "DOT", "IDLE", "QUIT")
Split = Callable[[bytes], Iterable[bytes]]


def whole(octets: bytes) -> Iterable[bytes]:
    return [octets]


def single_octets(octets: bytes) -> Iterable[bytes]:
    return [octets[n : n + 1] for n in range(len(octets))]


def sevens(octets: bytes) -> Iterable[bytes]:
    return [octets[n : n + 7] for n in range(0, len(octets), 7)]


@dataclass
class Job:
    token: object
    recipients: Sequence[str] = ("smith@arlington.example",)
    content: bytes | Callable[[], Iterator[bytes]] = b"Subject: hi\r\n\r\nhello\r\n"
    reverse_path: str = "jones@athena.example"
    dotted: bool = True
    eight_bit: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    size: int | None = None


@dataclass
class Driver:
    """A handler with jobs. ``quit_when_done``: says quit as soon as there is room and no job left."""

    jobs: list[Job] = field(default_factory=list)
    quit_when_done: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    writes: list[bytes] = field(default_factory=list)
    given: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = SmtpClientSession(self, "hermes.example", **self.options)

    # --- handler ---

    def on_ready(self) -> None:
        self._look()
        self.events.append(("ready",))
        self._deliver_next()

    def on_room(self) -> None:
        self._look()
        self.events.append(("room",))
        self._deliver_next()

    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        self._look()
        self.events.append(("outcome", token, stage, str(reply), recipients and [str(each) for each in recipients]))

    def on_trouble(self, stage: str, reply: Reply | None, reason: str, transactions: list[tuple[object, bool]]) -> None:
        self._look()
        self.events.append(("trouble", stage, reply and str(reply), reason, transactions))

    def _look(self) -> None:
        """What a handler may read from inside any call."""
        assert self.session.stage in STAGES
        assert self.session.outstanding <= 2
        assert self.session.room <= (not self.session.closing)

    def _deliver_next(self) -> None:
        assert self.session.room
        if self.jobs:
            self.deliver(self.jobs.pop(0))
        elif self.quit_when_done:
            self.session.quit()

    # --- what a test or a shell does ---

    def deliver(self, job: Job) -> None:
        self.given.append(job.token)
        content = job.content if isinstance(job.content, bytes) else job.content()
        size = len(job.content) if isinstance(job.content, bytes) else 1_000_000
        size = size if job.size is None else job.size
        self.session.deliver(
            job.token,
            job.reverse_path,
            job.recipients,
            content,
            size=size,
            dotted=job.dotted,
            eight_bit=job.eight_bit,
            **job.more,
        )

    def hear(self, octets: bytes, split: Split = whole) -> bytes:
        """What the remote said goes in; what leaves because of it comes out."""
        for piece in split(octets):
            self.session.feed(piece)
        return self.take()

    def take(self) -> bytes:
        taken = []
        while self.session.has_output:
            taken.append(self.session.take_output())
        self.writes += [octets for octets in taken if octets]
        return b"".join(taken)

    def converse(self, remote: ScriptedRemote, split: Split = whole) -> "Driver":
        """Until neither side has anything more to say; a remote that drops is heard as eof."""
        said = remote.connected()
        while said:
            out = self.hear(said, split)
            if remote.wants_tls and self.session.wants_tls:
                remote.tls_started()
                self.session.tls_started()
                out = self.take()
            said = remote.receive(out) if out and not remote.closed else b""
        if remote.closed:
            self.session.eof()
        return self

    # --- what a test looks at ---

    @property
    def wire(self) -> bytes:
        return b"".join(self.writes)

    @property
    def outcomes(self) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.events if event[0] == "outcome"]

    @property
    def trouble(self) -> tuple[Any, ...] | None:
        found = [event[1:] for event in self.events if event[0] == "trouble"]
        assert len(found) <= 1
        return found[0] if found else None


def greeted(driver: Driver, *extensions: str) -> Driver:
    """Past greeting and EHLO; the driver has delivered its first job."""
    driver.hear(b"220 remote.example\r\n")
    lines = ["remote.example", *extensions]
    driver.hear("".join(f"250{'-' if n < len(lines) - 1 else ' '}{x}\r\n" for n, x in enumerate(lines)).encode())
    return driver
