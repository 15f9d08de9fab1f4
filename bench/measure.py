"""One measurement: a warm-up, a run counted at smtp-sink, and a run timed by the probe.

Owns: which programs run in which order and what is counted from when to when. Never does: start the relay, or decide
how much is sent.

Rate: from the start of smtp-source to the exit of smtp-sink, which leaves with the last message. CPU a message: all
busy time of the machine meanwhile, less what source and sink used themselves. Latency: from the moment before MAIL is
written to the moment when the sink has read the end of the content, both on CLOCK_MONOTONIC.
"""

import array
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.figures import Figures, percentile
from bench.machine import IDLE, cpu_times, program, settle
from bench.plan import Cell
from bench.probe_sink import CPU
from bench.process import Child, await_first, await_listener
from mta.errors import MtaError

#: Seconds that one run may take before it is given up.
LIMIT = 60.0
#: Seconds below which the kernel's CPU ticks (10 ms) and the start of the programs blur the figures.
SHORT = 1.0
#: Seconds that messages may still arrive after a source that failed.
AFTER_SOURCE = 2.0
#: A probe process that used this much of its time on a core is what limits the latency pass.
PROBE_LIMIT = 0.85
#: Above this share the host of a virtual machine took so much time that the figures are doubtful.
STOLEN = 0.02

_ROOT = Path(__file__).resolve().parents[1]


class RunFailed(MtaError):
    """A run that has no figures: the relay refused, or not everything arrived in time."""


@dataclass(frozen=True)
class Place:
    """Where a relay listens, where it relays to, and a directory for what the probes write."""

    port: int
    sink_port: int
    scratch: Path


def warm_up(place: Place, cell: Cell, count: int) -> float:
    """smtp-source → relay → our sink, so that the last message is answered. Returns the rate."""
    file = place.scratch / "arrivals"
    sink = _probe_sink(place, count, file)
    began = time.monotonic()
    finish(_smtp_source(place, cell, count), sink, place)
    last = max(at for sequence, at in read_pairs(file) if sequence != CPU) / 1e9
    return count / (last - began)


def throughput(place: Place, cell: Cell, count: int) -> Figures:
    """smtp-source → relay → smtp-sink. The sink leaves without an answer to the last message: the relay keeps it."""
    notes = [] if (share := settle()) <= IDLE else [f"machine {share:.0%} busy before"]
    sink = listening(place, _smtp_sink(count, place.sink_port))
    busy, stolen = cpu_times()
    began = time.monotonic()
    source = _smtp_source(place, cell, count)
    finish(source, sink, place)
    busy_after, stolen_after = cpu_times()
    assert source.ended is not None
    assert sink.ended is not None
    seconds = sink.ended - began
    share = (stolen_after - stolen) / seconds / (os.cpu_count() or 1)
    if seconds < SHORT:
        notes.append(f"run of only {seconds:.2f} s")
    if share > STOLEN:
        notes.append(f"host took {share:.0%} of the time")
    return Figures(
        messages=count,
        rate=count / seconds,
        accept_rate=count / (source.ended - began),
        cpu=(busy_after - busy - source.cpu - sink.cpu) / count * 1e6,
        stolen=share,
        notes=tuple(notes),
    )


def latency(place: Place, cell: Cell, count: int) -> Figures:
    """Our source → relay → our sink, same sessions and connection policy."""
    arrivals, began = place.scratch / "arrivals", place.scratch / "began"
    sink = _probe_sink(place, count, arrivals)
    policy = "kept" if cell.kept else "each"
    source = logged(
        place, "source", python("bench.probe_source", place.port, count, cell.sessions, cell.size, policy, began)
    )
    finish(source, sink, place)
    starts = array.array("q", began.read_bytes())
    pairs = read_pairs(arrivals)
    figures = latencies(starts, pairs, count)
    return replace(figures, notes=(*figures.notes, *_limits(starts, pairs)))


