"""The figures of a run, their median over repeats, percentiles, and the verdict on the bars. Pure.

Owns: arithmetic on what was measured. Never does: measure or print. Rates are messages a second, CPU is microseconds
a message, latencies are milliseconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any

from bench.plan import BARS, FLOOR, POSTFIX, STRAIGHT, Bar, Load


@dataclass(frozen=True)
class Figures:
    """One peer in one cell. None: not measured. ``notes`` say what makes a figure doubtful.

    ``accept_rate`` counts until the source has its last 250, ``rate`` until the sink has the last message.
    ``stolen``: share of the machine's time that its host gave to others; it counts as busy.
    """

    messages: int = 0
    rate: float | None = None
    accept_rate: float | None = None
    cpu: float | None = None
    stolen: float | None = None
    p50: float | None = None
    p99: float | None = None
    probe_messages: int = 0
    probe_rate: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One bar and one Hermes: the ratio to the reference that was reached, None when either was not measured."""

    bar: Bar
    peer: str
    ratio: float | None

    @property
    def ok(self) -> bool:
        return self.ratio is not None and self.ratio >= self.bar.factor


@dataclass
class Results:
    """Everything that was measured, in the order of the table."""

    runs: dict[Load, dict[str, list[Figures]]] = field(default_factory=dict)

    def add(self, cell: Load, peer: str, figures: Figures) -> None:
        self.runs.setdefault(cell, {}).setdefault(peer, []).append(figures)

    def of(self, cell: Load, peer: str) -> Figures | None:
        repeats = self.runs.get(cell, {}).get(peer)
        return combined(repeats) if repeats else None


def percentile(ascending: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed (nearest rank). Needs one value."""
    rank = -(-len(ascending) * share // 1)
    return ascending[max(0, int(rank) - 1)]


def combined(repeats: Sequence[Figures]) -> Figures:
    """The median of each figure over the repeats that have it; the notes of all."""
    merged: dict[str, Any] = {name: _median(getattr(r, name) for r in repeats) for name in _NUMBERS}
    whole = {name: int(merged[name] or 0) for name in _WHOLE}
    notes = tuple(dict.fromkeys(note for r in repeats for note in r.notes))
    return Figures(**merged | whole, notes=notes)


_NUMBERS = tuple(f.name for f in fields(Figures) if f.name != "notes")
_WHOLE = ("messages", "probe_messages")


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(mine: Figures | None, theirs: Figures | None, figure: str) -> float | None:
    """How many times better than theirs: more messages a second, or less CPU a message."""
    a = getattr(mine, figure) if mine else None
    b = getattr(theirs, figure) if theirs else None
    if not a or not b:
        return None
    return float(a / b if figure == "rate" else b / a)


def verdicts(
    results: Results, peers: Sequence[str], bars: Sequence[Bar] = BARS, reference: str = POSTFIX
) -> list[Verdict]:
    """Each bar for each Hermes that was measured, so that nobody picks the better one afterwards."""
    hermes = [peer for peer in peers if peer.startswith("hermes")]
    return [
        Verdict(bar, peer, ratio(results.of(bar.cell, peer), results.of(bar.cell, reference), bar.figure))
        for bar in bars
        if bar.cell in results.runs
        for peer in hermes
    ]


def as_record(cell: Load, peer: str, results: Results, reference: str = POSTFIX) -> Mapping[str, object]:
    """One row for the JSON file: the medians, the ratios, and each repeat."""
    mine, theirs = results.of(cell, peer), results.of(cell, reference)
    compared = (
        {}
        if peer in (STRAIGHT, FLOOR, reference)
        else {
            f"rate_times_{reference}": ratio(mine, theirs, "rate"),
            f"cpu_one_over_{reference}": ratio(mine, theirs, "cpu"),
        }
    )
    repeats = [as_table(one) for one in results.runs[cell][peer]]
    return cell.columns() | {"peer": peer} | as_table(mine or Figures()) | compared | {"repeats": repeats}


def as_table(figures: Figures) -> dict[str, object]:
    """With units in the names, as a reader of the file wants them."""
    return {
        "messages": figures.messages,
        "rate_per_second": figures.rate,
        "accept_rate_per_second": figures.accept_rate,
        "cpu_us_per_message": figures.cpu,
        "stolen_share": figures.stolen,
        "p50_ms": figures.p50,
        "p99_ms": figures.p99,
        "probe_messages": figures.probe_messages,
        "probe_rate_per_second": figures.probe_rate,
        "notes": list(figures.notes),
    }
