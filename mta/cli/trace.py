"""``mta trace``: a message's whole way from event logs, across servers when given several."""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mta.cli.options import config_option, json_option, read_config

if TYPE_CHECKING:
    from mta.log.event import Event
    from mta.log.reading import LogFiles
    from mta.log.tracing import Hop

Row = dict[str, Any]
Way = list[tuple["Hop", list["Event"]]]

#: Octets of logs from which on a person at a terminal is told how far the reading is.
LONG = 64 << 20

_WORDS = {
    "Reception": "received",
    "Delivery": "delivered",
    "TransientFailure": "deferred",
    "Bounce": "failed",
    "Expiration": "expired",
    "Delayed": "warned",
    "Rejection": "refused",
    "AdminBounce": "removed",
    "AdminRebind": "moved",
}
#: Of an operator's event, ``response.command`` says more than its type.
_EDITS = {
    "queue flush": "flushed",
    "queue hold": "held",
    "queue release": "released",
    "queue bounce": "bounced",
    "queue remove": "removed",
}


@click.command("trace")
@click.argument("text", metavar="ID|ADDRESS|MESSAGE-ID")
@click.option(
    "--log",
    "logs",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    help="An event log, with its rotated siblings; several times for several servers (default: log.events).",
)
@config_option
@json_option
def command(text: str, logs: tuple[Path, ...], as_json: bool) -> None:
    """Show a message's whole way: every hop, every attempt, and the reports about it.

    Looks for a queue id, an address (sender or recipient) or a Message-ID. From server to server it follows the ids
    in their replies; reports (DSN) and copies for lists name the message that they come from. The logs are read whole,
    several times: the end of a way can lie anywhere. Exit 69 when there is nothing about it.

    \b
    mta trace 6H0PWT5VM0000
    mta trace mark@minasi.example --log athena.jsonl --log hermes.jsonl --log arlington.jsonl
    mta trace '<1@athena.example>' --json | jq -r .type
    """
    from mta.cli import render
    from mta.errors import UnavailableError, UsageError
    from mta.log.reading import LogFiles
    from mta.log.tracing import Tracer

    if not text.strip("<> "):
        raise UsageError("trace: nothing is asked for: give an id, an address or a Message-ID")
    files = [LogFiles(path) for path in logs or [_default()]]
    with _Progress(sum(file.octets for file in files)) as progress:
        way = Tracer([partial(file.blocks, progress.add) for file in files], text.strip()).hops()
    if not way:
        raise UnavailableError(f"nothing about {text} in {', '.join(str(file.path) for file in files)}")
    lines = map(render.json_line, _rows(way, files)) if as_json else _told(way, files)
    for line in lines:
        click.echo(line)


def _default() -> Path:
    from mta.errors import UsageError

    events = read_config().log.events
    if events == "-":
        raise UsageError('log.events is "-": there is no file to read; name one with --log')
    return Path(events)


class _Progress:
    """Tells a person at a terminal how much of long logs has been read."""

    def __init__(self, octets: int) -> None:
        self._shown = octets >= LONG and sys.stderr.isatty()
        self._octets = octets
        self._read = 0

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)

    def add(self, octets: int) -> None:
        self._read += octets
        if self._shown:
            reading, of_this = divmod(self._read, self._octets)
            text = f"\rreading {reading + 1}: {100 * of_this // self._octets} % of {self._octets >> 20} MiB"
            click.echo(text, err=True, nl=False)


def _rows(way: Way, files: list["LogFiles"]) -> Iterator[Row]:
    """One event a row, as it was logged, with the log it comes from."""
    import msgspec

    for hop, events in way:
        for event in events:
            yield {"log": str(files[hop.log].path), **msgspec.to_builtins(event)}


def _told(way: Way, files: list["LogFiles"]) -> Iterator[str]:
    for number, (hop, events) in enumerate(way):
        if number:
            yield ""
        yield _head(hop, events, files)
        for event, recipients in _together(events):
            yield from _line(event, recipients)


def _head(hop: "Hop", events: "list[Event]", files: list["LogFiles"]) -> str:
    from mta.cli.render import colour

    log = f"  [{files[hop.log].path}]" if len(files) > 1 else ""
    if not hop.id:
        return f"refused at the door{log}"
    first = events[0]
    if hop.stored:
        return f"{colour(hop.id, 'cyan')}  in the mailbox of <{first.recipient}>{log}"
    facts = [f"from <{first.sender}>", f"{first.size:,} octets"]
    message_id = next((event.message_id for event in events if event.message_id), "")
    facts += [f"Message-ID {message_id}"] if message_id else []
    facts += [f"made from {first.origin}"] if first.origin else []
    return f"{colour(hop.id, 'cyan')}  {', '.join(facts)}{log}"


def _together(events: "Iterable[Event]") -> Iterator[tuple["Event", list[str]]]:
    """Recipients to whom the same thing happened at the same moment share a line."""
    last: tuple[Event, list[str]] | None = None
    for event in events:
        if last is not None and _alike(last[0], event):
            last[1].append(event.recipient)
            continue
        if last is not None:
            yield last
        last = event, [event.recipient]
    if last is not None:
        yield last


def _alike(one: "Event", other: "Event") -> bool:
    return (one.type, one.timestamp, one.response, one.peer_address, one.reason) == (
        other.type,
        other.timestamp,
        other.response,
        other.peer_address,
        other.reason,
    )


def _line(event: "Event", recipients: list[str]) -> Iterator[str]:
    from mta.cli.render import local_time

    moment = local_time(event.timestamp, "%Y-%m-%d %H:%M:%S") + f".{int(event.timestamp * 1000) % 1000:03d}"
    names = ", ".join(f"<{name}>" for name in recipients)
    response = event.response
    word = _EDITS.get(response.command if response is not None else "") or _WORDS.get(event.type, event.type)
    yield f"  {moment}  {word:<9} {names}{_where(event)}{_how_long(event)}"
    if response is not None and (response.code or response.content):
        code = f"{response.code} " if response.code else ""
        status = f"{response.enhanced_code} " if response.enhanced_code else ""
        at = f"  ({response.command})" if response.command else ""
        yield f"{'':>36} {code}{status}{response.content}{at}"
    if event.reason:
        yield f"{'':>36} {event.reason}"


def _where(event: "Event") -> str:
    peer = event.peer_address
    if peer is None or not (peer.name or peer.addr):
        return ""
    protocol = event.reception_protocol if event.type in ("Reception", "Rejection") else event.delivery_protocol
    word = "from" if event.type in ("Reception", "Rejection") else "by"
    # A unix socket has its path for a name and for an address.
    who = peer.addr if peer.name == peer.addr else f"{peer.name or '?'}" + (f" [{peer.addr}]" if peer.addr else "")
    return f" {word} {who}" + (f" {protocol}" if protocol else "")


def _how_long(event: "Event") -> str:
    """The attempt, and the time since the message came."""
    attempt = f", attempt {event.num_attempts}" if event.num_attempts > 1 else ""
    since = event.timestamp - event.created
    return attempt + (f", after {since:.3f} s" if event.type != "Reception" and since > 0 else "")