def latencies(starts: Sequence[int], pairs: Sequence[tuple[int, int]], count: int) -> Figures:
    """From what the probes wrote. First arrivals count; duplicates and messages that are missing are said."""
    first: dict[int, int] = {}
    arrived = 0
    for sequence, at in pairs:
        if 0 <= sequence < count:
            first.setdefault(sequence, at)
            arrived += 1
    if not first:
        raise RunFailed("latency: no message came through with its sequence number")
    taken = sorted((at - starts[sequence]) / 1e6 for sequence, at in first.items())
    notes = []
    if arrived > len(first):
        notes.append(f"latency: {arrived - len(first)} duplicates")
    if len(first) < count:
        notes.append(f"latency: {count - len(first)} messages missing")
    seconds = (max(first.values()) - min(starts[:count])) / 1e9
    return Figures(
        p50=percentile(taken, 0.5),
        p99=percentile(taken, 0.99),
        probe_messages=len(taken),
        probe_rate=len(taken) / seconds,
        notes=tuple(notes),
    )


def _limits(starts: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Which of the probes was busy all the time: then the relay could have done more."""
    arrivals = [at for sequence, at in pairs if sequence != CPU]
    span = max(arrivals) - min(starts[:-1])
    cpu = {"source": starts[-1], "sink": next((ns for sequence, ns in pairs if sequence == CPU), 0)}
    return [f"latency: probe {name} is the limit" for name, ns in cpu.items() if ns > PROBE_LIMIT * span]


# Programs.


def _smtp_source(place: Place, cell: Cell, count: int) -> Child:
    kept = ["-d"] if cell.kept else []
    return logged(
        place,
        "source",
        [
            _required("smtp-source"),
            *kept,
            "-s",
            str(cell.sessions),
            "-m",
            str(count),
            "-l",
            str(cell.size),
            "-f",
            "a@src.test",
            "-t",
            "b@dst.test",
            f"127.0.0.1:{place.port}",
        ],
    )


def _smtp_sink(count: int, port: int) -> list[str]:
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    return [_required("smtp-sink"), *user, "-m", "1000", "-M", str(count), f"127.0.0.1:{port}", "1000"]


def _required(name: str) -> str:
    return program(name) or name


def _probe_sink(place: Place, count: int, file: Path) -> Child:
    file.unlink(missing_ok=True)
    return listening(place, python("bench.probe_sink", place.sink_port, count, file))


def listening(place: Place, argv: list[str]) -> Child:
    """A sink that takes connections."""
    sink = logged(place, "sink", argv)
    try:
        await_listener(place.sink_port, time.monotonic() + 10.0, sink)
    except MtaError:
        sink.stop()
        raise
    return sink


def python(*words: object) -> list[str]:
    return [sys.executable, "-m", *map(str, words)]


def logged(place: Place, name: str, argv: list[str]) -> Child:
    """What the program says goes to a file: a pipe that nobody reads would stop it."""
    with open(place.scratch / f"{name}.log", "wb") as log:
        return Child(argv, cwd=_ROOT, output=log.fileno())


def finish(source: Child, sink: Child, place: Place) -> None:
    """Everything arrived and both ended, or RunFailed with the reason; neither runs on.

    What counts is the sink. smtp-source ends with an error when smtp-sink leaves without the last answer, as it does
    when no relay is between them; any other source that fails has a sink that waits in vain.
    """
    deadline = time.monotonic() + LIMIT
    try:
        while source.status is None or sink.status is None:
            ended = await_first([child for child in (source, sink) if child.status is None], deadline)
            if ended is None:
                raise RunFailed(why(source, place))
            if ended is source and source.status != 0:
                deadline = min(deadline, time.monotonic() + AFTER_SOURCE)
            if ended is sink and sink.status != 0:
                said = _last_line(place.scratch / "sink.log")
                raise RunFailed(f"the sink ended with status {sink.status}: {said}")
    finally:
        source.stop()
        sink.stop()


def why(source: Child, place: Place) -> str:
    """What became of a source from which not everything arrived, or which tells nothing of its messages."""
    if source.status is None:
        return f"the source has not ended after {LIMIT:.0f} s"
    if source.status == 0:
        return f"not everything arrived after {LIMIT:.0f} s"
    return f"the source ended with status {source.status}: {_last_line(place.scratch / 'source.log')}"


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def read_pairs(file: Path) -> list[tuple[int, int]]:
    numbers = array.array("q", file.read_bytes())
    return list(zip(numbers[::2], numbers[1::2], strict=True))
