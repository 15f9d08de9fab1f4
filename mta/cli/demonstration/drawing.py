"""How the demonstration looks: facts become lines of text, at most WIDTH columns wide.

Owns: layout, wording, and which part has which colour (``paint``: text and the name of a colour → text). Pure.
Never does: measure, verify, print, or know whether somebody looks.
"""

from collections.abc import Callable, Iterator, Sequence

from mta.cli.demonstration.facts import Audit, Burst, Hop, Letter, Lookup, Mailbox, Refused, Row, Setup, Waiting
from mta.services.dialogue import Turn

Paint = Callable[[str, str], str]
Lines = Iterator[str]

WIDTH = 92
#: Columns of the speaker's name in a dialogue.
NAMES = 12
#: Columns of a look-up's question, or of a session's two sides.
WAYS = 34
#: Columns of a box in the picture, and between two.
BOX, GAP = 25, 8
#: Ledger columns that are shown, in the order of the equation.
LEFT = ("accepted", "generated")
RIGHT = ("delivered", "failed", "expired", "expanded", "discarded", "removed", "queued")

#: For terminals that know nothing else.
ASCII = str.maketrans("┌┐└┘─│▶▲▼→×µ", "++++-|>^v>xu")


def plain(text: str, colour: str) -> str:
    """A ``Paint`` that paints nothing."""
    return text


def opening(facts: Setup, paint: Paint) -> Lines:
    yield paint(f"Hermes {facts.version}: a letter on its way", "heading")
    yield ""
    yield "Three mail servers, each an `mta run` of its own, and a name server on loopback addresses,"
    yield f"started in {facts.seconds:.1f} s. All of this happened just now; the dialogues were recorded on the wire."
    yield ""
    yield from picture(facts.addresses, facts.dns)


def picture(addresses: dict[str, str], dns: str) -> Lines:
    """The route: the three servers in a row, beneath each of them whom it speaks with."""
    names = ("athena", "hermes", "arlington")
    servers = [box([name.title(), f"SMTP {addresses[name]}", _second(name, addresses)]) for name in names]
    yield from _row(servers, ["", "", f"{'2':^{GAP}}", f"{'─' * (GAP - 1)}▶", ""])
    yield _beneath("▲ 1  SMTP", "│ 3  who takes mail for", "│ 5  POP3")
    yield _beneath("│", "▼    minasi.example?", "▼")
    others = [
        box(["Ada", "ada@paradigms.example"]),
        box([f"DNS ({dns})", addresses["dns"]]),
        box(["Mark", "mark@minasi.example"]),
    ]
    yield from _row(others, [""] * 4)


def _second(name: str, addresses: dict[str, str]) -> str:
    place = addresses.get(f"{name}_pop3")
    return f"POP3 {place}" if place else "the gateway"


def _row(boxes: Sequence[Sequence[str]], joints: Sequence[str]) -> Lines:
    """Boxes side by side; ``joints``: what is in the gap, line by line, where 4 stands for 2."""
    for number, lines in enumerate(zip(*boxes, strict=True)):
        first, second, third = lines
        joint = f"{joints[number]:{GAP}}"
        yield f" {first}{joint}{second}{joint.replace('2', '4')}{third}"


def _beneath(*texts: str) -> str:
    """Each text begins beneath the middle of its box."""
    line = ""
    for number, text in enumerate(texts):
        line = f"{line:{1 + BOX // 2 + number * (BOX + GAP)}}{text}"
    return line


def box(texts: Sequence[str]) -> list[str]:
    """Lines of a box with centred texts."""
    edge = "─" * (BOX - 2)
    return [f"┌{edge}┐", *(f"│{text:^{BOX - 2}}│" for text in texts), f"└{edge}┘"]


def heading(title: str, note: str, paint: Paint) -> Lines:
    """A title with a note at the right margin, after an empty line."""
    gap = max(2, WIDTH - len(title) - len(note))
    yield ""
    yield f"{paint(title, 'heading')}{'':{gap}}{paint(note, 'note')}" if note else paint(title, "heading")


def letter(facts: Letter, paint: Paint) -> Lines:
    """The dialogue of each hop, the look-ups where they happened, and the letter as it was fetched."""
    for number, hop in zip("124", facts.hops, strict=True):
        if number == "4":
            yield from _lookups("3  Hermes asks the DNS", facts, paint)
        yield from heading(f"{number}  {hop.client} → {hop.server}", _ms(hop.seconds), paint)
        yield from dialogue(hop, paint)
    yield from stored(facts, paint)
    yield from _fetched("5  ", facts, paint)
    yield from heading("The letter as Mark has it", f"{_ms(facts.seconds)} after Ada's first word", paint)
    trace = facts.arrived[: len(facts.arrived) - facts.sent_octets]
    added = trace.count(b"\r\n")
    for at, line in enumerate(facts.arrived.decode("utf-8", "replace").split("\r\n")[:-1]):
        yield f"   {paint(line.expandtabs(8), 'note') if at < added else line}".rstrip()
    yield ""
    text = (
        f"{len(trace)} octets of trace fields in front, the {facts.sent_octets:,} octets behind them as Ada sent them."
    )
    yield f"   {paint(text, 'good')}"


