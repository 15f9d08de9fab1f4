"""What is measured: the cells of each table, how many messages each takes, and the bars the figures are held to.

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
DOVECOT = "dovecot"
#: No server: it shows what kernel, loopback and client allow, as ``straight`` does for the relay.
FLOOR = "floor"
PEERS = (STRAIGHT, "hermes-1", "hermes-2", POSTFIX, "haraka", "exim")
LOCAL_PEERS = ("hermes-1", "hermes-2", POSTFIX)
POP3_PEERS = ("hermes-1", DOVECOT, "dovecot-mdbox", FLOOR)

Figure = Literal["rate", "cpu"]


def size_text(octets: int) -> str:
    """``4 KiB``, ``100 KiB``, ``1 MiB``, or octets when it is none of these."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if octets >= unit and octets % unit == 0:
            return f"{octets // unit} {name}"
    return f"{octets} octets"


def _plural(count: int, word: str, ending: str = "s") -> str:
    return f"{count} {word}{ending * (count > 1)}"


@dataclass(frozen=True, order=True)
class Cell:
    """One load: octets of content, how many sessions at once, and whether a session keeps its connection."""

    size: int
    kept: bool
    sessions: int

    def __str__(self) -> str:
        policy = "kept" if self.kept else "each"
        return f"{size_text(self.size)}, {_plural(self.sessions, 'session')}, {policy}"

    @property
    def section(self) -> str:
        """The part of the table that it is in."""
        return f"{size_text(self.size)} messages, {'connection kept' if self.kept else 'a connection per message'}"

    def columns(self) -> dict[str, object]:
        return {"size": self.size, "sessions": self.sessions, "connection": "kept" if self.kept else "each"}


@dataclass(frozen=True, order=True)
class LocalCell:
    """Mail for local mailboxes: octets of content, mailboxes that share it evenly, sessions at once, all kept."""

    size: int
    mailboxes: int
    sessions: int

    def __str__(self) -> str:
        return (
            f"{size_text(self.size)}, {_plural(self.mailboxes, 'mailbox', 'es')}, {_plural(self.sessions, 'session')}"
        )

    @property
    def section(self) -> str:
        return f"{size_text(self.size)} messages into {_plural(self.mailboxes, 'mailbox', 'es')}, connection kept"

    def columns(self) -> dict[str, object]:
        return {"size": self.size, "sessions": self.sessions, "mailboxes": self.mailboxes}


@dataclass(frozen=True, order=True)
class FetchCell:
    """RETR of every message of a mailbox: octets of content, whether commands are pipelined, sessions at once, each
    with a mailbox of its own."""

    size: int
    pipelined: bool
    sessions: int

    def __str__(self) -> str:
        return f"RETR of {size_text(self.size)}, {_plural(self.sessions, 'session')}, {self._manner}"

    @property
    def section(self) -> str:
        return f"RETR of {size_text(self.size)} messages, {self._manner}"

    @property
    def _manner(self) -> str:
        return "pipelined" if self.pipelined else "lock-step"

    def columns(self) -> dict[str, object]:
        return {"size": self.size, "sessions": self.sessions, "pipelined": self.pipelined}


Load = Cell | LocalCell | FetchCell


@dataclass(frozen=True)
class Bar:
    """A ratio to the reference (Postfix, Dovecot) that a cell has to reach: of the rate, or of the CPU per message
    (then one over it)."""

    text: str
    cell: Load
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

LOCAL_CELLS = (LocalCell(4096, 20, 20), LocalCell(4096, 1, 20))
LOCAL_BARS = (
    Bar("SMTP to mailbox, 4 KiB, 20 mailboxes, 20 sessions", LOCAL_CELLS[0], "rate", 4.0),
    Bar("SMTP to mailbox, 4 KiB, 1 mailbox, 20 sessions", LOCAL_CELLS[1], "rate", 4.0),
)
TLS_PEERS = (STRAIGHT, "hermes-1", "hermes-2", POSTFIX)
TLS_CELL = MAIN_CELL
TLS_BARS = (Bar("end to end under TLS, 4 KiB, 20 sessions, kept", TLS_CELL, "rate", 5.0),)
FETCH_CELLS = tuple(FetchCell(4096, pipelined, sessions) for pipelined in (False, True) for sessions in (1, 4))
FETCH_BARS = tuple(Bar(str(cell), cell, "rate", 2.0) for cell in FETCH_CELLS)


def cells(sizes: Sequence[int], sessions: Sequence[int], policies: Sequence[bool]) -> list[Cell]:
    """Every combination once: by size, kept connections first, few sessions first."""
    every = {Cell(size, kept, count) for size in sizes for kept in policies for count in sessions}
    return sorted(every, key=lambda cell: (cell.size, not cell.kept, cell.sessions))


def cells_of_bars() -> list[Cell]:
    """Only what the bars need, for a quick look."""
    wanted = {bar.cell for bar in BARS if isinstance(bar.cell, Cell)}
    return sorted(wanted, key=lambda cell: (cell.size, not cell.kept, cell.sessions))


def warm_up_count(cell: Cell, most: int) -> int:
    """Messages before the measured ones: enough for every session to have its processes and connections."""
    return min(most, max(3 * cell.sessions, 300 if cell.size < 32_768 else 100))


def message_count(cell: Load, rate: float, seconds: float, most: int) -> int:
    """Messages that take about so many seconds at that rate; at least one a session, at most ``most``."""
    return max(cell.sessions, min(most, int(rate * seconds)))


def probe_count(cell: Cell, rate: float, most: int) -> int:
    """Messages of the latency pass. ``rate`` is the one of the warm-up."""
    return message_count(cell, rate, PROBE_SECONDS, min(most, PROBE_MOST))
