"""``mta hooks``: what the policies of ``[[hook]]`` say about a recorded session.

Owns: the text. Never does: ask a running server; the hooks are made here, from the configuration.
"""

import asyncio
import json
import logging
from pathlib import Path

import click

from mta.cli.options import config_option, json_option, read_config


@click.group("hooks")
def command() -> None:
    """Try out policies written in Python.

    \b
    mta hooks replay session.txt
    """


@command.command("replay")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@config_option
@json_option
def replay_command(file: Path, as_json: bool) -> None:
    """Play a recorded session to the hooks of the configuration and show what each of them says.

    The record is a text file: "C: " before each line of the client, "from: ADDRESS" for where it comes from; other
    lines are remarks. No server is asked, and nothing goes anywhere. Exit 65 when the record cannot be read.

    \b
    mta hooks replay session.txt
    mta hooks replay session.txt --json | jq -r 'select(.stage == "rcpt")'
    """
    from mta.errors import ConfigError, DataError
    from mta.services.hooking import load_policies
    from mta.services.replay import Step, read_record, replay

    config = read_config()
    if not config.hook:
        raise ConfigError(["hook: there is none in the configuration"])
    try:
        record = read_record(click.open_file(str(file), encoding="utf-8").read())
    except (UnicodeDecodeError, DataError) as error:
        raise DataError(f"{file}: {error}") from None
    logging.basicConfig(format="%(message)s")
    policies = load_policies(config)

    async def play() -> None:
        async for step in replay(policies, record):
            show(step)

    def show(step: Step) -> None:
        if as_json:
            click.echo(json.dumps(step._asdict()))
        elif step.stage:
            click.echo(f"    {step.stage:<8} {step.who}: {step.said}")
        else:
            click.echo(f"{step.who}: {step.said}")

    asyncio.run(play())
