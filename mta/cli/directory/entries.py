"""``mta directory alias``, ``list``, and what is asked of the whole directory: ``search``, ``resolve``, ``check``.

Owns: their options. Never does: their work.
"""

import os
from typing import Any

import click

from mta.cli.options import config_option, json_option, limit_option, read_config

Row = dict[str, Any]


def _say(verb: str, args: Row, as_json: bool, form: str = "groups") -> int:
    from mta.cli.directory import shown
    from mta.cli.directory.source import source_of

    return shown.say(source_of(read_config()).ask(verb, args), as_json, getattr(shown, form))


def _about_one(group: click.Group, kind: str, verb: str, summary: str) -> None:
    """A command that takes nothing but a name."""
    example = f"mta directory {kind} {verb} {'info' if kind == 'alias' else 'all'}@minasi.example"

    @group.command(verb, help=f"{summary}\n\n\b\n{example}", short_help=summary)
    @click.argument("name", metavar=kind.upper())
    @config_option
    @json_option
    def about_one(name: str, as_json: bool) -> None:
        _say(f"{kind}.{verb}", {"address": name}, as_json)


def _listing(group: click.Group, kind: str, several: str, summary: str) -> None:
    @group.command("list", help=f"{summary}\n\n\b\nmta directory {kind} list", short_help=summary)
    @limit_option(several)
    @config_option
    @json_option
    def listing(limit: int, as_json: bool) -> None:
        _say(f"{kind}.list", {"limit": limit}, as_json)


@click.group("alias")
@config_option
def alias() -> None:
    """Add, show and change aliases: addresses that lead to others.

    \b
    mta directory alias add info@minasi.example mark@minasi.example
    mta directory alias add @minasi.example mark@minasi.example
    """


@alias.command("add")
@click.argument("name", metavar="ALIAS")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@config_option
@json_option
def alias_add(name: str, targets: tuple[str, ...], as_json: bool) -> None:
    """Add an alias. @DOMAIN stands for all addresses there that nobody else has.

    \b
    mta directory alias add info@minasi.example mark@minasi.example far@else.example
    """
    _say("alias.add", {"alias": name, "targets": targets}, as_json)


@alias.command("set")
@click.argument("name", metavar="ALIAS")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@config_option
@json_option
def alias_set(name: str, targets: tuple[str, ...], as_json: bool) -> None:
    """Give an alias other targets.

    \b
    mta directory alias set info@minasi.example ann@minasi.example
    """
    _say("alias.set", {"alias": name, "targets": targets}, as_json)


_about_one(alias, "alias", "show", "Show where an alias leads.")
_listing(alias, "alias", "aliases", "List aliases in order of address.")
_about_one(alias, "alias", "remove", "Remove an alias.")


@click.group("list")
@config_option
def lists() -> None:
    """Add, show and change distribution lists. Failures go to the owner.

    \b
    mta directory list add all@minasi.example mark@minasi.example --owner boss@minasi.example
    mta directory list members add all@minasi.example ann@minasi.example
    """


@lists.command("add")
@click.argument("name", metavar="LIST")
@click.argument("members", metavar="[MEMBER]...", nargs=-1)
@click.option("--owner", default="", metavar="ADDRESS", help="Who hears of failures (default: the sender).")
@config_option
@json_option
def list_add(name: str, members: tuple[str, ...], owner: str, as_json: bool) -> None:
    """Add a distribution list. Members may be lists as well.

    \b
    mta directory list add all@minasi.example mark@minasi.example --owner boss@minasi.example
    """
    _say("list.add", {"address": name, "members": members, "owner": owner}, as_json)


@lists.command("owner")
@click.argument("name", metavar="LIST")
@click.argument("owner", metavar="[ADDRESS]", default="")
@config_option
@json_option
def list_owner(name: str, owner: str, as_json: bool) -> None:
    """Give a list another owner; without ADDRESS it has none, and senders hear of failures.

    \b
    mta directory list owner all@minasi.example ann@minasi.example
    """
    _say("list.owner", {"address": name, "owner": owner}, as_json)


@lists.command("members")
@click.argument("action", type=click.Choice(["add", "remove"]))
@click.argument("name", metavar="LIST")
@click.argument("members", metavar="MEMBER...", nargs=-1, required=True)
@config_option
@json_option
def list_members(action: str, name: str, members: tuple[str, ...], as_json: bool) -> None:
    """Add members to a list, or remove them.

    \b
    mta directory list members add all@minasi.example ann@minasi.example
    mta directory list members remove all@minasi.example mark@minasi.example
    """
    _say(f"list.members.{action}", {"address": name, "members": members}, as_json)


_about_one(lists, "list", "show", "Show the members and the owner of a list.")
_listing(lists, "list", "lists", "List all lists in order of address.")
_about_one(lists, "list", "remove", "Remove a list; its members stay who they are.")


@click.command("search")
@click.argument("text", metavar="TEXT...", nargs=-1, required=True)
@click.option("--limit", default=100, type=click.IntRange(min=1), help="At most so many people.")
@config_option
@json_option
def search(text: tuple[str, ...], limit: int, as_json: bool) -> int:
    """Find people: each word of TEXT begins a word of name, address, title or department.

    Exit 1 when nobody is found.

    \b
    mta directory search mina
    mta directory search mark books --json
    """
    found = _say("search", {"text": " ".join(text), "limit": limit}, as_json, "people")
    return os.EX_OK if found else 1


@click.command("resolve")
@click.argument("address")
@config_option
@json_option
def resolve(address: str, as_json: bool) -> None:
    """Show everybody who gets mail for ADDRESS: aliases, lists, tags and catch-alls followed.

    \b
    mta directory resolve all@minasi.example
    """
    _say("resolve", {"address": address}, as_json, "recipients")


@click.command("check")
@config_option
@json_option
def check(as_json: bool) -> int:
    """Find aliases and lists that lead nowhere or in circles, and addresses for which no mail comes.

    Exit 1 when there are any.

    \b
    mta directory check
    """
    found = _say("check", {}, as_json, "troubles")
    return 1 if found else os.EX_OK
