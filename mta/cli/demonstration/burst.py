"""The burst: many small messages through Hermes to a sink, counted, timed and held against what was sent.

Owns: the messages with their numbers, the figures. Never does: claim more than it measured; source, relay and sink
share the machine's cores, and the figures are those of one short run.
"""

import asyncio
import math
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from mta.cli.demonstration.facts import Burst
from mta.cli.demonstration.places import Address
from mta.cli.demonstration.stage import AUTHOR, BURST, PATIENCE, DemoFailed, Stage, verify
from mta.services.sink import Arrival
from mta.services.source import Letter, Sent, Source

#: Whom it is for: a domain that Hermes has a route for, to a sink, so that the figures are Hermes's own.
EVERYBODY = f"everybody@{BURST}"
CONNECTIONS = 20
#: Octets of a message, its header section included.
SIZE = 4096
#: Digits of a message's number in its first field.
DIGITS = 8
_MARK = b"X-Number: "
#: Messages a second below which the burst is given up.
SLOWEST = 50.0
#: Messages between two words about the progress.
STEP = 250


class Arrivals:
    """Checks each message against the one with its number, and notes when it came first."""

    def __init__(self, count: int, progress: Callable[[str], None]) -> None:
        self.at = array("d", bytes(8 * count))
        self.missing = count
        self.duplicates = 0
        self.changed = 0
        self.complete = asyncio.Event()
        self._progress = progress

    def arrived(self, arrival: Arrival) -> None:
        """One message at the sink."""
        message = arrival.content[-SIZE:]
        digits = message[len(_MARK) : len(_MARK) + DIGITS]
        number = int(digits) if digits.isdigit() else -1
        if not 0 <= number < len(self.at) or message != content(number):
            self.changed += 1
        elif self.at[number]:
            self.duplicates += 1
        else:
            self.at[number] = arrival.at
            self.missing -= 1
            if self.missing % STEP == 0:
                self._progress(f"burst: {len(self.at) - self.missing:,} of {len(self.at):,} messages at the sink")
            if not self.missing:
                self.complete.set()


async def burst(stage: Stage, messages: int, progress: Callable[[str], None]) -> Burst:
    """Runs it. Raises DemoFailed when a message is refused, lost, changed or doubled."""
    arrivals = Arrivals(messages, progress)
    began_at = array("d", bytes(8 * messages))
    stage.sink.arrived = arrivals.arrived
    connections = min(CONNECTIONS, messages)
    cpu_before = await stage.hermes.cpu_seconds()
    source = Source(f"source.{BURST}", stage.clock)
    began = stage.clock.monotonic()
    letters = _letters(stage, messages, began_at)
    await hand_over(source, "Hermes", stage.places.hermes_behind, letters, connections, messages)
    sent = source.results
    await _complete(arrivals)
    seconds = max(arrivals.at) - began
    cpu_after = await stage.hermes.cpu_seconds()
    verify(not arrivals.changed, f"burst: {arrivals.changed} messages arrived changed")
    verify(not arrivals.duplicates, f"burst: {arrivals.duplicates} messages arrived twice")
    cpu = (cpu_after - cpu_before) / messages * 1e6 if cpu_after is not None and cpu_before is not None else None
    return _figures(stage, sent, [at - start for at, start in zip(arrivals.at, began_at, strict=True)], seconds, cpu)


async def hand_over(
    source: Source, name: str, place: Address, letters: Iterator[Letter], connections: int, messages: int
) -> None:
    """All of them, to the server of that name. Raises DemoFailed when it refuses one or is too slow."""
    limit = PATIENCE + messages / SLOWEST
    try:
        await asyncio.wait_for(source.run(*place, letters, connections), limit)
    except TimeoutError:
        raise DemoFailed(f"burst: {name} took only {len(source.results)} messages in {limit:.0f} s") from None
    refused = next((one.reply for one in source.results if not one.reply.positive), None)
    verify(refused is None, f"burst: {name} refused a message: {refused}")


async def _complete(arrivals: Arrivals) -> None:
    """Waits for the last message, as long as others come."""
    while not arrivals.complete.is_set():
        missing = arrivals.missing
        try:
            await asyncio.wait_for(arrivals.complete.wait(), PATIENCE)
        except TimeoutError:
            if arrivals.missing == missing:
                raise DemoFailed(f"burst: {missing} messages did not arrive at the sink") from None


def _figures(stage: Stage, sent: list[Sent], delivered: list[float], seconds: float, cpu: float | None) -> Burst:
    accepted = [one.took for one in sent]
    count = len(sent)
    return Burst(
        messages=count,
        octets=SIZE,
        connections=min(CONNECTIONS, count),
        workers=stage.hermes.config.workers,
        seconds=seconds,
        rate=count / seconds,
        accepted_p50_ms=percentile(accepted, 0.5) * 1e3,
        accepted_p99_ms=percentile(accepted, 0.99) * 1e3,
        delivered_p50_ms=percentile(delivered, 0.5) * 1e3,
        delivered_p99_ms=percentile(delivered, 0.99) * 1e3,
        cpu_us=cpu,
        cores=len(os.sched_getaffinity(0)),
        file_system=file_system(stage.directory, _mounts()),
    )


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def content(number: int) -> bytes:
    """A message of SIZE octets; the number is in its first field."""
    return b"%b%0*d\r\n%b" % (_MARK, DIGITS, number, _REST)


def _letters(stage: Stage, count: int, began: "array[float]") -> Iterator[Letter]:
    for number in range(count):
        began[number] = stage.clock.monotonic()
        yield Letter(AUTHOR, (EVERYBODY,), content(number))


def _rest() -> bytes:
    """What follows the first field: the same in every message."""
    head = (
        f"From: <{AUTHOR}>\r\nTo: <{EVERYBODY}>\r\nSubject: one of many\r\nDate: Mon, 1 Jun 1998 08:00:00 +0000\r\n\r\n"
    )
    left = SIZE - len(_MARK) - DIGITS - 2 - len(head)
    line = "A letter among many on its way from Ada to all, seventy-three octets long\r\n"
    body = line * (left // len(line))
    return (head + body + "-" * (left - len(body) - 2) + "\r\n").encode()


def file_system(directory: Path, mounts: str) -> str:
    """The type of the file system that holds ``directory``, from the text of /proc/mounts; "" when it is not told."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ") if len(fields) > 2 else ""
        if point and len(point) >= len(best) and directory.is_relative_to(point):
            best, kind = point, fields[2]
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text()
    except OSError:
        return ""  # no Linux: then the type is not shown


_REST = _rest()
