"""``python -m bench local``: from SMTP through the spool and LMTP into mailboxes, Hermes beside Postfix and Dovecot.

Owns: what a run is and what is counted from when to when. smtp-source sends, a process of its own for each mailbox; the
server's own log is counted while it grows; before and after, POP3 says what is in the mailboxes, and the difference
must be what was sent. Rate: from the start of the first source until the last delivery was logged. CPU a message: all
busy time of the machine meanwhile, less that of the sources and of this process.
"""

import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.figures import Figures, Results
from bench.machine import IDLE, cpu_times, program, settle
from bench.mailhosts import Deliveries, HermesMail, MailHost, PostfixDovecot, people
from bench.measure import LIMIT, SHORT, STOLEN, RunFailed
from bench.plan import POSTFIX, LocalCell, message_count
from bench.probe_pop3 import Pop3
from bench.process import Child, await_first
from bench.rounds import Progress, run_rounds
from mta.errors import UnavailableError, UsageError

#: Seconds between two looks at the log.
LOOK = 0.02
#: Seconds that a warm-up should take: a shorter one would mostly measure how late a log is written.
WARM_SECONDS = 1.0
#: Seconds that a delivery may follow the one before it, once nothing more is sent.
STANDSTILL = 20.0


@dataclass(frozen=True)
class LocalOptions:
    """As for the relay: ``most`` messages a run, ``seconds`` that one should take."""

    cells: Sequence[LocalCell]
    peers: Sequence[str]
    directory: Path
    most: int
    seconds: float
    repeat: int = 1


def host_kind(name: str) -> type[HermesMail] | type[PostfixDovecot]:
    """The class behind a peer's name. Raises UsageError."""
    if re.fullmatch(r"hermes-[1-9][0-9]?", name):
        return HermesMail
    if name != POSTFIX:
        raise UsageError(f'"{name}" is no peer: take hermes-N or postfix')
    return PostfixDovecot


def local_hosts(names: Sequence[str], directory: Path, mailboxes: int) -> list[MailHost]:
    """A server in a directory of its own for each name."""
    hosts: list[MailHost] = []
    for name in names:
        home = directory / name
        home.mkdir()
        home.chmod(0o755)
        hosts.append(host_kind(name)(name, home, people(mailboxes)))
    return hosts


class LocalComparison:
    """Runs every cell. ``versions`` are known before the first run."""

    def __init__(self, options: LocalOptions, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._scratch = options.directory / "scratch"
        self._scratch.mkdir()
        most = max(cell.mailboxes for cell in options.cells)
        self.hosts = local_hosts(options.peers, options.directory, most)
        self._rates: dict[tuple[LocalCell, str], float] = {}

    def versions(self) -> dict[str, str]:
        return {host.name: host.version() for host in self.hosts}

    def run(self) -> Results:
        options = self._options
        return run_rounds(options.cells, self.hosts, options.repeat, self._measured, self._progress)

    def _measured(self, cell: LocalCell, host: MailHost) -> Figures:
        """A warm-up that is long enough to tell the rate, at a server's first run after a short one, then the run."""
        port = host.start()
        options = self._options
        known = self._rates.get((cell, host.name))
        rate = known or deliver(host, port, cell, min(options.most, 20 * cell.sessions), self._scratch).rate or 1.0
        warm = deliver(host, port, cell, message_count(cell, rate, WARM_SECONDS, options.most), self._scratch)
        count = message_count(cell, known or warm.rate or 1.0, options.seconds, options.most)
        notes = () if (share := settle()) <= IDLE else (f"machine {share:.0%} busy before",)
        figures = deliver(host, port, cell, count, self._scratch)
        self._rates[cell, host.name] = figures.rate or 1.0
        return replace(figures, notes=notes + figures.notes)


def deliver(host: MailHost, port: int, cell: LocalCell, count: int, scratch: Path) -> Figures:
    """About ``count`` messages, evenly. Raises RunFailed when not all of them are in the mailboxes afterwards."""
    addresses = list(host.people)[: cell.mailboxes]
    each = max(1, count // cell.mailboxes, cell.sessions // cell.mailboxes)
    count = each * cell.mailboxes
    before = stored(host, addresses)
    deliveries = host.deliveries()
    busy, stolen = cpu_times()
    own, began = time.process_time(), time.monotonic()
    sources = [_source(address, port, cell, each, scratch) for address in addresses]
    try:
        accepted, ended = _await(sources, deliveries, count)
    finally:
        for source in sources:
            source.stop()
    busy_after, stolen_after = cpu_times()
    cpu = busy_after - busy - sum(source.cpu for source in sources) - (time.process_time() - own)
    came = stored(host, addresses) - before
    if came != count:
        raise RunFailed(f"{count:,} were sent, the mailboxes have {came:,} more")
    seconds = ended - began
    share = (stolen_after - stolen) / seconds / (os.cpu_count() or 1)
    notes = [f"run of only {seconds:.2f} s"] if seconds < SHORT else []
    notes += [f"host took {share:.0%} of the time"] if share > STOLEN else []
    return Figures(
        messages=count,
        rate=count / seconds,
        accept_rate=count / (accepted - began),
        cpu=cpu / count * 1e6,
        stolen=share,
        notes=tuple(notes),
    )


def _source(address: str, port: int, cell: LocalCell, count: int, scratch: Path) -> Child:
    """Sessions are shared out evenly; one at least for each mailbox."""
    sessions = max(1, cell.sessions // cell.mailboxes)
    words = ["-d", "-s", str(sessions), "-m", str(count), "-l", str(cell.size), "-f", "a@src.test", "-t", address]
    with (scratch / "source.log").open("ab") as log:
        return Child([program("smtp-source") or "smtp-source", *words, f"127.0.0.1:{port}"], output=log.fileno())


def _await(sources: Sequence[Child], deliveries: Deliveries, count: int) -> tuple[float, float]:
    """(when all was accepted, when all was delivered), monotonic. Raises RunFailed."""
    deadline = time.monotonic() + LIMIT
    pause = threading.Event()
    accepted = 0.0
    moved, seen = time.monotonic(), 0
    while (done := deliveries.look()) < count or not accepted:
        now = time.monotonic()
        if done > seen:
            moved, seen = now, done
        if not accepted and (left := [source for source in sources if source.status is None]):
            ended = await_first(left, now + LOOK)
            if ended is not None and ended.status != 0:
                raise RunFailed(f"smtp-source ended with status {ended.status}")
            if now > deadline:
                raise RunFailed(f"not everything was accepted within {LIMIT:.0f} s")
            continue
        accepted = accepted or max(source.ended or now for source in sources)
        if now - moved > STANDSTILL:
            raise RunFailed(f"{done:,} of {count:,} delivered, and nothing more for {STANDSTILL:.0f} s")
        pause.wait(LOOK)
    return accepted, time.monotonic()


def stored(host: MailHost, addresses: Sequence[str]) -> int:
    """Messages in these mailboxes, as POP3 says. Raises UnavailableError."""
    total = 0
    for address in addresses:
        try:
            session = Pop3(host.pop3_port, address, host.people[address])
            total += session.stat()[0]
            session.quit()
        except OSError as error:
            raise UnavailableError(f"{host.name}: POP3 of {address}: {error}") from None
    return total
