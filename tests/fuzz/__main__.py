"""``python -m tests.fuzz --seconds N --seed S [core...]``: octets that nobody thought of, for each core of ``mta_ext``.

Owns: the loop and the command line. Seeds are mutated, pasted together and cut; what makes a core behave in a way not
seen before is kept and mutated on. All seeds are played, however short the time. A run with the same seed and
``--inputs`` is the same. What breaks an invariant is written to a file, and the exit code is 1.
"""

import argparse
import hashlib
import sys
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path
from random import Random

from mta.clock import SystemClock
from tests.fuzz.cores import CORES
from tests.fuzz.seeds import seeds, words

#: Octets of an input, and inputs that are kept.
LONGEST = 6000
MOST_KEPT = 2000


class Fuzzer:
    """One core. ``step`` tries one input; what it raises is the core's failure with ``self.last``."""

    def __init__(self, core: str, seed: int) -> None:
        self._check = CORES[core]
        self._random = Random(f"{core} {seed}")
        self._words = words()
        self._waiting = list(seeds(core))
        self._kept: list[bytes] = []
        self._seen: set[Hashable] = set()
        self.tried = 0
        self.last = b""

    @property
    def kept(self) -> int:
        return len(self._kept)

    @property
    def seeds_left(self) -> int:
        return len(self._waiting)

    @property
    def ways(self) -> int:
        """Shapes seen, also those whose input was replaced by a later one."""
        return len(self._seen)

    def step(self) -> None:
        self.last = self._waiting.pop() if self._waiting else self._mutated()
        # What is drawn while it is played comes from the input itself, so that the file alone shows the failure again.
        shape = self._check(self.last, Random(self.last))
        self.tried += 1
        if shape not in self._seen:
            self._seen.add(shape)
            self._keep(self.last)

    def _keep(self, octets: bytes) -> None:
        if len(self._kept) < MOST_KEPT:
            self._kept.append(octets)
        else:
            self._kept[self._random.randrange(MOST_KEPT)] = octets

    def _mutated(self) -> bytes:
        random = self._random
        octets = random.choice(self._kept)
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            octets = random.choice(_MUTATIONS)(octets, self)
        return octets[:LONGEST]

    def word(self) -> bytes:
        return self._random.choice(self._words)

    def other(self) -> bytes:
        return self._random.choice(self._kept)

    def place(self, octets: bytes) -> int:
        return self._random.randrange(len(octets) + 1)

    def octet(self) -> bytes:
        return bytes([self._random.randrange(256)])


def _inserted(octets: bytes, by: Fuzzer) -> bytes:
    at = by.place(octets)
    return octets[:at] + by.word() + octets[at:]


def _replaced(octets: bytes, by: Fuzzer) -> bytes:
    at = by.place(octets)
    word = by.word()
    return octets[:at] + word + octets[at + len(word) :]


def _changed(octets: bytes, by: Fuzzer) -> bytes:
    at = by.place(octets)
    return octets[:at] + by.octet() + octets[at + 1 :]


def _removed(octets: bytes, by: Fuzzer) -> bytes:
    first, second = sorted((by.place(octets), by.place(octets)))
    return octets[:first] + octets[min(second, first + 40) :]


def _repeated(octets: bytes, by: Fuzzer) -> bytes:
    first, second = sorted((by.place(octets), by.place(octets)))
    return octets[:second] + octets[first:]


def _pasted(octets: bytes, by: Fuzzer) -> bytes:
    other = by.other()
    return octets[: by.place(octets)] + other[by.place(other) :]


_MUTATIONS: list[Callable[[bytes, Fuzzer], bytes]] = [
    _inserted,
    _inserted,
    _replaced,
    _changed,
    _removed,
    _repeated,
    _pasted,
]


def _report(core: str, fuzzer: Fuzzer) -> str:
    name = Path(f"fuzz-{core}-{hashlib.sha256(fuzzer.last).hexdigest()[:12]}.bin")
    name.write_bytes(fuzzer.last)
    return f"{core}: input {fuzzer.tried + 1} broke it; {len(fuzzer.last)} octets in {name}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all cores together (60)")
    parser.add_argument("--inputs", type=int, default=0, help="so many for each core instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("cores", nargs="*", choices=[[], *CORES], help=f"of {', '.join(CORES)}; none: all")
    args = parser.parse_args()
    cores = args.cores or list(CORES)
    failed = False
    for core in cores:
        fuzzer, clock = Fuzzer(core, args.seed), SystemClock()
        end = clock.monotonic() + args.seconds / len(cores)
        try:
            while fuzzer.seeds_left or (fuzzer.tried < args.inputs if args.inputs else clock.monotonic() < end):
                fuzzer.step()
        except Exception:
            traceback.print_exc()
            print(_report(core, fuzzer), flush=True)
            failed = True
        else:
            print(f"{core}: {fuzzer.tried:,} inputs, {fuzzer.ways:,} ways to behave, {fuzzer.kept:,} kept", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
