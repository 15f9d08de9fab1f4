"""Kill -9 storm: workers and attendant are killed at random moments under load, and two ledgers say what became of it.

    python -m tests.crash.storm --kills 60 [--seed N]

Owns: who is killed when, and the report. Exit 1 when a bar is missed: a message lost, corrupted or invented, a
duplicate that no fault explains, an audit that does not balance, or no 220 within RECOVERY seconds.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.rig import (
    Helper,
    Server,
    clients,
    kill_pid,
    machine,
    percentiles,
    seconds_to_220,
    sink,
    told_to_end,
    wait_until,
)
from tests.harness.ledger import Books, Verdict, reconcile
from tests.harness.ledger_client import Load

#: Seconds from a kill until new connections are greeted again.
RECOVERY = 2.0
GIVE_UP = 30.0
#: Deliveries that may be in flight at a fault: 20 connections with a few recipients each, and what was delivered and
#: awaits its commit, of all workers together.
IN_FLIGHT = 400
TARGETS = ("worker", "worker", "workers", "attendant")
_NAMES = {
    "worker": "one worker",
    "workers": "all workers",
    "attendant": "the attendant",
    "sink": "the sink's connections",
}


@dataclass
class Storm:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[float, str]] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    audits: list[dict[str, int]] = field(default_factory=list)
    acknowledged_per_second: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    trouble: list[str] = field(default_factory=list)

    @property
    def slow(self) -> list[float]:
        return [seconds for found in self.recoveries.values() for seconds in found if seconds > RECOVERY]

    @property
    def unbalanced(self) -> list[dict[str, int]]:
        return [audit for audit in self.audits if audit["drift"] or audit["exit"]]

    @property
    def most_at_once(self) -> int:
        """The most duplicates that one fault has left."""
        return max(Counter(fault for _, fault in self.verdict.duplicates).values(), default=0)

    def passed(self, longest: float = RECOVERY) -> bool:
        slow = [seconds for found in self.recoveries.values() for seconds in found if seconds > longest]
        few = self.most_at_once <= IN_FLIGHT
        return self.verdict.clean and few and not slow and not self.unbalanced and not self.trouble

    def lines(self) -> list[str]:
        ages = [fault - first for first, fault in self.verdict.duplicates]
        return [
            "kills                  " + ", ".join(f"{count} × {_NAMES[name]}" for name, count in self.kills.items()),
            *self.verdict.lines(),
            f"  after one fault      {self.most_at_once:>8}   (first copies {max(ages, default=0):.3f} s before)",
            f"acknowledged           {self.acknowledged_per_second:>8.0f} messages/s",
            *(f"220 after {_NAMES[name]:<14} {percentiles(found)}" for name, found in self.recoveries.items()),
            f"audits                 {len(self.audits):>8}   ({len(self.unbalanced)} out of balance)",
            *(f"TROUBLE                {what}" for what in self.trouble),
        ]


class Rig:
    """One storm over one server."""

    def __init__(self, server: Server, remote: Helper, load: Helper, chance: random.Random) -> None:
        self._server = server
        self._sink = remote
        self._load = load
        self._chance = chance
        self.storm = Storm()

    def run(self, kills: int) -> None:
        server = self._server
        began = time.monotonic()
        for number in range(kills):
            time.sleep(0.1 + self._chance.random() * 1.2)
            if number % 6 == 5:
                self._drop()
            self._kill(self._chance.choice(TARGETS) if number > 3 else TARGETS[number])
            self._audit()
        wait_until(server.all_running, "all services are running")
        self.storm.acknowledged_per_second = self._load.acknowledged() / (time.monotonic() - began)

    def _drop(self) -> None:
        self.storm.kills["sink"] += 1
        self._sink.say("drop")
        time.sleep(self._chance.random() * 0.2)

    def _kill(self, target: str) -> None:
        server, storm = self._server, self.storm
        since = time.monotonic()
        if target == "attendant":
            server.kill()
            storm.faults.append((time.monotonic(), target))
            if self._chance.random() < 0.3:
                self._audit()  # the server is down, its workers perhaps still going
                since = time.monotonic()
            server.start()
            if self._chance.random() < 0.25:  # and again, while it starts
                time.sleep(self._chance.random() * 0.6)
                server.kill()
                storm.faults.append((time.monotonic(), target))
                storm.kills[target] += 1
                since = time.monotonic()
                server.start()
        else:
            pids = server.worker_pids()
            for pid in pids if target == "workers" else self._chance.sample(pids, 1) if pids else []:
                kill_pid(pid)
            storm.faults.append((time.monotonic(), target))
        storm.kills[target] += 1
        storm.recoveries.setdefault(target, []).append(seconds_to_220(server.port, since, GIVE_UP))

    def _audit(self) -> None:
        self.storm.audits.append(self._server.audit())


def run(directory: Path, kills: int, seed: int, *, clients_: int = 8, connections: int = 4) -> Storm:
    """The whole storm: load, kills, drain, verdict. Everything lies in ``directory``."""
    load = Load(clients=clients_, connections=connections, seed=seed, prefix=f"s{seed}x")
    sent, got = directory / "client.ledger", directory / "sink.ledger"
    with sink(got) as (remote, sink_port):
        server = Server(directory, sink_port)
        try:
            server.start()
            seconds_to_220(server.port, time.monotonic(), GIVE_UP)
            with clients(sent, server.port, load) as sending:
                rig = Rig(server, remote, sending, random.Random(seed))
                rig.run(kills)
                sending.finish()
            _drain(server, rig.storm)
        finally:
            server.close()
    _judge(rig.storm, Books.read([sent], [got]), load.domains)
    told = (f"{moment:.6f} {target}\n" for moment, target in rig.storm.faults)
    (directory / "faults").write_text("".join(told))
    return rig.storm


def _drain(server: Server, storm: Storm) -> None:
    try:
        wait_until(server.drained, "the queue is empty", 120)
    except AssertionError as late:
        storm.trouble.append(str(late))
    storm.audits.append(server.audit())
    code = server.stop()
    if code:
        storm.trouble.append(f"mta run ended with {code}")
    tracebacks = server.log().count("Traceback")
    if tracebacks:
        storm.trouble.append(f"{tracebacks} tracebacks in {server.stderr}")


def _judge(storm: Storm, books: Books, domains: int) -> None:
    storm.faults = sorted(storm.faults + [(moment, "sink") for moment in books.drops])
    storm.verdict = reconcile(books, domains, [moment for moment, _ in storm.faults])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.storm", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--keep", type=Path, help="a directory for ledgers and logs that stays")
    options = parser.parse_args()
    print(f"kill -9 storm: {options.kills} kills, seed {options.seed}; {machine()}", flush=True)
    with told_to_end(), tempfile.TemporaryDirectory() as temporary:
        directory = options.keep or Path(temporary)
        directory.mkdir(exist_ok=True)
        began = time.monotonic()
        storm = run(directory, options.kills, options.seed)
    print("\n".join(storm.lines()))
    print(f"{'passed' if storm.passed() else 'FAILED'} in {time.monotonic() - began:.0f} s; {machine()}")
    return 0 if storm.passed() else 1


if __name__ == "__main__":
    sys.exit(main())
