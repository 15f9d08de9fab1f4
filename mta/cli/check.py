"""``mta check``: what is wrong with the configuration, or what it comes to.

Owns: the summary. Never does: bind, make directories, or ask a running server.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mta.cli.options import config_option, config_path, read_config
from mta.errors import ConfigError

if TYPE_CHECKING:
    from mta.config import Config


@click.command("check")
@config_option
def command() -> None:
    """Check the configuration file: one line per error and exit 78, or a summary of what a start would do.

    Nothing is bound, made or changed, so it may be said while a server runs; hooks are made, certificates and
    passwords read, by root as the server's user. What works and still deserves a word comes as a warning on stderr.

    \b
    mta check --config mta.toml
    MTA_WORKERS=4 mta check
    """
    import os

    from mta.attendant.filecheck import check_files
    from mta.attendant.prepare import read_token
    from mta.attendant.privileges import account_of, acting_as
    from mta.clock import SystemClock
    from mta.config import find_file, warnings

    config = read_config()
    source = find_file(config_path(), os.environ)
    try:
        if config.admin.token_file is not None:
            read_token(config)
        with acting_as(account_of(config.user) if os.geteuid() == 0 else None):
            remarks = [*warnings(config), *check_files(config, SystemClock())]
    except ConfigError as error:
        raise ConfigError([f"{source or '(no file)'}: {finding}" for finding in error.findings]) from error
    for line in remarks:
        click.echo(f"mta: warning: {line}", err=True)
    click.echo(f"{source or 'defaults (there is no file)'}: fine")
    for name, value in summary(config):
        click.echo(f"  {name:<10} {value}")


def summary(config: "Config") -> Iterator[tuple[str, str]]:
    """(name, what it comes to), one line each."""
    yield "hostname", config.hostname
    for listener in config.listener:
        tls = "" if listener.tls == "none" else f", TLS {listener.tls}"
        yield "listener", f"{listener.protocol} on {listener.address}{tls}"
    yield "workers", f"{config.workers}{f', as user {config.user}' if config.user else ''}"
    yield "data_dir", f"{config.data_dir}{'' if config.data_dir.is_dir() else ' (made at the first start)'}"
    yield "spool", f'{config.spool.backend}, durability "{config.spool.durability}"'
    yield "events", config.log.events if config.log.events != "-" else "stdout"
    yield "admin", str(config.admin.address)
    yield "relay for", ", ".join(map(str, (*config.relay.networks, *config.relay.domains))) or "nobody"
    if config.local.domains:
        yield "local", ", ".join(config.local.domains)
    for hook in config.hook:
        yield "hook", hook.module
    for entry in config.dnsbl:
        yield "dnsbl", f"{entry.zone}, weight {entry.weight:g} of {config.policy.dnsbl_threshold:g}"
    for route in config.route:
        how = (f", tls {route.tls}" if route.tls else "") + (f", as {route.username}" if route.username else "")
        yield "route", f"{route.domain} to {route.to}{how}"
    if not any(route.domain == "*" for route in config.route):
        servers = ", ".join(f"{host}:{port}" for host, port in config.dns.servers) or "those of the machine"
        yield "otherwise", f"MX hosts on port {config.delivery.port}; name servers: {servers}"
    yield "tls", f"{config.delivery.tls} towards others"
