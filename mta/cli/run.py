"""``mta run``: the server in the foreground."""

import os

import click

from mta.cli.options import config_option, config_path


@click.command("run")
@config_option
def command() -> None:
    """Run the server in the foreground.

    Says `mta: ready` on stderr when every listener answers. SIGTERM and SIGINT drain (said twice: end at once),
    SIGHUP reloads.

    \b
    mta run
    mta run --config /etc/mta/mta.toml
    """
    from mta.attendant.run import serve
    from mta.config import load

    path = config_path()
    serve(lambda: load(path, os.environ), os.environ)
