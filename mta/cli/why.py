"""``mta why``: what each recipient of a message waits for."""

import click

from mta.cli.options import config_option, json_option, read_config


@click.command("why")
@click.argument("queue_id", metavar="ID")
@config_option
@json_option
def command(queue_id: str, as_json: bool) -> None:
    """Tell what each recipient of a message waits for, and until when.

    \b
    mta why 6H0PWT5VM0000
    """
    from mta.cli import render
    from mta.cli.source import queue_of

    rows = queue_of(read_config()).why(queue_id)
    for line in map(render.json_line, rows) if as_json else render.why(rows):
        click.echo(line)
