"""A store that is killed or loses power, again and again on the same files, and what it must have kept each time.

    python3 -m tests.crash.store --kills 100 --cuts 20 [--seed N]

Owns: the writer's process, what it promised, and the comparison with what is there. Short versions run in the suite
(``test_store_crashes.py``). Exit 1 when a promise was broken. Cuts need root and a loop device.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from mta.store.stopped import open_stopped
from tests.crash.store_writer import HELD, MAILBOXES, content_of, head_of
from tests.crash.victim import WritingProcess
from tests.harness.powercut import PowerCut, power_cut_disk

ROOT = Path(__file__).resolve().parents[2]
#: Numbers that one life of the writer may use.
LIFE = 10_000_000


class Promises:
    """What the writer said over all its lives."""

    def __init__(self) -> None:
        self.delivered: dict[tuple[int, int], int] = {}
        self.removed: set[tuple[int, int]] = set()
        self.open: list[frozenset[tuple[int, int]]] = []
        self.twice: list[str] = []
        self.removals = 0

    def hear(self, line: bytes) -> None:
        word, mailbox, *numbers = line.decode().split()
        if word == "delivered":
            uid, number = map(int, numbers)
            key = (int(mailbox), uid)
            if key in self.delivered:
                self.twice.append(f"uid {uid} of mailbox {mailbox} was given twice")
            self.delivered[key] = number
            return
        keys = frozenset((int(mailbox), int(uid)) for uid in numbers)
        if word == "removing":
            self.open.append(keys)
        else:
            self.open.remove(keys)
            self.removed |= keys
            self.removals += 1

    def broken(self, directory: Path) -> list[str]:
        """Every promise that what is in ``directory`` does not keep. A removal without an answer is settled by it."""
        there: set[tuple[int, int]] = set()
        wrong = self.twice.copy()
        with open_stopped(directory) as store:
            audit = asyncio.run(store.audit())
            wrong += audit.findings
            for mailbox in (*MAILBOXES, HELD):
                view = store.view(mailbox)
                for index, uid in enumerate(view.uids):
                    key = (mailbox, uid)
                    there.add(key)
                    octets = b"".join(view.content(index))
                    number = self.delivered.setdefault(key, number_in(octets, mailbox))
                    if octets != head_of(mailbox) + content_of(number) or len(octets) != view.sizes[index]:
                        wrong.append(f"message {uid} of mailbox {mailbox} is not as it was delivered")
        for keys in self.open:
            kept = keys & there
            if kept and kept != keys:
                wrong.append(f"a removal of {len(keys)} messages took away {len(keys - kept)}")
            if not kept:
                self.removed |= keys
        self.open.clear()
        lost = set(self.delivered) - self.removed - there
        back = self.removed & there
        wrong += [f"{len(lost)} acknowledged messages are lost"] if lost else []
        wrong += [f"{len(back)} removed messages are back"] if back else []
        return wrong


def number_in(octets: bytes, mailbox: int) -> int:
    """What a message says of itself: it may have been stored without our having heard so."""
    start = len(head_of(mailbox))
    return int(octets[start : start + 16])


class Victim(WritingProcess):
    """A writer process that says its promises to ``promises``."""

    def __init__(self, directory: Path, promises: Promises, first: int, sync: str = "synced") -> None:
        self._promises = promises
        super().__init__("store_writer", directory, first, sync)

    def hear(self, line: bytes) -> None:
        self._promises.hear(line)


def kill_once(directory: Path, promises: Promises, life: int, chance: random.Random) -> list[str]:
    """One life: some lines, in half of the cases up to a removal that is under way, then SIGKILL."""
    victim = Victim(directory, promises, 1 + life * LIFE)
    victim.read(chance.randrange(1, 1500))
    if chance.random() < 0.5:
        victim.read(5000, until=b"removing")
    victim.kill()
    return promises.broken(directory)


def cut_once(disk: PowerCut, promises: Promises, life: int, chance: random.Random, sync: str = "synced") -> list[str]:
    """One life on the disk whose power is cut."""
    directory = disk.path / "store"
    victim = Victim(directory, promises, 1 + life * LIFE, sync)
    victim.read(chance.randrange(1, 1500))
    if chance.random() < 0.5:
        victim.read(5000, until=b"removing")
    disk.cut()
    victim.kill()
    disk.remount()
    return promises.broken(directory)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.crash.store", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    chance = random.Random(options.seed)
    print(f"kills {options.kills}, cuts {options.cuts}, seed {options.seed}", flush=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        promises = Promises()
        for life in range(options.kills):
            wrong += kill_once(Path(name) / "store", promises, life, chance)
        report("kill -9", promises, wrong)
        cut = Promises()
        if options.cuts:
            with power_cut_disk(Path(name), 256) as disk:
                for life in range(options.cuts):
                    wrong += cut_once(disk, cut, life, chance)
            report("power cut", cut, wrong)
    return 1 if wrong else 0


def report(what: str, promises: Promises, wrong: list[str]) -> None:
    print(
        f"{what:<10} {len(promises.delivered)} copies delivered, {len(promises.removed)} removed in "
        f"{promises.removals} removals that were answered, {len(wrong)} promises broken"
    )
    for text in wrong:
        print(f"BROKEN     {text}")


if __name__ == "__main__":
    sys.exit(main())
