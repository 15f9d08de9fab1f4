"""The performance: one scene after the other on a fresh stage, each shown when it is over.

Owns: the order, the temporary directory, what is printed where (pictures or JSON on stdout, progress on stderr).
Never does: decide what is right; a scene that is not raises.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from mta import __version__
from mta.cli.demonstration import drawing, story
from mta.cli.demonstration.burst import burst
from mta.cli.demonstration.facts import Hop, Letter
from mta.cli.demonstration.filling import mailbox
from mta.cli.demonstration.places import choose
from mta.cli.demonstration.stage import Stage, set_up
from mta.clock import SystemClock

_STYLES: dict[str, dict[str, Any]] = {
    "heading": {"bold": True},
    "note": {"dim": True},
    "server": {"fg": "cyan"},
    "client": {},
    "trouble": {"fg": "yellow"},
    "good": {"fg": "green"},
}
#: More than that does not fit beside source and sink.
WORKERS = 2
#: Of so many messages of the burst one more goes into a mailbox.
SHARE = 5


class Options(NamedTuple):
    """What the operator asked for."""

    messages: int
    keep: bool
    as_json: bool
    quiet: bool
    colour: bool
    dns: str


class Screen:
    """stdout for the scenes, stderr for the progress: one line that is written over where a person looks."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._live = sys.stderr.isatty()
        self._drawn = False
        self._ascii = not _can_draw(sys.stdout.encoding)

    def paint(self, text: str, colour: str) -> str:
        return click.style(text, **_STYLES[colour]) if self._options.colour else text

    def progress(self, text: str) -> None:
        if self._options.quiet:
            return
        if self._live:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
            self._drawn = True
        else:
            click.echo(f"mta demo: {text}", err=True)

    def count(self, text: str) -> None:
        """Progress that changes often: only for who looks."""
        if self._live:
            self.progress(text)

    def clear(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._drawn = False

    def scene(self, step: str, facts: Any, lines: Iterable[str]) -> None:
        """Facts as one JSON object, or as lines."""
        self.clear()
        if self._options.quiet:
            return
        if self._options.as_json:
            click.echo(msgspec.json.encode({"step": step, **_plain(facts)}))
            return
        for line in lines:
            click.echo(line.translate(drawing.ASCII) if self._ascii else line)


def perform(options: Options) -> None:
    """The whole demonstration. Raises MtaError when anything is not as it should be; leaves nothing behind."""
    import uvloop

    screen = Screen(options)
    clock = SystemClock()
    began = clock.monotonic()
    try:
        with _directory(options.keep) as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_scenes(directory, clock, options, screen))
            kept = str(directory) if options.keep else ""
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        screen.clear()
    seconds = clock.monotonic() - began
    screen.scene("end", {"ok": True, "seconds": seconds, "kept": kept}, drawing.ending(seconds, kept, screen.paint))


async def _scenes(directory: Path, clock: SystemClock, options: Options, screen: Screen) -> None:
    _end_on_sigterm()
    workers = min(WORKERS, len(os.sched_getaffinity(0)))
    stage = Stage(directory, choose(random.Random()), clock, workers, options.dns)
    began = clock.monotonic()
    screen.progress("starting Athena, Hermes, Arlington and the DNS")
    async with set_up(stage):
        setup = story.setup(stage, __version__, clock.monotonic() - began)
        screen.scene("setup", setup, drawing.opening(setup, screen.paint))
        screen.progress("a letter on its way")
        letter = await story.letter(stage)
        screen.scene("letter", letter, drawing.letter(letter, screen.paint))
        screen.progress("the answer")
        reply = await story.reply(stage)
        screen.scene("reply", reply, drawing.reply(reply, screen.paint))
        screen.progress("a letter to nobody")
        refused = await story.refused(stage)
        screen.scene("refused", refused, drawing.refused(refused, screen.paint))
        screen.progress("Arlington goes away")
        waiting = await story.waiting(stage)
        screen.scene("waiting", waiting, drawing.waiting(waiting, screen.paint))
        if options.messages:
            screen.progress(f"a burst of {options.messages:,} messages")
            figures = await burst(stage, options.messages, screen.count)
            screen.scene("burst", figures, drawing.burst(figures, screen.paint))
        kept = options.messages // SHARE
        if kept:
            screen.progress(f"{kept:,} messages for Mark")
            box = await mailbox(stage, kept)
            screen.scene("mailbox", box, drawing.mailbox(box, screen.paint))
        audit = await story.audit(stage, options.messages, kept)
        screen.scene("audit", audit, drawing.audit(audit, screen.paint))
        screen.progress("stopping")


def _end_on_sigterm() -> None:
    """SIGTERM ends it as Ctrl-C does: with everything stopped and removed."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@contextmanager
def _directory(keep: bool) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="mta-demo-"))
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory)


def _plain(facts: Any) -> dict[str, Any]:
    """Names and values."""
    row: dict[str, Any] = facts._asdict() if hasattr(facts, "_asdict") else dict(facts)
    if isinstance(facts, Letter):
        row["hops"] = [_hop(hop) for hop in facts.hops]
        row["fetched"] = _hop(facts.fetched)
        row["stored"] = facts.stored._asdict()
        row["lookups"] = [lookup._asdict() for lookup in facts.lookups]
        row["arrived"] = facts.arrived.decode("utf-8", "replace")
    return row


def _hop(hop: Hop) -> dict[str, Any]:
    return hop._asdict() | {"turns": [turn._asdict() for turn in hop.turns]}


def _can_draw(encoding: str | None) -> bool:
    try:
        "┌▶▲▼→×µ".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
