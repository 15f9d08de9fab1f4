"""``mta queue``: look at queued messages and act on them."""

import os
import sys
from typing import Any

import click

from mta.cli.options import config_option, json_option, limit_option, read_config

Row = dict[str, Any]


@click.group("queue")
@config_option
def command() -> None:
    """Look at queued messages and act on them, with the server up or down.

    \b
    mta queue list --domain slow.example
    mta queue hold --domain slow.example --reason "their server is ill"
    mta queue flush
    """


def _queue() -> Any:
    from mta.cli.source import queue_of

    return queue_of(read_config())


@command.command("list")
@click.option("--domain", default="", help="Only messages for this routing domain.")
@click.option("--sender", default="", help='Only from this reverse-path ("<>": the null one).')
@click.option("--recipient", default="", help="Only for this recipient.")
@limit_option("messages")
@config_option
@json_option
def list_(domain: str, sender: str, recipient: str, limit: int, as_json: bool) -> None:
    """List messages as mailq does (`*` active, `!` on hold); --json: the fields of postqueue -j.

    Lines come as the queue is read, whatever its length.

    \b
    mta queue list
    mta queue list --sender "<>" --limit 20
    mta queue list --json | jq -r .queue_id
    """
    from mta.cli import render

    given = {"domain": domain, "sender": sender, "recipient": recipient, "limit": limit}
    rows = _queue().listed({name: value for name, value in given.items() if value})
    for line in map(render.json_line, rows) if as_json else render.mailq(rows):
        click.echo(line)


@command.command("show")
@click.argument("queue_id", metavar="ID")
@config_option
@json_option
def show(queue_id: str, as_json: bool) -> None:
    """Show one message's record: envelope, arrival, every recipient.

    \b
    mta queue show 6H0PWT5VM0000
    """
    from mta.cli import render

    row = _queue().show(queue_id)
    for line in [render.json_line(row)] if as_json else render.record(row):
        click.echo(line)


@command.command("cat")
@click.argument("queue_id", metavar="ID")
@config_option
def cat(queue_id: str) -> None:
    """Write one message's content to stdout, as it is stored.

    \b
    mta queue cat 6H0PWT5VM0000 > message.eml
    """
    for chunk in _queue().content(queue_id):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


@command.command("stats")
@config_option
@json_option
def stats(as_json: bool) -> None:
    """Count queued recipients by domain and age in minutes, as qshape does.

    \b
    mta queue stats
    """
    from mta.cli import render

    rows = list(_queue().stats())
    for line in map(render.json_line, rows) if as_json else render.qshape(rows):
        click.echo(line)


def _edit(verb: str, summary: str, example: str, everything_by_default: bool = False) -> None:
    @command.command(verb, help=f"{summary}\n\n\b\n{example}", short_help=summary)
    @click.argument("ids", metavar="[ID]...", nargs=-1)
    @click.option("--domain", default="", help="All messages with recipients in this domain (those recipients).")
    @click.option("--all", "everything", is_flag=True, help="The whole queue.")
    @click.option("--reason", default="", help="Goes to the event log.")
    @config_option
    @json_option
    def edit(ids: tuple[str, ...], domain: str, everything: bool, reason: str, as_json: bool) -> int:
        everything = everything or (everything_by_default and not ids and not domain)
        if not (ids or domain or everything):
            raise click.UsageError("name messages, or give --domain or --all")
        args = {"ids": list(ids), "domain": domain, "everything": everything, "reason": reason}
        return _report(verb, _queue().edit(verb, args), as_json, named=bool(ids))


def _report(verb: str, rows: Any, as_json: bool, named: bool) -> int:
    """Prints what became of each message. Of messages that were named, each must have been changed."""
    from mta.cli import render

    done = undone = recipients = 0
    for row in rows:
        done += row["done"]
        undone += not row["done"]
        recipients += row["recipients"]
        if as_json:
            click.echo(render.json_line(row))
        elif named and not row["done"]:
            click.echo(f"mta: {row['queue_id']}: {row['detail']}", err=True)
    if not as_json:
        left = f"; {undone} left alone" if undone else ""
        click.echo(f"{verb}: {recipients} recipients of {done} messages{left}")
    return os.EX_DATAERR if named and undone else os.EX_OK


_edit(
    "flush",
    "Try messages now (without arguments: all that are not on hold).",
    "mta queue flush\nmta queue flush --domain there.example",
    everything_by_default=True,
)
_edit(
    "hold",
    "Keep messages until they are released.",
    'mta queue hold --domain there.example --reason "their server is ill"',
)
_edit(
    "release",
    "Let held messages go, and try them now.",
    "mta queue release --all",
)
_edit(
    "bounce",
    "Return messages to their senders with a DSN.",
    'mta queue bounce 6H0PWT5VM0000 --reason "the address is no more"',
)
_edit(
    "remove",
    "Take messages out of the queue without telling anyone.",
    'mta queue remove --domain there.example --reason "a loop of reports"',
)
