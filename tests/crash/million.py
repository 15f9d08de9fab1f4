"""A million queued messages: how soon the server answers, what memory it takes, and in what order the queue drains.

    python -m tests.crash.million [--messages 1000000] [--drain N] [--seed N]

Owns: the spool, the measurement and the report. The messages lie in groups of different due times that were written in
random order, so that neither ids nor the order in the files is the due order. Exit 1 when a bar is missed.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from mta.model.spoolid import parse_id, shard_of
from mta.spool.fill import Pattern, fill
from tests.crash.rig import Server, machine, seconds_to_220, sink, told_to_end, wait_until
from tests.harness.ledger import DOMAIN

#: Seconds from ``mta run`` to 220.
ANSWER = 2.0
#: Octets that all processes of the server may take together.
MEMORY = 300_000_000
#: How many places a message may be away from its place in due order: what several connections have in flight.
DISPLACED = 500
GROUPS = 10
WORKERS = 2
PATIENCE = 900.0


@dataclass
class Report:
    """What was measured."""

    messages: int
    fill_seconds: float = 0.0
    octets: int = 0
    answered: float = 0.0
    anonymous: int = 0
    resident: int = 0
    started_with: int = 0
    drained: int = 0
    drain_seconds: float = 0.0
    displaced: int = 0
    twice: int = 0
    audit: dict[str, int] = field(default_factory=dict)

    def troubles(self) -> list[str]:
        bars = {
            f"220 after more than {ANSWER:g} s": self.answered > ANSWER,
            f"more than {MEMORY / 1e6:.0f} MB": self.resident > MEMORY,
            f"a message more than {DISPLACED} places out of due order": self.displaced > DISPLACED,
            "a message was delivered twice": self.twice > 0,
            "the audit does not balance": bool(self.audit["drift"] or self.audit["exit"]),
        }
        return [what for what, missed in bars.items() if missed]

    def lines(self) -> list[str]:
        rate = self.drained / self.drain_seconds if self.drain_seconds else 0
        return [
            f"queued             {self.messages:>10} messages, {self.octets / 1e6:.0f} MB on disk",
            f"made in            {self.fill_seconds:>10.1f} s",
            f"220 after          {self.answered:>10.2f} s",
            f"memory at start    {self.started_with / 1e6:>10.0f} MB resident, all processes",
            f"memory at most     {self.resident / 1e6:>10.0f} MB resident, {self.anonymous / 1e6:.0f} MB anonymous",
            f"drained            {self.drained:>10} messages in {self.drain_seconds:.0f} s ({rate:.0f}/s), "
            f"{self.twice} twice",
            f"out of due order   {self.displaced:>10} places at most, within a shard",
            f"audit              drift {self.audit['drift']}, queued {self.audit['queued']}",
            *(f"TROUBLE            {what}" for what in self.troubles()),
        ]


def make_spool(data: Path, messages: int, seed: int) -> None:
    """``GROUPS`` due times, one domain each, written in random order."""
    groups = list(range(GROUPS))
    random.Random(seed).shuffle(groups)
    now = int(time.time() * 1000)
    for group in groups:
        share = messages // GROUPS + (group < messages % GROUPS)
        due = now - (GROUPS - group) * 60_000
        fill(data, WORKERS, share, Pattern(domains=(f"g{group}.{DOMAIN}",), due=due))


def forget_cache(data: Path) -> int:
    """Takes the spool's files out of the page cache, as after a boot; their size on disk in octets."""
    octets = 0
    for path in data.glob("spool/*/data.mdb"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            octets += os.fstat(fd).st_blocks * 512
        finally:
            os.close(fd)
    return octets


def memory(pids: list[int]) -> tuple[int, int]:
    """(resident, anonymous) octets; pages that processes share count once (Pss)."""
    resident = anonymous = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (OSError, ProcessLookupError):
            continue
        sizes = {words[0]: int(words[1]) * 1024 for words in map(str.split, text.splitlines()[1:])}
        resident += sizes["Pss:"]
        anonymous += sizes["Pss_Anon:"]
    return resident, anonymous


def watch(server: Server, ledger: Path, wanted: int, report: Report) -> None:
    """Until so many lines are in the sink's ledger, with a look at the memory four times a second."""
    began = time.monotonic()
    lines = position = 0
    while lines < wanted:
        time.sleep(0.25)
        resident, anonymous = memory(server.family())
        report.resident = max(report.resident, resident)
        report.anonymous = max(report.anonymous, anonymous)
        with ledger.open("rb") as file:
            file.seek(position)
            new = file.read()
        position += len(new)
        lines += new.count(b"\n")
        if time.monotonic() - began > PATIENCE:
            raise AssertionError(f"only {lines} of {wanted} delivered in {PATIENCE:.0f} s")
    report.drain_seconds = time.monotonic() - began


def order(ledger: Path, report: Report) -> None:
    """How far from their due order messages came, shard by shard."""
    arrived: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for line in ledger.read_text().splitlines():
        _, _, recipient, _, queue_id, *_ = line.split()
        spool_id = parse_id(queue_id)
        arrived[shard_of(spool_id)].append((int(recipient.partition("@g")[2].partition(".")[0]), spool_id))
    for found in arrived.values():
        report.drained += len(found)
        report.twice += len(found) - len(set(found))
        for place, wanted in enumerate(sorted(range(len(found)), key=found.__getitem__)):
            report.displaced = max(report.displaced, abs(place - wanted))


def run(directory: Path, messages: int, drain: int, seed: int) -> Report:
    """The whole measurement."""
    report = Report(messages)
    ledger = directory / "sink.ledger"
    with sink(ledger) as (_, port):
        server = Server(directory, port, workers=WORKERS)
        began = time.monotonic()
        make_spool(server.data, messages, seed)
        report.fill_seconds = time.monotonic() - began
        report.octets = forget_cache(server.data)
        try:
            began = time.monotonic()
            server.start()
            report.answered = seconds_to_220(server.port, began, 60.0)
            report.started_with, _ = memory(server.family())
            watch(server, ledger, min(drain, messages), report)
            if drain >= messages:
                wait_until(server.drained, "the queue is empty")
            server.stop()
        finally:
            server.close()
        report.audit = server.audit()
    order(ledger, report)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.million", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--drain", type=int, help="stop after so many are delivered; default: all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{options.messages} queued messages; {machine()}", flush=True)
    with told_to_end(), tempfile.TemporaryDirectory() as directory:
        report = run(Path(directory), options.messages, options.drain or options.messages, options.seed)
    print("\n".join(report.lines()))
    print(f"{'FAILED' if report.troubles() else 'passed'}; {machine()}")
    return 1 if report.troubles() else 0


if __name__ == "__main__":
    sys.exit(main())
