"""How the demonstration looks: facts become lines of text, at most WIDTH columns wide.

Owns: layout, wording, and which part has which colour (``paint``: text and the name of a colour → text). Pure.
Never does: measure, verify, print, or know whether somebody looks.
"""

from collections.abc import Callable, Iterator, Sequence

from mta.cli.demonstration.facts import Audit, Burst, Hop, Letter, Refused, Row, Setup, Waiting
from mta.services.dialogue import Turn

Paint = Callable[[str, str], str]
Lines = Iterator[str]

WIDTH = 92
#: Columns of the speaker's name in a dialogue.
NAMES = 12
#: Ledger columns that are shown, in the order of the equation.
LEFT = ("accepted", "generated")
RIGHT = ("delivered", "failed", "expired", "expanded", "discarded", "removed", "queued")

#: For terminals that know nothing else.
ASCII = str.maketrans("┌┐└┘┬┴─│▶→×µ", "++++++-|>>xu")


def plain(text: str, colour: str) -> str:
    """A ``Paint`` that paints nothing."""
    return text


def opening(facts: Setup, paint: Paint) -> Lines:
    yield paint(f"Hermes {facts.version}: a letter on its way", "heading")
    yield ""
    yield "Two relays, each an `mta run` of its own, a name server and two sinks on loopback addresses,"
    yield f"started in {facts.seconds:.1f} s. All of this happened just now; the dialogues were recorded on the wire."
    yield ""
    yield from picture(facts.addresses)


def picture(addresses: dict[str, str]) -> Lines:
    """The route: author, Athena, Hermes, Arlington in a row, the DNS below Hermes."""
    boxes = [
        box(["Ada", "the author"], 14),
        box(["Athena", addresses["athena"]], 20),
        box(["Hermes", addresses["hermes"]], 20, below=True),
        box(["Arlington", addresses["arlington"]], 20),
    ]
    joints = [["     ", f"  {n}  ", "────▶", "     "] for n in ("1", "2", "4")]
    for row in range(4):
        yield "  " + "".join(part[row] for pair in zip(boxes, [*joints, [""] * 4], strict=True) for part in pair)
    at = 2 + 14 + 5 + 20 + 5 + 9
    yield f"{'':{at}}│ 3  MX of minasi.example?"
    dns = box(["DNS", addresses["dns"]], 20, above=True)
    yield from (f"{'':{at - 9}}{line}" for line in dns)


def box(texts: Sequence[str], width: int, *, below: bool = False, above: bool = False) -> list[str]:
    """Lines of a box with a centred text; ``below`` and ``above``: a line leaves it there."""
    edges = ["─" * (width - 2)] * 2
    if above:
        edges[0] = edges[0][:8] + "┴" + edges[0][9:]
    if below:
        edges[1] = edges[1][:8] + "┬" + edges[1][9:]
    middle = [f"│{text:^{width - 2}}│" for text in texts]
    return [f"┌{edges[0]}┐", *middle, f"└{edges[1]}┘"]


def heading(title: str, note: str, paint: Paint) -> Lines:
    """A title with a note at the right margin, after an empty line."""
    gap = max(2, WIDTH - len(title) - len(note))
    yield ""
    yield f"{paint(title, 'heading')}{'':{gap}}{paint(note, 'note')}"


def letter(facts: Letter, paint: Paint) -> Lines:
    """The dialogue of each hop, the look-ups where they happened, and the letter as it arrived."""
    for number, hop in zip("124", facts.hops, strict=True):
        if number == "4":
            yield from _lookups(facts, paint)
        yield from heading(f"{number}  {hop.client} → {hop.server}", _ms(hop.seconds), paint)
        yield from dialogue(hop, paint)
    yield from heading("The letter as it arrived", f"{_ms(facts.seconds)} after Ada's first word", paint)
    added = len(facts.arrived) - facts.sent_octets
    for at, line in enumerate(facts.arrived.decode("utf-8", "replace").split("\r\n")[:-1]):
        yield f"   {paint(line.expandtabs(8), 'note') if _in_received(facts, at) else line}".rstrip()
    yield ""
    text = f"{added} octets of trace fields in front, the {facts.sent_octets:,} octets behind them as Ada sent them."
    yield f"   {paint(text, 'good')}"


def _in_received(facts: Letter, at: int) -> bool:
    """Whether a line of what arrived is one that a relay has added."""
    return at < facts.arrived[: len(facts.arrived) - facts.sent_octets].count(b"\r\n")


def _lookups(facts: Letter, paint: Paint) -> Lines:
    yield from heading("3  Hermes asks the DNS", "", paint)
    for lookup in facts.lookups:
        yield f"   {f'{lookup.name} {lookup.kind}':<34} {paint(lookup.answer, 'server')}"