def reply(facts: Letter, paint: Paint) -> Lines:
    """The way back, a line for each session but the last one."""
    yield from heading("Mark's answer", f"{_ms(facts.seconds)} after his first word", paint)
    for number, hop in enumerate(facts.hops):
        if number == 1:
            yield from (_lookup(lookup, paint) for lookup in facts.lookups)
        way = f"{hop.client} → {hop.server}"
        taken = next((turn.text for turn in hop.turns if turn.text.endswith(" queued")), "")
        yield f"   {way:<{WAYS}}{paint(taken, 'server')}"
    yield from stored(facts, paint)
    yield from _fetched("", facts, paint)
    text = f"The {facts.sent_octets:,} octets behind the trace fields are as Mark sent them."
    yield ""
    yield f"   {paint(text, 'good')}"


def stored(facts: Letter, paint: Paint) -> Lines:
    """One line: what the store said about the message when its worker brought it."""
    way = f"{facts.stored.server} → its store, by LMTP"
    yield f"   {way:<{WAYS}}{paint(facts.stored.reply, 'server')}"


def _fetched(number: str, facts: Letter, paint: Paint) -> Lines:
    hop = facts.fetched
    yield from heading(f"{number}{hop.client} fetches it from {hop.server}", _ms(hop.seconds), paint)
    yield from dialogue(hop, paint)


def _lookups(title: str, facts: Letter, paint: Paint) -> Lines:
    yield from heading(title, "", paint)
    yield from (_lookup(lookup, paint) for lookup in facts.lookups)


def _lookup(lookup: Lookup, paint: Paint) -> str:
    return f"   {f'{lookup.name} {lookup.kind}':<{WAYS}}{paint(lookup.answer or 'no such record', 'server')}"


def dialogue(hop: Hop, paint: Paint) -> Lines:
    """One line for what a side said at once; the lines of one reply are put side by side."""
    speakers = {"client": hop.client.lower(), "server": hop.server.lower()}
    for turn in joined(hop.turns):
        colour: str = turn.side
        if turn.side == "server" and turn.text[:1] in ("4", "5", "-"):
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
    yield from heading("A letter to somebody who is not there", f"report fetched after {_ms(facts.seconds)}", paint)
    yield f"   {'arlington':<{NAMES}}{paint(facts.reply, 'trouble')}"
    yield f"   Hermes had taken the letter, so Hermes tells {facts.report_to}, by way of Athena:"
    yield ""
    for line in (*facts.report_text, "", *facts.report_fields):
        yield f"   {paint('|', 'note')} {line}".rstrip()


def waiting(facts: Waiting, paint: Paint) -> Lines:
    yield from heading("Arlington goes away for a moment", f"waited {_ms(facts.seconds)}", paint)
    yield f"   {paint(f'$ mta why {facts.queue_id}', 'client')}"
    yield from (f"   {paint(line, 'trouble')}" for line in facts.why)
    back, later = _ms(facts.down), _ms(facts.after_return)
    yield f"   Arlington is back after {back}, has the letter {later} later, and Mark fetches it."


def burst(facts: Burst, paint: Paint) -> Lines:
    note = f"{facts.messages:,} × {facts.octets / 1024:g} KiB, {facts.connections} connections"
    yield from heading("A burst through Hermes to a sink", note, paint)
    rate = paint(f"{facts.rate:>8,.0f} messages a second", "good")
    yield f"   {'rate':<12}{rate}, from the first MAIL to the last arrival"
    for name, p50, p99, what in (
        ("accepted", facts.accepted_p50_ms, facts.accepted_p99_ms, "MAIL to 250, with the sync before it"),
        ("delivered", facts.delivered_p50_ms, facts.delivered_p99_ms, "MAIL to the arrival at the sink"),
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


def mailbox(facts: Mailbox, paint: Paint) -> Lines:
    connections = "one connection" if facts.connections == 1 else f"{facts.connections} connections"
    note = f"{facts.messages:,} × {facts.octets / 1024:g} KiB, {connections}"
    yield from heading("Into Mark's mailbox and out of it", note, paint)
    for name, rate, what in (
        ("stored", facts.stored_rate, "by SMTP, synced in queue and mailbox"),
        ("fetched", facts.fetched_rate, "by POP3, a round trip each, and deleted"),
    ):
        yield f"   {name:<12}{paint(f'{rate:>8,.0f} messages a second', 'good')}, {what}"


def audit(facts: Audit, paint: Paint) -> Lines:
    yield from heading("The ledgers", "mta audit", paint)
    for name, row in (("Athena", facts.athena), ("Hermes", facts.hermes), ("Arlington", facts.arlington)):
        yield f"   {name:<12}{equation(row)}    {paint('drift ' + str(row['drift']), 'good')}"
    for name, row in (("Athena", facts.athena_store), ("Arlington", facts.arlington_store)):
        text = f"{row['delivered']:,} stored = {row['removed']:,} removed + {row['messages']:,} kept"
        yield f"   {name + ' store':<18}{text}    {paint('drift ' + str(row['drift']), 'good')}"


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
