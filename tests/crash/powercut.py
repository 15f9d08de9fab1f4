"""Power cuts: the server's data_dir lies on a file system that is shut down right after an acknowledged 250.

    python -m tests.crash.powercut --cuts 20 --messages 50 [--seed N] [--durability dangerously-buffered]

Owns: the cuts and the report. Each cut: ``messages`` acknowledgements under load from several clients, power off,
kill -9, remount, fsck, a start on the same image (every third one is cut again while it starts). After the last one the
queue drains into the sink and the ledgers are compared. Without ``--durability`` a run with ``dangerously-buffered``
follows, which must lose messages: that proves that the test can fail. Exit 1 when a bar is missed. Needs root.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.rig import (
    Helper,
    Server,
    clients,
    machine,
    percentiles,
    seconds_to_220,
    sink,
    told_to_end,
    wait_until,
)
from tests.harness.ledger import Books, Verdict, reconcile
from tests.harness.ledger_client import Load
from tests.harness.powercut import PowerCut, power_cut_disk

GIVE_UP = 30.0
IMAGE_MEBIBYTES = 512
SETTINGS = '[spool]\nfree_space = "16MiB"\ndurability = "{durability}"\n'


@dataclass
class Cuts:
    """What happened."""

    durability: str
    cuts: int = 0
    while_starting: int = 0
    acknowledged_before_cuts: list[int] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    audits: list[dict[str, int]] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    trouble: list[str] = field(default_factory=list)

    @property
    def unbalanced(self) -> list[dict[str, int]]:
        return [audit for audit in self.audits if audit["drift"] or audit["exit"]]

    def passed(self) -> bool:
        return self.verdict.clean and not self.unbalanced and not self.trouble

    def lines(self) -> list[str]:
        return [
            f"cuts                   {self.cuts:>8}   ({self.while_starting} while starting), {self.durability}",
            *self.verdict.lines(),
            f"220 after mta run      {percentiles(self.recoveries)}",
            f"audits                 {len(self.audits):>8}   ({len(self.unbalanced)} out of balance)",
            *(f"TROUBLE                {what}" for what in self.trouble),
        ]


class Rig:
    """Cuts on one disk with one server."""

    def __init__(self, disk: PowerCut, server: Server, directory: Path, load: Load, cuts: Cuts) -> None:
        self._disk = disk
        self._server = server
        self._directory = directory
        self._load = load
        self._chance = random.Random(load.seed)
        self.result = cuts
        self.ledgers: list[Path] = []

    def run(self, number: int) -> None:
        """Load, cut, remount, start again."""
        load = Load(**{**self._load.__dict__, "seed": self._chance.randrange(1 << 30), "prefix": f"c{number}x"})
        ledger = self._directory / f"client-{number}.ledger"
        self.ledgers.append(ledger)
        with clients(ledger, self._server.port, load) as sending:
            sending.number()  # so many were acknowledged; the others of that moment are in flight
            self._cut(sending)
        self._power_back()
        if number % 3 == 2:
            self._cut_while_starting()
        self.start()
        self.result.audits.append(self._server.audit())

    def _cut(self, sending: Helper | None) -> None:
        self._disk.cut()
        self.result.cuts += 1
        self.result.moments.append(time.monotonic())
        if sending is not None:
            time.sleep(self._chance.random() * 0.1)  # the server goes on without its disk: not one 250 may leave it
            sending.close()
        self._server.kill_everything()

    def _power_back(self) -> None:
        """Mounted once, so that the journal is replayed; then the file system must be clean, and is mounted again."""
        self._disk.remount()
        self._disk.unmount()
        check = subprocess.run(["e2fsck", "-f", "-n", self._disk.device], capture_output=True, text=True)
        if check.returncode:
            self.result.trouble.append(f"e2fsck: {check.stdout.strip()[-200:]}")
        self._disk.mount()

    def _cut_while_starting(self) -> None:
        self._server.start()
        time.sleep(self._chance.random() * 0.8)
        self._cut(None)
        self._power_back()
        self.result.while_starting += 1

    def start(self) -> None:
        since = time.monotonic()
        self._server.start()
        try:
            self.result.recoveries.append(seconds_to_220(self._server.port, since, GIVE_UP))
        except AssertionError as late:
            self.result.trouble.append(f"{late}: {self._server.log()[-300:]}")
            raise


def run(directory: Path, cuts: int, messages: int, seed: int, durability: str = "commit", connections: int = 3) -> Cuts:
    """All cuts on one image, the drain and the verdict."""
    result = Cuts(durability)
    got = directory / "sink.ledger"
    load = Load(clients=4, connections=connections, messages=messages, seed=seed, pause=0.01)
    with power_cut_disk(directory, IMAGE_MEBIBYTES) as disk, sink(got) as (remote, port):
        server = Server(directory, port, data=disk.path / "data", settings=SETTINGS.format(durability=durability))
        rig = Rig(disk, server, directory, load, result)
        try:
            remote.say("pause")  # what was acknowledged stays in the spool for the time of the cuts
            rig.start()
            for number in range(cuts):
                if number == max(1, cuts // 2):
                    remote.say("resume")  # and in the second half deliveries are cut as well
                rig.run(number)
            remote.say("resume")
            _drain(server, result)
        finally:
            server.close()
    books = Books.read(rig.ledgers, [got])
    result.verdict = reconcile(books, load.domains, result.moments)
    return result


def _drain(server: Server, result: Cuts) -> None:
    try:
        wait_until(server.drained, "the queue is empty", 120)
    except AssertionError as late:
        result.trouble.append(str(late))
    result.audits.append(server.audit())
    if code := server.stop():
        result.trouble.append(f"mta run ended with {code}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.powercut", description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--messages", type=int, default=50, help="acknowledged before each cut, at least")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--durability", choices=("commit", "dangerously-buffered"), help="that one only")
    options = parser.parse_args()
    print(f"power cuts: {options.cuts}, seed {options.seed}; {machine()}", flush=True)
    passed = True
    for durability in [options.durability] if options.durability else ["commit", "dangerously-buffered"]:
        cuts = options.cuts if durability == "commit" else min(options.cuts, 3)
        began = time.monotonic()
        with told_to_end(), tempfile.TemporaryDirectory() as directory:
            result = run(Path(directory), cuts, options.messages, options.seed, durability)
        print("\n".join(result.lines()))
        good = result.passed() if durability == "commit" else bool(result.verdict.loss)
        passed = passed and good
        wanted = "" if durability == "commit" else " (it had to lose some)"
        seconds = time.monotonic() - began
        print(f"{'passed' if good else 'FAILED'}{wanted} in {seconds:.0f} s; {machine()}\n", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
