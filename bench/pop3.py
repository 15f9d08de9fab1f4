"""``python -m bench pop3``: RETR of whole mailboxes, Hermes beside Dovecot, and how long a large one takes to open.

Owns: what a run is. Mailboxes are filled by LMTP before anything is measured and nothing is ever deleted. As many
clients as there are sessions, each a process of its own with a mailbox of its own, begin at the same moment; Rate: all
messages from the first client's first RETR to the last client's last message. CPU a message: all busy time of the
machine from then to when the clients are gone, less that of the clients.
"""

import array
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figures, Results, percentile
from bench.floor import Floor
from bench.local import stored
from bench.machine import IDLE, cpu_times, program, settle
from bench.mailhosts import DovecotMail, HermesMail, MailHost, people
from bench.measure import LIMIT, PROBE_LIMIT, SHORT, STOLEN, RunFailed
from bench.plan import FLOOR, FetchCell
from bench.probe_pop3 import Pop3
from bench.process import Child
from bench.rounds import Progress, run_rounds
from mta.errors import UnavailableError, UsageError

#: Seconds from the start of the clients until they all have logged in, fetched all once and begin together.
HEAD_START = 4.0
#: Sessions that fill a mailbox.
_FILLING = 8
_FILL_LIMIT = 900.0
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class FetchOptions:
    """``messages``: in each mailbox. ``seconds``: what a run should take."""

    cells: Sequence[FetchCell]
    peers: Sequence[str]
    directory: Path
    messages: int
    seconds: float
    repeat: int = 1


class Opening(NamedTuple):
    """Seconds from PASS to its +OK, the first time and when the password is known already, and of UIDL."""

    messages: int
    first: float
    again: float
    uidl: float


class Client(NamedTuple):
    """What one client noted, in nanoseconds: CLOCK_MONOTONIC, and CPU time before and during the fetching."""

    began: int
    ended: int
    messages: int
    octets: int
    cpu_before: int
    cpu: int
    took: Sequence[int]


def fetch_kind(name: str) -> type[HermesMail] | type[DovecotMail] | type[Floor]:
    """The class behind a peer's name. Raises UsageError."""
    if name == FLOOR:
        return Floor
    return server_kind(name)


def server_kind(name: str) -> type[HermesMail] | type[DovecotMail]:
    """The same of those that keep mail."""
    if re.fullmatch(r"hermes-[1-9][0-9]?", name):
        return HermesMail
    if name not in ("dovecot", "dovecot-mdbox"):
        raise UsageError(f'"{name}" is no peer: take hermes-N, dovecot, dovecot-mdbox or floor')
    return DovecotMail


