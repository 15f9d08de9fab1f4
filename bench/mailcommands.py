"""``python -m bench local``, ``pop3`` and ``tls``: the comparisons of servers with mailboxes, and of relays under TLS.

Owns: their options. Never does: measure.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from bench import plan
from bench.figures import verdicts
from bench.local import LocalComparison, LocalOptions, host_kind
from bench.machine import facts, program
from bench.pop3 import FetchComparison, FetchOptions, Opening, fetch_kind, open_large
from bench.relay import kind_of
from bench.report import numbers, write_json
from bench.rounds import workplace
from bench.table import LOCAL, POP3, render
from bench.tls import Comparison as TlsComparison
from mta.errors import UnavailableError

_DURABILITY = "a message is synced in the spool or queue before its 250, and in the mailbox before LMTP's"
F = TypeVar("F", bound=Callable[..., None])


def _common(command: F) -> F:
    """Options of all."""
    options = (
        click.option(
            "--repeat", type=click.IntRange(1, 100), default=1, show_default=True, help="Shown is the median."
        ),
        click.option(
            "--seconds", type=click.FloatRange(min=0.1), default=plan.SECONDS, show_default=True, help="A run."
        ),
        click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="All figures."),
        click.option(
            "--directory",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            default="/var/tmp",
            show_default=True,
            help="Where spools and mailboxes are made; must be on the disk that is meant.",
        ),
    )
    for option in options:
        command = option(command)
    return command


def _present(names: str | None, default: Sequence[str], kind: Callable[[str], Any]) -> tuple[list[str], dict[str, str]]:
    """The peers that can run, and why others cannot; one that was named must be there. Raises UnavailableError."""
    if not program("smtp-source"):
        raise UnavailableError("smtp-source not found: install Postfix (Debian: apt-get install postfix)")
    wanted = [name.strip() for name in names.split(",")] if names else list(default)
    absent = {name: reason for name in wanted if (reason := kind(name).missing())}
    if absent and names:
        raise UnavailableError("; ".join(f"{name}: {reason}" for name, reason in absent.items()))
    return [name for name in wanted if name not in absent], {n: f"left out: {reason}" for n, reason in absent.items()}


def _progress(line: str) -> None:
    print(line, file=sys.stderr)


@click.command(help="Mail for local mailboxes, end to end, beside Postfix with Dovecot; one table.")
@click.option("--size", type=click.IntRange(min=200), default=4096, show_default=True, help="Octets of content.")
@click.option("--mailboxes", default="20,1", show_default=True, help="That share the mail evenly.")
@click.option("--sessions", type=click.IntRange(min=1), default=20, show_default=True, help="Of the sources, kept.")
@click.option("--peers", help="hermes-N, postfix (which hands over to Dovecot). Default: hermes-1, hermes-2, postfix.")
@click.option(
    "--messages", type=click.IntRange(min=1), default=plan.MOST_MESSAGES, show_default=True, help="A run at most."
)
@_common
def local(
    size: int,
    mailboxes: str,
    sessions: int,
    peers: str | None,
    messages: int,
    directory: Path,
    json_file: Path | None,
    seconds: float,
    repeat: int,
) -> None:
    cells = [plan.LocalCell(size, count, sessions) for count in numbers(mailboxes, "--mailboxes")]
    names, absent = _present(peers, plan.LOCAL_PEERS, host_kind)
    with workplace(directory.resolve()) as place:
        comparison = LocalComparison(LocalOptions(cells, names, place, messages, seconds, repeat), _progress)
        header = facts(place, _DURABILITY) | comparison.versions() | absent
        results = comparison.run()
    judged = verdicts(results, names, plan.LOCAL_BARS)
    print(render(header, results, names, judged, LOCAL))
    if json_file is not None:
        write_json(json_file, header, results, judged)


@click.command(help="RETR of whole mailboxes beside Dovecot, and how long a very large mailbox takes to open.")
@click.option("--size", type=click.IntRange(min=200), default=4096, show_default=True, help="Octets of a message.")
@click.option(
    "--messages", type=click.IntRange(min=1), default=10_000, show_default=True, help="In each mailbox to be fetched."
)
@click.option("--sessions", default="1,4", show_default=True, help="At once, each with a mailbox of its own.")
@click.option("--peers", help="hermes-N, dovecot, dovecot-mdbox, floor (no server). Default: hermes-1 and all.")
@click.option(
    "--open",
    "large",
    type=click.IntRange(min=0),
    default=100_000,
    show_default=True,
    help="Messages in the mailbox whose opening and UIDL are timed, for Hermes; 0: none.",
)
@_common
def pop3(
    size: int,
    messages: int,
    sessions: str,
    peers: str | None,
    large: int,
    directory: Path,
    json_file: Path | None,
    seconds: float,
    repeat: int,
) -> None:
    at_once = numbers(sessions, "--sessions")
    cells = [plan.FetchCell(size, pipelined, count) for pipelined in (False, True) for count in at_once]
    names, absent = _present(peers, plan.POP3_PEERS, fetch_kind)
    with workplace(directory.resolve()) as place:
        comparison = FetchComparison(FetchOptions(cells, names, place, messages, seconds, repeat), _progress)
        header = facts(place, _DURABILITY) | comparison.versions() | absent
        results = comparison.run()
        timed = [name for name in names if name.startswith("hermes")] if large else []
        openings = {name: open_large(name, place, large, _progress) for name in timed}
    judged = verdicts(results, names, plan.FETCH_BARS, plan.DOVECOT)
    print(render(header, results, names, judged, POP3))
    for name, opening in openings.items():
        print(f"\n{opening_line(name, opening)}")
    if json_file is not None:
        write_json(json_file, header, results, judged, plan.DOVECOT)


@click.command(help="The relay with TLS on both legs, connections kept, beside Postfix; one table.")
@click.option("--size", type=click.IntRange(min=200), default=4096, show_default=True, help="Octets of content.")
@click.option("--sessions", type=click.IntRange(min=1), default=20, show_default=True, help="Of the source, kept.")
@click.option("--peers", help=f"Default: {', '.join(plan.TLS_PEERS)}; straight: source and sink alone.")
@click.option(
    "--messages", type=click.IntRange(min=1), default=plan.MOST_MESSAGES, show_default=True, help="A run at most."
)
@_common
def tls(
    size: int,
    sessions: int,
    peers: str | None,
    messages: int,
    directory: Path,
    json_file: Path | None,
    seconds: float,
    repeat: int,
) -> None:
    names, absent = _present(peers, plan.TLS_PEERS, kind_of)
    with workplace(directory.resolve()) as place:
        comparison = TlsComparison(place, names, seconds, messages, _progress)
        header = facts(place, _DURABILITY) | {"TLS": comparison.cipher()} | comparison.versions() | absent
        results = comparison.run([plan.Cell(size, True, sessions)], repeat)
    judged = verdicts(results, names, plan.TLS_BARS)
    print(render(header, results, names, judged))
    if json_file is not None:
        write_json(json_file, header, results, judged)


def opening_line(name: str, opening: Opening) -> str:
    return (
        f"{name}, {opening.messages:,} messages: PASS to +OK {opening.first * 1000:.0f} ms after a restart, "
        f"{opening.again * 1000:.1f} ms with the password known; UIDL {opening.uidl * 1000:.1f} ms"
    )
