"""The whole comparison: which peers, in which order, and what becomes of a run that fails.

Owns: the order of runs and the temporary directory. Within a cell the peers take turns, repeat by repeat, so that a
machine that drifts hits all alike; only the one that is measured is up. Never does: print the table.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.exim import Exim
from bench.figures import Figures, Results
from bench.haraka import Haraka
from bench.hermes import Hermes
from bench.machine import program
from bench.measure import Place, RunFailed, latency, throughput, warm_up
from bench.peers import Peer, Postfix, Straight
from bench.plan import ESTIMATE_IS_LOW, POSTFIX, STRAIGHT, Cell, message_count, probe_count, warm_up_count
from bench.process import free_port, stop_all
from mta.errors import MtaError, UnavailableError, UsageError

_Kind = type[Straight] | type[Hermes] | type[Postfix] | type[Haraka] | type[Exim]
_KINDS: dict[str, _Kind] = {STRAIGHT: Straight, "hermes": Hermes, POSTFIX: Postfix, "haraka": Haraka, "exim": Exim}
_TOOLS = ("smtp-source", "smtp-sink")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """``most``: messages a run at most. ``seconds``: what a run should take. ``directory``: where spools are made."""

    cells: Sequence[Cell]
    peers: Sequence[str]
    directory: Path
    most: int
    seconds: float
    repeat: int = 1
    latency: bool = True


def kind_of(name: str) -> _Kind:
    """The class behind a peer's name. Raises UsageError."""
    if re.fullmatch(r"hermes-[1-9][0-9]?", name):
        return Hermes
    if name == "hermes" or name not in _KINDS:
        raise UsageError(f'"{name}" is no peer: take straight, hermes-N, postfix, haraka or exim')
    return _KINDS[name]


def check_tools() -> None:
    """The programs that every row needs. Raises UnavailableError."""
    missing = [name for name in _TOOLS if not program(name)]
    if missing:
        what = " and ".join(missing)
        raise UnavailableError(f"{what} not found: install Postfix (Debian: apt-get install postfix)")


def present(names: Sequence[str], *, insist: bool) -> tuple[list[str], dict[str, str]]:
    """The peers that can run, and why the others cannot. With ``insist`` one that cannot is an error."""
    absent = {name: reason for name in names if (reason := kind_of(name).missing())}
    if absent and insist:
        raise UnavailableError("; ".join(f"{name}: {reason}" for name, reason in absent.items()))
    return [name for name in names if name not in absent], absent


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A directory of our own that other users may walk through (Postfix runs under its own), removed at the end, when
    nothing that we started runs any more."""
    directory = Path(tempfile.mkdtemp(prefix="hermes-bench-", dir=parent))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        stop_all()
        shutil.rmtree(directory, ignore_errors=True)


class Comparison:
    """Runs every cell. ``versions`` of the peers are known before the first run."""

    def __init__(self, options: Options, directory: Path, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._sink_port = free_port()
        self._scratch = directory / "scratch"
        self._scratch.mkdir()
        self.peers: list[Peer] = []
        for name in options.peers:
            home = directory / name
            home.mkdir()
            home.chmod(0o755)
            self.peers.append(kind_of(name)(name, home, self._sink_port))
        self.results = Results()
        self._rates: dict[tuple[Cell, str], float] = {}

    def versions(self) -> dict[str, str]:
        return {peer.name: peer.version() for peer in self.peers if peer.name != STRAIGHT}

    def run(self) -> Results:
        """All cells. A run that fails becomes a note in its row; the next ones go on."""
        total = len(self._options.cells) * self._options.repeat * len(self.peers)
        number = 0
        for cell in self._options.cells:
            for _ in range(self._options.repeat):
                for peer in self.peers:
                    number += 1
                    figures = self._one(cell, peer)
                    self.results.add(cell, peer.name, figures)
                    self._progress(f"{number}/{total}  {cell}, {peer.name}: {summary(figures)}")
        return self.results

    def _one(self, cell: Cell, peer: Peer) -> Figures:
        figures = Figures()
        try:
            try:
                figures = self._measured(cell, peer, Place(peer.start(), self._sink_port, self._scratch))
            finally:
                peer.stop()
        except MtaError as error:
            figures = replace(figures, notes=(*figures.notes, f"FAILED: {error}"))
        finding = peer.check()
        return replace(figures, notes=(*figures.notes, f"AUDIT: {finding}")) if finding else figures

    def _measured(self, cell: Cell, peer: Peer, place: Place) -> Figures:
        """Warm-up, latency, throughput, in this order: smtp-sink leaves the relay with one message unanswered."""
        most = self._options.most
        warm = warm_up(place, cell, warm_up_count(cell, most))
        timed = Figures()
        if self._options.latency:
            try:
                timed = latency(place, cell, probe_count(cell, warm, most))
            except RunFailed as error:
                timed = Figures(notes=(f"latency: {error}",))
        estimate = self._rates.get((cell, peer.name)) or max(warm, timed.probe_rate or 0.0) * ESTIMATE_IS_LOW
        counted = throughput(place, cell, message_count(cell, estimate, self._options.seconds, most))
        if counted.rate is not None:
            self._rates[cell, peer.name] = counted.rate
        return replace(
            counted,
            p50=timed.p50,
            p99=timed.p99,
            probe_messages=timed.probe_messages,
            probe_rate=timed.probe_rate,
            notes=(*counted.notes, *timed.notes),
        )


def summary(figures: Figures) -> str:
    """One run in a few words."""
    words = []
    if figures.rate is not None and figures.cpu is not None:
        words.append(f"{figures.rate:,.0f}/s ({figures.messages:,} messages), {figures.cpu:,.0f} µs CPU")
    if figures.p50 is not None and figures.p99 is not None:
        words.append(f"p50 {figures.p50:.2f} ms, p99 {figures.p99:.2f} ms")
    return "; ".join([*words, *figures.notes]) or "no figures"
