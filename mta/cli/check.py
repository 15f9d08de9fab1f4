"""``mta check``: what is wrong with the configuration."""

import click

from mta.cli.options import config_option, config_path, read_config


@click.command("check")
@config_option
def command() -> None:
    """Check the configuration file: one line per error, exit 78 when there is any.

    \b
    mta check --config mta.toml
    """
    import os

    from mta.config import find_file, warnings

    config = read_config()
    for line in warnings(config):
        click.echo(f"mta: warning: {line}", err=True)
    source = find_file(config_path(), os.environ)
    click.echo(f"{source or 'defaults (there is no file)'}: fine")
