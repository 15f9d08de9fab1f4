"""What is measured: the cells of the table, how many messages each takes, and the bars the figures are held to.

Owns: these decisions, as values and pure functions. Never does: run or read anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: Seconds that the measured part of a cell should take.
SECONDS = 4.5
QUICK_SECONDS = 2.0
#: The warm-up goes through the slower sink, so the rate it shows is too low for the fast peers.
ESTIMATE_IS_LOW = 1.2
#: Transactions that the latency pass is worth: p99 of a few hundred says little, more than this takes only longer.
PROBE_SECONDS = 2.5
PROBE_MOST = 10_000
MOST_MESSAGES = 60_000

STRAIGHT = "straight"
POSTFIX = "postfix"
PEERS = (STRAIGHT, "hermes-1", "hermes-2", POSTFIX, "haraka", "exim")

Figure = Literal["rate", "cpu"]


@dataclass(frozen=True, order=True)
class Cell:
    """One load: octets of content, how many sessions at once, and whether a session keeps its connection."""

    size: int
    kept: bool
    sessions: int

    def __str__(self) -> str:
        policy = "kept" if self.kept else "each"
        return f"{size_text(self.size)}, {self.sessions} session{'s' * (self.sessions > 1)}, {policy}"


@dataclass(frozen=True)
class Bar:
    """A ratio to Postfix that a cell has to reach: of the rate, or of the CPU per message (then one over it)."""

    text: str
    cell: Cell
    figure: Figure
    factor: float


MAIN_CELL = Cell(4096, True, 20)

BARS = (
    Bar("end to end, 4 KiB, 20 sessions, kept", MAIN_CELL, "rate", 8.0),
    Bar("CPU per message, same cell", MAIN_CELL, "cpu", 12.0),
    Bar("end to end, 4 KiB, 1 session, kept", Cell(4096, True, 1), "rate", 1.8),
    Bar("end to end, 100 KiB, 20 sessions, kept", Cell(102_400, True, 20), "rate", 3.0),
    Bar("end to end, 4 KiB, 20 sessions, a connection per message", Cell(4096, False, 20), "rate", 5.0),
)


def cells(sizes: Sequence[int], sessions: Sequence[int], policies: Sequence[bool]) -> list[Cell]:
    """Every combination once: by size, kept connections first, few sessions first."""
    every = {Cell(size, kept, count) for size in sizes for kept in policies for count in sessions}
    return sorted(every, key=lambda cell: (cell.size, not cell.kept, cell.sessions))


def cells_of_bars() -> list[Cell]:
    """Only what the bars need, for a quick look."""
    return sorted({bar.cell for bar in BARS}, key=lambda cell: (cell.size, not cell.kept, cell.sessions))


def warm_up_count(cell: Cell, most: int) -> int:
    """Messages before the measured ones: enough for every session to have its processes and connections."""
    return min(most, max(3 * cell.sessions, 300 if cell.size < 32_768 else 100))


def message_count(cell: Cell, rate: float, seconds: float, most: int) -> int:
    """Messages that take about so many seconds at that rate; at least one a session, at most ``most``."""
    return max(cell.sessions, min(most, int(rate * seconds)))


def probe_count(cell: Cell, rate: float, most: int) -> int:
    """Messages of the latency pass. ``rate`` is the one of the warm-up."""
    return message_count(cell, rate, PROBE_SECONDS, min(most, PROBE_MOST))


def size_text(octets: int) -> str:
    """``4 KiB``, ``100 KiB``, ``1 MiB``, or octets when it is none of these."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if octets >= unit and octets % unit == 0:
            return f"{octets // unit} {name}"
    return f"{octets} octets"
