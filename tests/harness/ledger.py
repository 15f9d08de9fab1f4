"""The ledger protocol: what a client and a sink wrote down, and what follows from comparing the two.

Owns: the form of the lines, how a message carries its id in three places, and the verdict. Never does: send or
receive. A line is written with one ``write``, so a killed process leaves whole lines; times are ``time.monotonic()``,
which all processes of a machine share.

Client: ``SEND id rcpts sha256`` before the transaction, then one of ``ACK id code queue-id`` (only after the 250 was
read), ``NACK id code``, ``UNKNOWN id`` (connection lost after the final dot was written) or ``CUT id`` (lost before
it). Sink: ``GOT id rcpt sha256 queue-id trouble age`` before its 250, one a recipient; ``trouble`` is ``-`` or says
which of the three ids differ, ``age`` is that of the connection in seconds. ``DROP``: it has stored a message and
dropped all its connections instead of answering.
"""

import hashlib
import itertools
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

#: Every recipient of every run is below this domain.
DOMAIN = "ledger.example"
SENDER = f"sender@client.{DOMAIN}"
#: A duplicate's first copy came at most so many seconds before the fault that explains it: the outcome of a delivery
#: waits 10 ms for company, for the commit under way and for its own.
WINDOW = 0.5
#: Or it came after the fault, by at most so many seconds, on a connection from before it: a busy sink reads what a
#: killed worker had sent.
LAG = 2.0
_ID = re.compile(rb"^X-Ledger-Id: (\w+)\r$", re.MULTILINE)
_BODY_ID = re.compile(rb"^ledger (\w+)\r$", re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^Message-ID: <(\w+)@", re.MULTILINE)
_QUEUE_ID = re.compile(rb"\bid (\w+)")


class LedgerFile:
    """Appends lines. ``path`` may be read by others at any time."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *words: object) -> None:
        os.write(self._fd, f"{' '.join(map(str, words))} {time.monotonic():.6f}\n".encode())

    def close(self) -> None:
        os.close(self._fd)


def compose(ledger_id: str, padding: bytes) -> bytes:
    """The content of a message: the id in a header and in the body, dots and long runs between."""
    head = f"From: <{SENDER}>\r\nSubject: ledger\r\nX-Ledger-Id: {ledger_id}\r\n\r\n.first line\r\n"
    return head.encode() + padding + f"\r\n..\r\n.\t\r\nledger {ledger_id}\r\n".encode()


def address(ledger_id: str, number: int, domains: int) -> str:
    """Recipient ``number`` of a message: the id in the local part; ``domains`` take turns."""
    return f"{ledger_id}.{number}@d{number % domains}.{DOMAIN}"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


@dataclass(frozen=True)
class Arrival:
    """What the sink read off one message, its Received field taken away."""

    ledger_id: str
    sha: str
    queue_id: str
    trouble: str


def examine(content: bytes, recipients: Sequence[str]) -> Arrival:
    """Takes our relay's Received field off and looks at the ids in header, local parts and body."""
    end = re.compile(rb"\r\n(?![ \t])").search(content)
    trace, rest = (content[: end.end()], content[end.end() :]) if end else (b"", content)
    received = trace.startswith(b"Received:")  # not so in a spool that ``mta.spool.fill`` made
    queue_id = (_QUEUE_ID if received else _MESSAGE_ID).search(trace if received else content)
    head, _, body = rest.partition(b"\r\n\r\n")
    header = _ID.search(head + b"\r\n")
    last = _BODY_ID.search(body, max(0, len(body) - 200))
    wanted = header[1].decode() if header else ""
    troubles = [
        what
        for what, right in (
            ("trace", received and queue_id is not None),
            ("header", header is not None),
            ("body", last is not None and last[1].decode() == wanted),
            ("recipient", all(recipient.partition(".")[0] == wanted for recipient in recipients)),
        )
        if not right
    ]
    return Arrival(
        wanted or recipients[0].partition(".")[0],
        digest(rest),
        queue_id[1].decode() if queue_id else "-",
        "+".join(troubles) or "-",
    )


class Copy(NamedTuple):
    """One GOT: when, what, under which queue id, and how old its connection was (seconds)."""

    when: float
    sha: str
    queue_id: str
    trouble: str = "-"
    age: float = 0.0


@dataclass
class Books:
    """Both ledgers, read."""

    sent: dict[str, tuple[int, str]] = field(default_factory=dict)  # id → recipients, sha
    ended: dict[str, tuple[str, str]] = field(default_factory=dict)  # id → word, code
    queue_ids: dict[str, str] = field(default_factory=dict)
    got: dict[tuple[str, str], list[Copy]] = field(default_factory=lambda: defaultdict(list))
    drops: list[float] = field(default_factory=list)

    @classmethod
    def read(cls, client: Iterable[Path], sink: Iterable[Path]) -> "Books":
        books = cls()
        for path in client:
            for line in path.read_text().splitlines():
                books._client_line(line.split())
        for path in sink:
            for line in path.read_text().splitlines():
                if line.startswith("DROP "):
                    books.drops.append(float(line.split()[1]))
                    continue
                word, ledger_id, recipient, sha, queue_id, trouble, age, when = line.split()
                assert word == "GOT", line
                books.got[ledger_id, recipient].append(Copy(float(when), sha, queue_id, trouble, float(age)))
        return books

    def _client_line(self, words: list[str]) -> None:
        word, ledger_id, *rest = words
        if word == "SEND":
            self.sent[ledger_id] = int(rest[0]), rest[1]
            return
        self.ended[ledger_id] = word, rest[0] if word in ("ACK", "NACK") else ""
        if word == "ACK":
            self.queue_ids[ledger_id] = rest[1]

    def acknowledged(self) -> set[str]:
        return {ledger_id for ledger_id, (word, _) in self.ended.items() if word == "ACK"}


@dataclass
class Verdict:
    """The six figures, and what stands behind each that is not zero (a few examples)."""

    acknowledged: int = 0
    recipients: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    loss: list[str] = field(default_factory=list)
    duplicates: list[tuple[float, float]] = field(default_factory=list)  # first copy, the fault that explains it
    unexplained: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    unknown: int = 0
    unknown_delivered: int = 0

    @property
    def clean(self) -> bool:
        return not (self.loss or self.ghosts or self.corrupt or self.unexplained)

    def lines(self) -> list[str]:
        refused = ", ".join(f"{code}: {count}" for code, count in sorted(self.refused.items())) or "none"
        return [
            f"messages acknowledged  {self.acknowledged:>8}   ({self.recipients} recipients; refused: {refused})",
            *(
                f"{name:<22} {len(found):>8}   {' '.join(found[:4])}".rstrip()
                for name, found in (("LOSS", self.loss), ("CORRUPT", self.corrupt), ("GHOST", self.ghosts))
            ),
            f"DUP                    {len(self.duplicates):>8}   ({len(self.unexplained)} unexplained)",
            f"UNKNOWN                {self.unknown:>8}   ({self.unknown_delivered} of them were delivered)",
        ]


def reconcile(
    books: Books,
    domains: int,
    faults: Sequence[float] = (),
    *,
    window: float = WINDOW,
    may_ghost: frozenset[str] = frozenset(),
) -> Verdict:
    """Compares the ledgers. A duplicate is explained when one of ``faults`` (moments) came within ``window`` seconds
    after its first copy, or before it (see LAG).
    ``may_ghost``: ends (``NACK``…) after which a delivery is legal all the same."""
    verdict = Verdict()
    expected: set[tuple[str, str]] = set()
    for ledger_id, (count, _) in books.sent.items():
        word, code = books.ended.get(ledger_id, ("UNKNOWN", ""))
        recipients = {address(ledger_id, number, domains) for number in range(count)}
        expected |= {(ledger_id, recipient) for recipient in recipients}
        missing = [recipient for recipient in sorted(recipients) if (ledger_id, recipient) not in books.got]
        if word == "ACK":
            verdict.acknowledged += 1
            verdict.recipients += count
            verdict.loss += missing
        elif word == "UNKNOWN":
            verdict.unknown += 1
            verdict.unknown_delivered += len(missing) < count
        else:
            verdict.refused[code or "connection lost"] += 1
            if len(missing) < count and word not in may_ghost:
                verdict.ghosts.append(f"{ledger_id}({word})")
    for who, copies in books.got.items():
        _copies(books, verdict, who, copies, who in expected)
        for first, _again in itertools.pairwise(sorted(copies)):
            fault = next((moment for moment in faults if _explains(moment, first, window)), None)
            if fault is None:
                verdict.unexplained.append(who[1])
            verdict.duplicates.append((first.when, float("inf") if fault is None else fault))
    return verdict


def _explains(fault: float, first: Copy, window: float) -> bool:
    """Whether the fault may be why the first copy's outcome was forgotten."""
    if fault >= first.when:
        return fault <= first.when + window
    return first.when - LAG <= fault and first.when - first.age <= fault


def _copies(books: Books, verdict: Verdict, who: tuple[str, str], copies: list[Copy], known: bool) -> None:
    """Each copy is of a message that was sent, is what was sent, and carries the same queue id as the others."""
    ledger_id, recipient = who
    if not known:
        verdict.ghosts.append(recipient)
        return
    sha = books.sent[ledger_id][1]
    queue_ids = {copy.queue_id for copy in copies} | {books.queue_ids.get(ledger_id, copies[0].queue_id)}
    if len(queue_ids) > 1:
        verdict.corrupt.append(f"{recipient}(ids:{','.join(sorted(queue_ids))})")
    for copy in copies:
        if copy.sha != sha or copy.trouble != "-":
            verdict.corrupt.append(f"{recipient}({copy.trouble if copy.trouble != '-' else 'content'})")
