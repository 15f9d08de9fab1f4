"""``mta demo``: figure 1 in one command.

Owns: the options. Never does: read the operator's configuration or touch an installation; everything happens in a
directory and on loopback addresses of its own.
"""

import os
import sys

import click

from mta.cli.options import config_option

_COUNT = click.IntRange(min=0, max=1_000_000)


@click.command("demo")
@click.option("--messages", default=5000, show_default=True, type=_COUNT, help="In the burst; 0: no burst.")
@click.option("--keep", is_flag=True, help="Leave the directory with configurations, mail and logs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per scene.")
@click.option("--quiet", "-q", is_flag=True, help="Nothing but errors; the exit status tells.")
@click.option("--no-color", is_flag=True, help="No colours (NO_COLOR does the same, and any stdout but a terminal).")
@click.option(
    "--dns",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "nsd", "knot", "unbound", "own"]),
    help="The name server; auto: the first of these that is there and answers.",
)
@config_option
def command(messages: int, keep: bool, as_json: bool, quiet: bool, no_color: bool, dns: str) -> None:
    """Show three mail servers at work: a letter's way from Ada over Athena, Hermes and Arlington to Mark, and back.

    Starts three real installations and a name server (nsd, Knot DNS or unbound when installed) on loopback addresses,
    lets people send by SMTP and fetch by POP3, verifies everything that it shows, and leaves nothing behind. No root,
    no network, no other server is needed. Takes about ten seconds.

    \b
    mta demo
    mta demo --messages 20000
    mta demo --messages 100 --json
    """
    from mta.cli.demonstration.show import Options, perform

    colour = sys.stdout.isatty() and not no_color and not os.environ.get("NO_COLOR")
    perform(Options(messages, keep, as_json, quiet, colour, dns))
