"""Rounds of a comparison: every cell, every peer in turn, and what becomes of a run that fails.

Owns: the order of runs and the temporary directory. Within a cell the peers take turns, repeat by repeat, so that a
machine that drifts hits all alike; only the one that is measured is up. Never does: print the table.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from bench.figures import Figures, Results
from bench.plan import Load
from bench.process import stop_all
from mta.errors import MtaError

Progress = Callable[[str], None]


class Measured(Protocol):
    """A server under test: stopped after each run, and then asked what is wrong with its books ("": nothing)."""

    name: str

    def stop(self) -> None: ...

    def check(self) -> str: ...


L = TypeVar("L", bound=Load)
M = TypeVar("M", bound=Measured)


def run_rounds(
    cells: Sequence[L], peers: Sequence[M], repeat: int, measured: Callable[[L, M], Figures], progress: Progress
) -> Results:
    """``measured`` starts the peer; here it is stopped. A run that fails becomes a note in its row."""
    results = Results()
    total = len(cells) * repeat * len(peers)
    number = 0
    for cell in cells:
        for _ in range(repeat):
            for peer in peers:
                number += 1
                figures = _one(cell, peer, measured)
                results.add(cell, peer.name, figures)
                progress(f"{number}/{total}  {cell}, {peer.name}: {summary(figures)}")
    return results


def _one(cell: L, peer: M, measured: Callable[[L, M], Figures]) -> Figures:
    figures = Figures()
    try:
        try:
            figures = measured(cell, peer)
        finally:
            peer.stop()
    except MtaError as error:
        figures = replace(figures, notes=(*figures.notes, f"FAILED: {error}"))
    finding = peer.check()
    return replace(figures, notes=(*figures.notes, f"AUDIT: {finding}")) if finding else figures


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


def summary(figures: Figures) -> str:
    """One run in a few words."""
    words = []
    if figures.rate is not None and figures.cpu is not None:
        words.append(f"{figures.rate:,.0f}/s ({figures.messages:,} messages), {figures.cpu:,.0f} µs CPU")
    if figures.p50 is not None and figures.p99 is not None:
        words.append(f"p50 {figures.p50:.2f} ms, p99 {figures.p99:.2f} ms")
    return "; ".join([*words, *figures.notes]) or "no figures"
