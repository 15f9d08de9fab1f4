"""``mta directory``: people, aliases, lists and their address book, with the server up or down.

Owns: the group of its commands. Never does: their work.
"""

import click

from mta.cli.directory import entries, transfer, user
from mta.cli.options import config_option


@click.group("directory")
@config_option
def command() -> None:
    """Change and show the directory: people, aliases, lists; with the server up or down.

    \b
    mta directory user add mark@minasi.example --name "Mark Minasi"
    mta directory alias add info@minasi.example mark@minasi.example
    mta directory search mina
    """


command.add_command(user.group)
command.add_command(entries.alias)
command.add_command(entries.lists)
for one in (
    entries.search,
    entries.resolve,
    entries.check,
    transfer.export,
    transfer.import_,
):
    command.add_command(one)
