"""``mta audit``: the ledger against the queue."""

import click

from mta.cli.options import config_option, json_option, read_config

GONE = ("delivered", "failed", "expired", "expanded", "discarded", "removed", "queued")
COLUMNS = ("accepted", "generated", *GONE, "drift")


@click.command("audit")
@config_option
@json_option
def command(as_json: bool) -> int:
    """Balance the ledger: accepted + generated = everything that became of them + queued.

    Recounts what is queued, with the server up or down. Exit 0 when it balances, 1 when not.

    \b
    mta audit --json
    """
    from mta.cli import render
    from mta.cli.source import queue_of

    row = queue_of(read_config()).audit()
    if as_json:
        click.echo(render.json_line({name: row.get(name, 0) for name in COLUMNS} | {"exact": row.get("exact", True)}))
    else:
        for name in COLUMNS:
            click.echo(f"{name:<10} {row.get(name, 0):>12}")
        if not row.get("exact", True):
            click.echo("the queue moved while it was counted: the drift may be of that", err=True)
    return 0 if row.get("drift", 0) == 0 else 1
