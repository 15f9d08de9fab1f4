"""``mta tls``: certificates for a first try.

Owns: the files and their modes. Never does: ask an authority, or touch the configuration.
"""

import os
from pathlib import Path

import click

from mta.cli.options import config_option, read_config
from mta.errors import CannotCreateError, UsageError

CERTIFICATE, PRIVATE_KEY = "cert.pem", "key.pem"


@click.group("tls")
def command() -> None:
    """Certificates of listeners.

    \b
    mta tls self-signed
    """


@command.command("self-signed")
@click.option("--name", "names", multiple=True, metavar="N", help="Host name or IP address; several are fine.")
@click.option("--out", default=".", metavar="DIR", type=click.Path(path_type=Path), help="Where; made when missing.")
@click.option(
    "--days", default=365, show_default=True, type=click.IntRange(1, 36_500), help="For how long it is valid."
)
@click.option("--force", is_flag=True, help="Replace the files that are there.")
@config_option
def self_signed(names: tuple[str, ...], out: Path, days: int, force: bool) -> None:
    """Make a private key and a certificate signed by itself: cert.pem and key.pem.

    Without --name it is for the configuration's hostname, localhost, 127.0.0.1 and ::1. Clients have to be told to
    trust it; for a server that strangers reach, get one from an authority.

    \b
    mta tls self-signed
    mta tls self-signed --name mail.example.org --out /etc/mta
    """
    from datetime import UTC, datetime, timedelta

    from mta.clock import SystemClock
    from mta.net.certificate import self_signed as make

    wanted = names or tuple(dict.fromkeys((read_config().hostname, "localhost", "127.0.0.1", "::1")))
    now = datetime.fromtimestamp(SystemClock().now_ms() // 1000, UTC)
    try:
        certificate, key = make(wanted, now, timedelta(days=days))
    except ValueError as e:
        raise UsageError(f"--name: {e}") from e
    for path in (out / PRIVATE_KEY, out / CERTIFICATE):
        if path.exists() and not force:
            raise CannotCreateError(f"{path} is there: say --force to replace it, or --out for another directory")
    try:
        _write(out / PRIVATE_KEY, key, 0o600)
        _write(out / CERTIFICATE, certificate, 0o644)
    except OSError as e:
        raise CannotCreateError(f"{out}: {e.strerror}; name another directory with --out") from e
    click.echo(f'certificate = "{(out / CERTIFICATE).absolute()}"')
    click.echo(f'private_key = "{(out / PRIVATE_KEY).absolute()}"')


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    new.replace(path)