class FetchComparison:
    """Runs every cell. ``versions`` are known before the first run."""

    def __init__(self, options: FetchOptions, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._scratch = options.directory / "scratch"
        self._scratch.mkdir()
        most = max(cell.sessions for cell in options.cells)
        self.hosts: list[MailHost | Floor] = []
        for name in options.peers:
            home = options.directory / name
            home.mkdir()
            home.chmod(0o755)
            self.hosts.append(self._host(name, home, people(most)))
        self._filled: set[str] = set()
        self._rates: dict[tuple[FetchCell, str], float] = {}

    def _host(self, name: str, home: Path, who: Mapping[str, str]) -> MailHost | Floor:
        if name == FLOOR:
            return Floor(name, home, who, self._options.messages, max(cell.size for cell in self._options.cells))
        return server_kind(name)(name, home, who)

    def versions(self) -> dict[str, str]:
        return {host.name: host.version() for host in self.hosts}

    def run(self) -> Results:
        options = self._options
        return run_rounds(options.cells, self.hosts, options.repeat, self._measured, self._progress)

    def _measured(self, cell: FetchCell, host: MailHost | Floor) -> Figures:
        """The mailboxes are filled at the server's first run; each run is preceded by one round that warms up."""
        host.start()
        if host.name not in self._filled and not isinstance(host, Floor):
            for address in host.people:
                self._progress(f"        {host.name}: {self._options.messages:,} messages for {address}")
                fill(host, address, self._options.messages, cell.size, self._scratch)
            self._filled.add(host.name)
        rate = self._rates.get((cell, host.name)) or fetch(host, cell, 1, self._scratch).rate or 1.0
        rounds = max(1, round(rate * self._options.seconds / self._options.messages / cell.sessions))
        notes = ("no server",) if isinstance(host, Floor) else ()
        notes += () if (share := settle()) <= IDLE else (f"machine {share:.0%} busy before",)
        figures = fetch(host, cell, rounds, self._scratch)
        self._rates[cell, host.name] = figures.rate or 1.0
        return replace(figures, notes=notes + figures.notes)


def fill(host: MailHost, address: str, count: int, size: int, scratch: Path) -> None:
    """By LMTP, until the mailbox has as many. Raises RunFailed."""
    words = ["-L", "-d", "-s", str(_FILLING), "-m", str(count), "-l", str(size), "-f", "a@src.test", "-t", address]
    with (scratch / "fill.log").open("ab") as log:
        source = Child([program("smtp-source") or "smtp-source", *words, host.lmtp], output=log.fileno())
    try:
        if not source.wait(time.monotonic() + _FILL_LIMIT) or source.status != 0:
            raise RunFailed(f"smtp-source filled no mailbox: status {source.status}")
    finally:
        source.stop()
    if (there := stored(host, [address])) != count:
        raise RunFailed(f"{count:,} messages were sent by LMTP, the mailbox has {there:,}")


def fetch(host: MailHost | Floor, cell: FetchCell, rounds: int, scratch: Path) -> Figures:
    """Every client fetches its mailbox ``rounds`` times over. Raises RunFailed."""
    begin = time.monotonic_ns() + int(HEAD_START * 1e9)
    addresses = list(host.people)[: cell.sessions]
    files = [scratch / f"client{number}" for number in range(cell.sessions)]
    clients = [_client(host, *pair, cell, rounds, begin) for pair in zip(addresses, files, strict=True)]
    try:
        time.sleep(max(0, begin - time.monotonic_ns()) / 1e9)
        busy, stolen = cpu_times()
        deadline = time.monotonic() + LIMIT + 10 * rounds
        for client, file in zip(clients, files, strict=True):
            if not client.wait(deadline):
                raise RunFailed("a client has not ended in time")
            if client.status != 0:
                raise RunFailed(f"a client ended with status {client.status}: {_last_line(file.with_suffix('.log'))}")
        busy_after, stolen_after = cpu_times()
    finally:
        for client in clients:
            client.stop()
    noted = [_read(file) for file in files]
    theirs = sum(client.cpu - note.cpu_before / 1e9 for client, note in zip(clients, noted, strict=True))
    return summed(noted, begin, busy_after - busy - theirs, stolen_after - stolen)


def _client(host: MailHost | Floor, address: str, file: Path, cell: FetchCell, rounds: int, begin: int) -> Child:
    manner = "pipelined" if cell.pipelined else "lockstep"
    words = [host.pop3_port, address, host.people[address], manner, rounds, begin, file]
    file.unlink(missing_ok=True)
    with file.with_suffix(".log").open("wb") as log:
        argv = [sys.executable, "-m", "bench.probe_pop3", *map(str, words)]
        return Child(argv, cwd=_ROOT, output=log.fileno())


def _read(file: Path) -> Client:
    began, ended, messages, octets, before, cpu, *took = array.array("q", file.read_bytes())
    return Client(began, ended, messages, octets, before, cpu, took)


def summed(clients: Sequence[Client], begin: int, busy: float, stolen: float) -> Figures:
    """All clients together. ``begin``: the moment that was meant; ``busy``: CPU seconds of everything but the clients;
    ``stolen``: what the host took of all cores."""
    messages = sum(client.messages for client in clients)
    seconds = (max(client.ended for client in clients) - min(client.began for client in clients)) / 1e9
    notes = []
    if seconds < SHORT:
        notes.append(f"run of only {seconds:.2f} s")
    if (late := max(client.began for client in clients) - begin) > 1e8:
        notes.append(f"a client began {late / 1e9:.1f} s late")
    if max(client.cpu / (client.ended - client.began) for client in clients) > PROBE_LIMIT:
        notes.append("a client is the limit")
    if (share := stolen / seconds / (os.cpu_count() or 1)) > STOLEN:
        notes.append(f"host took {share:.0%} of the time")
    took = sorted(nanoseconds / 1e6 for client in clients for nanoseconds in client.took)
    return Figures(
        messages=messages,
        rate=messages / seconds,
        cpu=busy / messages * 1e6,
        stolen=share,
        p50=percentile(took, 0.5) if took else None,
        p99=percentile(took, 0.99) if took else None,
        notes=tuple(notes),
    )


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


# One very large mailbox.


def open_large(name: str, directory: Path, messages: int, progress: Progress) -> Opening:
    """A server of its own whose only mailbox has so many small messages; the shortest of some times each."""
    home, scratch = directory / f"{name}-large", directory / f"{name}-scratch"
    for place in (home, scratch):
        place.mkdir()
        place.chmod(0o755)
    host: MailHost = server_kind(name)(name, home, people(1))
    [address] = host.people
    host.start()
    try:
        progress(f"        {name}: {messages:,} messages for {address}")
        fill(host, address, messages, 512, scratch)
        host.stop()
        host.start()  # what was kept in memory is gone, and the password is checked anew
        first, _ = _opened(host, address)
        again = [_opened(host, address) for _ in range(5)]
    finally:
        host.stop()
    return Opening(messages, first, min(login for login, _ in again), min(uidl for _, uidl in again))


def _opened(host: MailHost, address: str) -> tuple[float, float]:
    """(login, UIDL) in seconds. Raises UnavailableError."""
    try:
        session = Pop3(host.pop3_port, address, host.people[address])
        before = time.monotonic()
        session.listing(b"UIDL")
        uidl = time.monotonic() - before
        session.quit()
    except OSError as error:
        raise UnavailableError(f"{host.name}: POP3 of {address}: {error}") from None
    return session.login_seconds, uidl
