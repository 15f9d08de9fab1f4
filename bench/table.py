"""The table that a reader gets. Pure: figures in, text out.

Owns: columns, rounding, marks and the lines at the end. Never does: compute more than a ratio.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from bench.figures import Figures, Results, Verdict, ratio
from bench.plan import POSTFIX, STRAIGHT, Cell, size_text

_HEADINGS = (
    f"{'':10}{'':>10}  {'end to end':^21}  {'CPU':^21}  {'MAIL to sink, own probe':^27}",
    f"{'sessions':10}{'peer':<10}  {'msg/s':>9}{'× Postfix':>12}  {'µs/msg':>9}{'1/× Postfix':>12}"
    f"  {'p50 ms':>9}{'p99 ms':>9}{'msg/s':>9}  notes",
)
_NONE = "–"


def render(header: Mapping[str, str], results: Results, peers: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    """The whole report."""
    width = max(map(len, header), default=0)
    lines = ["Hermes beside its peers", ""]
    lines += [f"  {name:<{width}}  {text}" for name, text in header.items()]
    by_section = groupby(results.runs, key=lambda cell: (cell.size, cell.kept))
    for (size, kept), section in by_section:
        lines += ["", _title(size, kept), "─" * len(_HEADINGS[1]), *_HEADINGS]
        for cell in section:
            lines += _rows(cell, results, peers)
    return "\n".join([*lines, "", *_bars(verdicts)])


def _title(size: int, kept: bool) -> str:
    return f"{size_text(size)} messages, {'connection kept' if kept else 'a connection per message'}"


def _rows(cell: Cell, results: Results, peers: Sequence[str]) -> list[str]:
    lines = []
    postfix = results.of(cell, POSTFIX)
    first = str(cell.sessions)
    for peer in peers:
        figures = results.of(cell, peer)
        if figures is not None:
            lines.append(f"{first:10}{row(peer, figures, postfix)}".rstrip())
            first = ""
    return lines


def row(peer: str, figures: Figures, postfix: Figures | None) -> str:
    """One line without its first column. The ratios are of the medians; the straight line has no CPU of its own."""
    compared = postfix if peer not in (POSTFIX, STRAIGHT) else None
    cpu = None if peer == STRAIGHT else figures.cpu
    return (
        f"{peer:<10}  {_whole(figures.rate):>9}{_times(ratio(figures, compared, 'rate')):>12}"
        f"  {_whole(cpu):>9}{_times(ratio(figures, compared, 'cpu')):>12}"
        f"  {_short(figures.p50):>9}{_short(figures.p99):>9}{_whole(figures.probe_rate):>9}"
        f"  {'; '.join(figures.notes)}"
    )


def _whole(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f} ×"


def _short(value: float | None) -> str:
    """Three digits that matter: 0.42, 4.20, 42.0, 420."""
    if value is None:
        return _NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _bars(verdicts: Sequence[Verdict]) -> list[str]:
    """What the figures are held to; a bar whose cell was not measured is not named."""
    if not verdicts:
        return ["Bars: none of their cells was measured with Hermes and Postfix."]
    lines = ["Bars (ratio to Postfix in the same run)"]
    for verdict in verdicts:
        bar = verdict.bar
        need = f"at least {bar.factor:g} ×" if bar.figure == "rate" else f"at most 1/{bar.factor:g}"
        lines.append(f"  {bar.text:<56} {need:<15} {verdict.peer:<9} {_reached(verdict):>9}  {_word(verdict)}")
    return lines


def _reached(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return _NONE
    return f"{verdict.ratio:.2f} ×" if verdict.bar.figure == "rate" else f"1/{verdict.ratio:.2f}"


def _word(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return "not measured"
    return "ok" if verdict.ok else "short"
