"""The comparison of relays: which peers there are, and what a run of one of them consists of.

Owns: the choice of peers and the order of warm-up, latency and throughput. Never does: print the table.
"""

import re
from collections.abc import Sequence
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
from bench.process import free_port
from bench.rounds import Progress, run_rounds
from mta.errors import UnavailableError, UsageError

_Kind = type[Straight] | type[Hermes] | type[Postfix] | type[Haraka] | type[Exim]
_KINDS: dict[str, _Kind] = {STRAIGHT: Straight, "hermes": Hermes, POSTFIX: Postfix, "haraka": Haraka, "exim": Exim}
_TOOLS = ("smtp-source", "smtp-sink")


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
        self._rates: dict[tuple[Cell, str], float] = {}

    def versions(self) -> dict[str, str]:
        return {peer.name: peer.version() for peer in self.peers if peer.name != STRAIGHT}

    def run(self) -> Results:
        """All cells. A run that fails becomes a note in its row; the next ones go on."""
        options = self._options
        return run_rounds(options.cells, self.peers, options.repeat, self._measured, self._progress)

    def _measured(self, cell: Cell, peer: Peer) -> Figures:
        """Warm-up, latency, throughput, in this order: smtp-sink leaves the relay with one message unanswered."""
        place = Place(peer.start(), self._sink_port, self._scratch)
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
