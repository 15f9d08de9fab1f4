"""``mta directory user``: people and their passwords.

Owns: its commands and their options. A password is never an argument, where others could see it: it is typed twice, or
read from stdin; and what leaves this process is its hash.
"""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mta.cli.options import config_option, json_option, limit_option, read_config
from mta.errors import UsageError

Row = dict[str, Any]
_F = TypeVar("_F", bound=Callable[..., Any])

#: Option → what it sets.
_TEXTS = {
    "--name": ("display_name", "As it is shown."),
    "--given": ("given_name", "Given name."),
    "--surname": ("surname", "Surname."),
    "--title": ("title", "Title or function."),
    "--department": ("department", "Department."),
    "--phone": ("phone", "Telephone number."),
}


@click.group("user")
@config_option
def group() -> None:
    """Add, show and change people.

    \b
    mta directory user add mark@minasi.example --name "Mark Minasi"
    mta directory user passwd mark@minasi.example
    """


def _about(function: _F) -> _F:
    """The options that tell of a person."""
    function = click.option(
        "--further", multiple=True, metavar="ADDRESS", help="Another address of the person; may be given again."
    )(function)
    for option, (name, text) in reversed(_TEXTS.items()):
        function = click.option(option, name, metavar="TEXT", help=text)(function)
    return function


def _ask(verb: str, args: Row) -> Any:
    from mta.cli.directory.source import source_of

    return source_of(read_config()).ask(verb, args)


def _say(rows: Any, as_json: bool, form: str) -> None:
    from mta.cli.directory import shown

    shown.say(rows, as_json, getattr(shown, form))


@group.command("add")
@click.argument("address", required=False, default="")
@_about
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin (one line).")
@click.option("--ask-password", is_flag=True, help="Ask for the password, twice.")
@config_option
@json_option
def add(address: str, password_stdin: bool, ask_password: bool, as_json: bool, **about: Any) -> None:
    """Add a person. Without ADDRESS one is made from the names (directory.address_template).

    Without a password the person gets mail and cannot fetch it.

    \b
    mta directory user add mark@minasi.example --name "Mark Minasi"
    mta directory user add --given Mark --surname Minasi --ask-password
    pass show mark | mta directory user add mark@minasi.example --password-stdin
    """
    secret = _secret(password_stdin) if password_stdin or ask_password else {}
    _say(_ask("user.add", {"address": address, **_given(about), **secret}), as_json, "person")


@group.command("list")
@limit_option("people")
@config_option
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List people in the order in which they came.

    \b
    mta directory user list
    mta directory user list --json | jq -r .address
    """
    _say(_ask("user.list", {"limit": limit}), as_json, "people")


@group.command("show")
@click.argument("user", metavar="ADDRESS")
@config_option
@json_option
def show(user: str, as_json: bool) -> None:
    """Show a person, by any of the addresses or the id.

    \b
    mta directory user show mark@minasi.example
    """
    _say(_ask("user.show", {"user": user}), as_json, "person")


@group.command("set")
@click.argument("user", metavar="ADDRESS")
@click.option("--address", metavar="ADDRESS", help="A new address; the mailbox stays the same.")
@_about
@click.option("--no-further", is_flag=True, help="No further addresses any more.")
@config_option
@json_option
def set_(user: str, address: str | None, no_further: bool, as_json: bool, **about: Any) -> None:
    """Change what is known of a person; what is not named stays, "" takes it away.

    \b
    mta directory user set mark@minasi.example --title Author --phone "+1 555 0100"
    mta directory user set mark@minasi.example --address m.minasi@minasi.example \\
        --further mark@minasi.example
    """
    args = _given(about) | ({"address": address} if address is not None else {})
    if no_further:
        args["further"] = []
    if not args:
        raise click.UsageError("nothing to change: name an option")
    _say(_ask("user.set", {"user": user, **args}), as_json, "person")


@group.command("remove")
@click.argument("user", metavar="ADDRESS")
@config_option
@json_option
def remove(user: str, as_json: bool) -> None:
    """Remove a person. The mailbox is kept, and its id is never given to anybody else.

    Aliases and lists that name the person stay; `mta directory check` finds them. `mta mailbox erase` takes the mailbox
    away.

    \b
    mta directory user remove mark@minasi.example
    """
    _say(_ask("user.remove", {"user": user}), as_json, "person")


@group.command("passwd")
@click.argument("user", metavar="ADDRESS")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin (one line).")
@click.option("--lock", is_flag=True, help="Take the password away: no login any more.")
@config_option
@json_option
def passwd(user: str, password_stdin: bool, lock: bool, as_json: bool) -> None:
    """Set a password. It counts from the next login on; who is logged in stays so.

    \b
    mta directory user passwd mark@minasi.example
    pass show mark | mta directory user passwd mark@minasi.example --password-stdin
    """
    from mta.cli.render import json_line

    if lock and password_stdin:
        raise click.UsageError("--lock takes no password")
    secret = {} if lock else _secret(password_stdin)
    for row in _ask("user.passwd", {"user": user, **secret}):
        click.echo(json_line(row) if as_json else f"{user}: {'password set' if row['password'] else 'locked'}")


def _given(about: Row) -> Row:
    """What was said."""
    args = {name: value for name, value in about.items() if value is not None}
    if not args["further"]:
        del args["further"]
    return args


def _secret(from_stdin: bool) -> Row:
    """A new password's hash and keys."""
    from mta.directory.passwords import make_credentials
    from mta.directory.records import scram_text

    credentials = make_credentials(_from_stdin() if from_stdin else _typed())
    assert credentials.scram is not None  # made with it
    return {"argon2": credentials.argon2, "scram": scram_text(credentials.scram)}


def _from_stdin() -> str:
    line = sys.stdin.buffer.readline(4096)
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError("the password on stdin is not UTF-8") from None


def _typed() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask at: give --password-stdin")
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
    return text
