"""``python -m bench relay``, ``tls``, ``local``, ``pop3``, ``idle`` and ``fill``.

Owns: the command line, with ``mailcommands``. Never does: measure. Exit codes are those of sysexits.h: 64 usage, 69 a
program is missing.
"""

import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from bench import plan
from bench.figures import verdicts
from bench.idle import run as run_idle
from bench.machine import facts
from bench.mailcommands import local, pop3, tls
from bench.relay import Comparison, Options, check_tools, present
from bench.report import numbers, write_json
from bench.rounds import workplace
from bench.table import render
from mta import config as configuration
from mta.errors import MtaError, UsageError

#: smtp-sink takes up to 1,000 connections, and the kernel's default for a process is 1,024 descriptors.
_DESCRIPTORS = 8192
_DURABILITY = 'every relay syncs a message to disk before it says 250 (Hermes: spool.durability = "commit")'


@click.group(help=__doc__.partition("\n")[0] if __doc__ else "")
def main() -> None:
    pass


main.add_command(local)
main.add_command(pop3)
main.add_command(tls)


def policies(text: str) -> list[bool]:
    """``kept,each``: True for a connection that is kept. Raises UsageError."""
    words = [word.strip() for word in text.split(",")]
    if not set(words) <= {"kept", "each"}:
        raise UsageError(f'--connections: "{text}" is not kept, each or both')
    return [word == "kept" for word in words]


@main.command(help="Compare relays end to end; one table. Takes about a quarter of a minute a row.")
@click.option("--sizes", default="4096,102400", show_default=True, help="Octets of content.")
@click.option("--sessions", default="1,20,200", show_default=True, help="Sessions of the source at once.")
@click.option("--connections", default="kept,each", show_default=True, help="Connection kept, or one per message.")
@click.option(
    "--peers",
    help="straight, hermes-N, postfix, haraka, exim. Default: straight, hermes-1, hermes-2 and "
    "every other that is installed; one that is named must be there.",
)
@click.option(
    "--messages",
    type=click.IntRange(min=1),
    default=plan.MOST_MESSAGES,
    show_default=True,
    help="At most so many a run; fewer where they would take longer than about 4.5 seconds.",
)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True, help="The median is shown.")
@click.option("--no-latency", is_flag=True, help="Leave out the pass with the probe.")
@click.option("--quick", is_flag=True, help="Only the cells that the bars need, in short runs.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="All figures, to this file.")
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="/var/tmp",
    show_default=True,
    help="Where the spools are made; must be on the disk that is meant.",
)
def relay(
    sizes: str,
    sessions: str,
    connections: str,
    peers: str | None,
    messages: int,
    repeat: int,
    no_latency: bool,
    quick: bool,
    json_file: Path | None,
    directory: Path,
) -> None:
    wanted = [name.strip() for name in peers.split(",")] if peers else list(plan.PEERS)
    every = plan.cells(numbers(sizes, "--sizes"), numbers(sessions, "--sessions"), policies(connections))
    check_tools()
    names, absent = present(wanted, insist=peers is not None)
    _raise_descriptor_limit()
    with workplace(directory.resolve()) as place:
        seconds = plan.QUICK_SECONDS if quick else plan.SECONDS
        cells = plan.cells_of_bars() if quick else every
        options = Options(cells, names, place, messages, seconds, repeat, latency=not no_latency)
        comparison = Comparison(options, place, lambda line: print(line, file=sys.stderr))
        header = facts(place, _DURABILITY) | comparison.versions()
        header |= {name: f"left out: {reason}" for name, reason in absent.items()}
        results = comparison.run()
    judged = verdicts(results, names)
    print(render(header, results, names, judged))
    if json_file is not None:
        write_json(json_file, header, results, judged)


@main.command(help="What idle connections to one worker cost in memory, and whether a good client notices them.")
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="How many; fewer where the limit on descriptors (ulimit -n) does not allow them.",
)
@click.option(
    "--message",
    "octets",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Octets of a message that each client hands over before it idles; 0: it has only said EHLO.",
)
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="/var/tmp",
    show_default=True,
    help="Where the spool is made.",
)
def idle(connections: int, octets: int, directory: Path) -> None:
    with workplace(directory.resolve()) as place:
        cost = run_idle(place, connections, octets)
    fewer = f" of {connections:,} asked for: the limit on descriptors" if cost.connections < connections else ""
    print(f"{cost.connections:,} idle connections{fewer}")
    print(f"{cost.pss:,.0f} octets each by PSS, {cost.private:,.0f} by private pages")
    alone, beside = cost.alone * 1000, cost.beside * 1000
    print(f"a good client's worst transaction: {alone:.1f} ms before them, {beside:.1f} ms beside them")


@main.command(help="Queue many messages while the server is down: one recipient each, due at once.")
@click.option("--messages", type=click.IntRange(min=1), required=True, help="How many.")
@click.option("--config", "file", type=click.Path(dir_okay=False, path_type=Path), help="As for mta.")
@click.option("--size", type=click.IntRange(min=200), default=1024, show_default=True, help="Octets of each.")
@click.option("--domain", "domains", multiple=True, help="Of the recipients; several take turns.")
def fill(messages: int, file: Path | None, size: int, domains: tuple[str, ...]) -> None:
    config = configuration.load(file)
    spool = import_module("mta.spool.fill")
    pattern = spool.Pattern(size=size, **({"domains": domains} if domains else {}))
    spool.fill(config.data_dir, config.workers, messages, pattern, progress=_progress(messages))
    print(f"{messages:,} messages queued in {config.data_dir}, {config.workers} shards", file=sys.stderr)


def _progress(total: int) -> Callable[[int], None]:
    """One line that is overwritten on a terminal, and nothing elsewhere until every tenth is done."""
    shown = 0

    def show(done: int) -> None:
        nonlocal shown
        tenth = done * 10 // total
        if sys.stderr.isatty():
            print(f"\r{done:,} of {total:,}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif tenth > shown:
            shown = tenth
            print(f"{done:,} of {total:,}", file=sys.stderr)

    return show


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _terminated(number: int, frame: Any) -> NoReturn:
    """SIGTERM ends us like Ctrl-C: every child is stopped and the directory removed on the way out."""
    raise KeyboardInterrupt


def run() -> None:
    """Errors for an operator are one line each."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        main.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(64) from None
    except (KeyboardInterrupt, click.Abort):
        print("bench: interrupted; everything it started is stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except MtaError as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    run()
