"""The table that a reader gets. Pure: figures in, text out.

Owns: columns, rounding, marks and the lines at the end. Never does: compute more than a ratio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.figures import Figures, Results, Verdict, ratio
from bench.plan import DOVECOT, FLOOR, POSTFIX, STRAIGHT, Load

_NONE = "–"
#: Of the second column: the longest name of a peer.
_PEER = 14


@dataclass(frozen=True)
class Look:
    """What one comparison's table says of itself. ``reference``: the peer that the others are held against,
    ``named``: how a reader knows it; ``counted`` and ``timed``: what rate and latency are of."""

    title: str
    reference: str
    named: str
    counted: str
    timed: str

    def headings(self) -> tuple[str, str]:
        times, part = f"× {self.named}", f"1/× {self.named}"
        return (
            f"{'':10}{'':>{_PEER}}  {self.counted:^21}  {'CPU':^21}  {self.timed:^27}".rstrip(),
            f"{'sessions':10}{'peer':<{_PEER}}  {'msg/s':>9}{times:>12}  {'µs/msg':>9}{part:>12}"
            f"  {'p50 ms':>9}{'p99 ms':>9}{'msg/s':>9}  notes",
        )


RELAY = Look("Hermes beside its peers", POSTFIX, "Postfix", "end to end", "MAIL to sink, own probe")
LOCAL = Look("From SMTP into mailboxes", POSTFIX, "Postfix", "end to end", "")
POP3 = Look("RETR of whole mailboxes", DOVECOT, "Dovecot", "fetched", "one RETR, lock-step")


def render(
    header: Mapping[str, str],
    results: Results,
    peers: Sequence[str],
    verdicts: Sequence[Verdict],
    look: Look = RELAY,
) -> str:
    """The whole report."""
    width = max(map(len, header), default=0)
    headings = look.headings()
    lines = [look.title, ""]
    lines += [f"  {name:<{width}}  {text}" for name, text in header.items()]
    for title, section in groupby(results.runs, key=lambda cell: cell.section):
        lines += ["", title, "─" * len(headings[1]), *headings]
        for cell in section:
            lines += _rows(cell, results, peers, look.reference)
    return "\n".join([*lines, "", *_bars(verdicts, look.named)])


def _rows(cell: Load, results: Results, peers: Sequence[str], reference: str) -> list[str]:
    lines = []
    held_against = results.of(cell, reference)
    first = str(cell.sessions)
    for peer in peers:
        figures = results.of(cell, peer)
        if figures is not None:
            lines.append(f"{first:10}{row(peer, figures, held_against, reference)}".rstrip())
            first = ""
    return lines


def row(peer: str, figures: Figures, held_against: Figures | None, reference: str = POSTFIX) -> str:
    """One line without its first column. The ratios are of the medians; the straight line has no CPU of its own, and
    what is no server is compared with none."""
    compared = held_against if peer not in (reference, STRAIGHT, FLOOR) else None
    cpu = None if peer == STRAIGHT else figures.cpu
    return (
        f"{peer:<{_PEER}}  {_whole(figures.rate):>9}{_times(ratio(figures, compared, 'rate')):>12}"
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


def _bars(verdicts: Sequence[Verdict], reference: str) -> list[str]:
    """What the figures are held to; a bar whose cell was not measured is not named."""
    if not verdicts:
        return [f"Bars: none of their cells was measured with Hermes and {reference}."]
    lines = [f"Bars (ratio to {reference} in the same run)"]
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
