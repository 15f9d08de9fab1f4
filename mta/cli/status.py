"""``mta status``: the services, and acting on one of them."""

import click

from mta.cli.options import config_option, json_option, read_config


@click.group("status", invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the services; stop, start or restart one.

    A service that does not run as it should has a line that says why and what to do. Exit 0 when the server
    answers, whatever the state of its services (`--json` has it for scripts); 69 when there is none.

    \b
    mta status
    mta status restart worker-0
    mta status --json | jq -r 'select(.state != "running") | .name'
    """
    if ctx.invoked_subcommand is None:
        _print(as_json, None, None)


def _act(action: str, summary: str, example: str) -> None:
    @command.command(action, help=f"{summary}\n\n\b\n{example}", short_help=summary)
    @click.argument("name")
    @config_option
    @json_option
    def act(name: str, as_json: bool) -> None:
        _print(as_json, name, action)


_act("stop", "Drain a service and keep it stopped (`attendant`: the whole server).", "mta status stop attendant")
_act("start", "Start a stopped service, or one in quarantine.", "mta status start worker-0")
_act("restart", "Drain a service and start it again.", "mta status restart worker-0")


def _print(as_json: bool, name: str | None, action: str | None) -> None:
    from urllib.parse import quote

    from mta.cli import render
    from mta.cli.client import AdminClient
    from mta.clock import SystemClock

    client = AdminClient(read_config())
    if name is None:
        answer = next(client.get("/api/v1/status"))
    else:
        answer = next(client.post(f"/api/v1/services/{quote(name, safe='')}/{action}"))
    services = [s for s in answer["services"] if name is None or s["name"] == name]
    for line in (
        map(render.json_line, services) if as_json else render.services(services, SystemClock().now_ms() / 1000)
    ):
        click.echo(line)