def dialogue(hop: Hop, paint: Paint) -> Lines:
    """One line for what a side said at once; the lines of one reply are put side by side."""
    speakers = {"client": hop.client.lower(), "server": hop.server.lower()}
    for turn in joined(hop.turns):
        colour: str = turn.side
        if turn.side == "server" and turn.text[:1] in ("4", "5"):
            colour = "trouble"
        name = speakers[turn.side]
        for line in folded(turn.text or f"(content: {turn.octets:,} octets on the wire)", WIDTH - NAMES - 3):
            yield f"   {name:<{NAMES}}{paint(line, colour)}"
            name = ""


def joined(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Continued reply lines (``250-…``) in one turn."""
    held: list[str] = []
    for turn in turns:
        held.append(turn.text)
        if turn.side == "client" or turn.text[3:4] != "-":
            yield turn._replace(text="  ".join(held))
            held = []


def folded(text: str, width: int) -> list[str]:
    """Broken at spaces where it is too wide; a word is never cut."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def refused(facts: Refused, paint: Paint) -> Lines:
    yield from heading("A letter to somebody who is not there", f"report home after {_ms(facts.seconds)}", paint)
    yield f"   {'arlington':<{NAMES}}{paint(facts.reply, 'trouble')}"
    yield f"   Hermes had taken the letter, so Hermes tells {facts.report_to}, by way of Athena:"
    yield ""
    for line in (*facts.report_text, "", *facts.report_fields):
        yield f"   {paint('|', 'note')} {line}".rstrip()


def waiting(facts: Waiting, paint: Paint) -> Lines:
    yield from heading("Arlington goes away for a moment", f"waited {_ms(facts.seconds)}", paint)
    yield f"   {paint(f'$ mta why {facts.queue_id}', 'client')}"
    yield from (f"   {paint(line, 'trouble')}" for line in facts.why)
    attempts = "one attempt" if facts.attempts == 1 else f"{facts.attempts} attempts"
    yield f"   Arlington is back after {attempts}, and {_ms(facts.after_return)} later the letter is there."


def burst(facts: Burst, paint: Paint) -> Lines:
    note = f"{facts.messages:,} × {facts.octets / 1024:g} KiB, {facts.connections} connections"
    yield from heading("A burst through Hermes to Arlington", note, paint)
    rate = paint(f"{facts.rate:>8,.0f} messages a second", "good")
    yield f"   {'rate':<12}{rate}, from the first MAIL to the last arrival"
    for name, p50, p99, what in (
        ("accepted", facts.accepted_p50_ms, facts.accepted_p99_ms, "MAIL to 250, with the sync before it"),
        ("delivered", facts.delivered_p50_ms, facts.delivered_p99_ms, "MAIL to the arrival at Arlington"),
    ):
        yield f"   {name:<12}{p50:>8,.1f} ms p50 {p99:>8,.1f} ms p99   {what}"
    if facts.cpu_us is not None:
        yield f"   {'CPU':<12}{facts.cpu_us:>8,.0f} µs a message, all processes of Hermes"
    yield ""
    yield from (f"   {paint(line, 'note')}" for line in conditions(facts))


def conditions(facts: Burst) -> Lines:
    """What the figures hold for."""
    cores = "one core" if facts.cores == 1 else f"{facts.cores} cores"
    workers = "one worker" if facts.workers == 1 else f"{facts.workers} workers"
    disk = f" on {facts.file_system}" if facts.file_system else ""
    yield f'{workers}, durability "commit"{disk}: every message was synced before its 250.'
    if facts.file_system in ("tmpfs", "ramfs"):
        yield "That is memory, where a sync costs nothing: point TMPDIR to a disk for figures that count."
    yield f"Source, relay and sink share {cores}: a figure of this machine now, not a benchmark."


def audit(facts: Audit, paint: Paint) -> Lines:
    yield from heading("The ledgers", "mta audit", paint)
    for name, row in (("Athena", facts.athena), ("Hermes", facts.hermes)):
        yield f"   {name:<12}{equation(row)}    {paint('drift ' + str(row['drift']), 'good')}"


def equation(row: Row) -> str:
    """``5,003 accepted + 1 generated = 5,003 delivered + 1 failed``; what is zero is left out."""

    def side(columns: Sequence[str]) -> str:
        return " + ".join(f"{row[name]:,} {name}" for name in columns if row.get(name)) or "0"

    return f"{side(LEFT)} = {side(RIGHT)}"


def ending(seconds: float, kept: str, paint: Paint) -> Lines:
    yield ""
    yield f"{paint('All as it should be.', 'good')} {seconds:.1f} s in all; every server has stopped."
    if kept:
        yield f"Kept: {kept}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
