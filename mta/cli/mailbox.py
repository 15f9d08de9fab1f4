"""``mta mailbox``: look into mailboxes; export, import, remove, erase."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mta.cli.options import config_option, json_option, read_config
from mta.errors import MtaError

if TYPE_CHECKING:
    from mta.cli.letters import Progress, Target
    from mta.cli.mailboxes import Mailboxes
    from mta.store.formats import Letter

Row = dict[str, Any]

#: Octets and messages of one request of an import; a larger message goes in parts of that many octets.
REQUEST = 1 << 20
REQUEST_MESSAGES = 500

_maildir = click.option("--maildir", metavar="DIR", type=click.Path(path_type=Path), help="A Maildir.")
_mbox = click.option("--mbox", metavar="FILE", type=click.Path(path_type=Path), help="An mbox file (mboxrd).")


@click.group("mailbox")
@config_option
def command() -> None:
    """Look into mailboxes; export, import, remove, erase; with the server up or down.

    A mailbox is named by an address of its person, or by its number where the person is no more.

    \b
    mta mailbox usage
    mta mailbox list mark@minasi.example
    mta mailbox export mark@minasi.example --maildir ./mark
    """


def _mailboxes(writing: bool = False) -> "Mailboxes":
    from mta.cli.mailboxes import mailboxes_of

    return mailboxes_of(read_config(), writing=writing)


@command.command("list")
@click.argument("address")
@config_option
@json_option
def list_(address: str, as_json: bool) -> None:
    """List the messages of a mailbox: number, unique-id, size, arrival, From, Subject.

    Lines come as the mailbox is read, whatever its length.

    \b
    mta mailbox list mark@minasi.example
    mta mailbox list mark@minasi.example --json | jq -r .unique_id
    """
    from mta.cli import render

    with _mailboxes() as mailboxes:
        rows = mailboxes.ask("mailbox.list", {"address": address})
        for line in map(render.json_line, rows) if as_json else render.mailbox(rows):
            click.echo(line)


@command.command("show")
@click.argument("address")
@click.argument("message", metavar="N")
@config_option
@json_option
def show(address: str, message: str, as_json: bool) -> None:
    """Write one message to stdout, as POP3 would send it. N is its number or its unique-id; --json: what `list` says.

    \b
    mta mailbox show mark@minasi.example 3
    mta mailbox show mark@minasi.example 6H1RWMHFC0005 > message.eml
    """
    from mta.cli import render

    with _mailboxes() as mailboxes:
        rows = mailboxes.ask("mailbox.show", {"address": address, "messages": [message]})
        facts = next(rows)
        if as_json:
            click.echo(render.json_line(facts))
            return
        for row in rows:
            sys.stdout.buffer.write(_octets(row))
        sys.stdout.buffer.flush()


@command.command("export")
@click.argument("address")
@_maildir
@_mbox
@config_option
def export(address: str, maildir: Path | None, mbox: Path | None) -> None:
    """Copy a mailbox into a Maildir or an mbox file; nothing is removed. Unique-ids and times of arrival go along.

    A Maildir may have messages already: those that were exported before are left as they are.

    \b
    mta mailbox export mark@minasi.example --maildir ./mark
    mta mailbox export mark@minasi.example --mbox mark.mbox
    """
    from mta.cli.letters import MaildirTarget, MboxTarget, Progress

    where = _one_of(maildir, mbox)
    progress = Progress("export")
    with _mailboxes() as mailboxes:
        rows = mailboxes.ask("mailbox.export", {"address": address})
        ahead = next(rows, None)  # an address that does not exist makes no files
        target = MboxTarget(where) if maildir is None else MaildirTarget(maildir, read_config().hostname)
        try:
            there = _export(ahead, rows, target, progress)
        except OSError as error:
            target.discard()
            raise OSError(error.errno, error.strerror, error.filename or str(where)) from error
        except BaseException:
            target.discard()
            raise
    progress.end()
    left = f"; {there} were there already" if there else ""
    click.echo(f"export: {progress.count} messages to {where}{left}")


def _export(ahead: Row | None, rows: Iterator[Row], target: "Target", progress: Any) -> int:
    """How many were there already."""
    from email.utils import parseaddr

    from mta.model.spoolid import parse_id

    there = 0
    writing = open_ = False
    while ahead is not None:
        row, ahead = ahead, next(rows, None)
        if "unique_id" in row:
            writing = open_ = target.begin(
                parse_id(row["unique_id"]), round(row["arrived"] * 1000), parseaddr(row["from"])[1]
            )
            there += not open_
        elif writing and "content" in row:
            target.write(_octets(row))
        if open_ and (ahead is None or "unique_id" in ahead or "gone" in ahead):
            target.end("gone" not in (ahead or {}))
            if "gone" not in (ahead or {}):
                progress.step()
            writing = open_ = False
    target.close()
    return there


@command.command("import")
@click.argument("address")
@_maildir
@_mbox
@config_option
def import_(address: str, maildir: Path | None, mbox: Path | None) -> int:
    """Put the messages of a Maildir or an mbox file into a mailbox, as they are.

    Unique-ids that `mta mailbox export` wrote come back, unless the mailbox has such a message; other messages get new
    ones. Quotas hold.

    \b
    mta mailbox import mark@minasi.example --maildir ./mark
    mta mailbox import mark@minasi.example --mbox /var/mail/mark
    """
    from mta.cli.letters import Progress, read_maildir, read_mbox

    where = _one_of(maildir, mbox)
    if not where.exists():
        raise click.UsageError(f"{where} does not exist")
    limit = read_config().limits.message_size
    letters = read_maildir(where, limit) if maildir is not None else read_mbox(where, limit)
    progress = Progress("import")
    refused: list[Row] = []
    try:
        with _mailboxes(writing=True) as mailboxes:
            for row in _import(mailboxes, address, letters):
                if "error" in row:
                    refused.append(row)
                else:
                    progress.step()
    except MtaError:
        if progress.count or refused:
            _tell(where, progress, refused)
        raise
    _tell(where, progress, refused)
    return refused[0]["exit"] if refused else os.EX_OK


def _tell(where: Path, progress: "Progress", refused: list[Row]) -> None:
    """What an import has come to."""
    progress.end()
    for row in refused[:10]:
        click.echo(f"mta: {row['error']}", err=True)
    left = f"; {len(refused)} were refused" if refused else ""
    click.echo(f"import: {progress.count} messages from {where}{left}")


def _import(mailboxes: "Mailboxes", address: str, letters: "Iterator[Letter]") -> Iterator[Row]:
    """Small messages go together, a large one in parts. What stands before one that cannot be read goes in."""
    waiting: list[Row] = []
    octets = 0
    unreadable: MtaError | None = None
    while True:
        try:
            letter = next(letters, None)
        except MtaError as error:
            unreadable, letter = error, None
        if letter is None:
            break
        if waiting and (octets + len(letter.content) > REQUEST or len(waiting) == REQUEST_MESSAGES):
            yield from mailboxes.ask("mailbox.import", {"address": address, "messages": waiting})
            waiting, octets = [], 0
        if len(letter.content) > REQUEST:
            yield from _upload(mailboxes, address, letter)
        else:
            waiting.append(_row(letter, letter.content))
            octets += len(letter.content)
    if waiting:
        yield from mailboxes.ask("mailbox.import", {"address": address, "messages": waiting})
    if unreadable is not None:
        raise unreadable


def _upload(mailboxes: "Mailboxes", address: str, letter: "Letter") -> Iterator[Row]:
    name = ""
    content = letter.content
    for start in range(0, len(content), REQUEST):
        part = _row(letter, content[start : start + REQUEST])
        more = start + REQUEST < len(content)
        args = {"address": address, "upload": name, "part": part, "more": more}
        (row,) = mailboxes.ask("mailbox.import", args)
        name = row.get("upload", "")
    yield row


def _row(letter: "Letter", content: bytes) -> Row:
    from mta.model.spoolid import format_id

    unique_id = format_id(letter.uid) if letter.uid else ""
    return {"content": content, "unique_id": unique_id, "arrived": letter.arrival / 1000}


@command.command("remove")
@click.argument("address")
@click.argument("messages", metavar="[N]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="The whole mailbox.")
@config_option
@json_option
def remove(address: str, messages: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Remove messages from a mailbox: all that are named, by number or unique-id, or none. Not while a POP3 session has
    the mailbox.

    \b
    mta mailbox remove mark@minasi.example 3 4 6H1RWMHFC0005
    mta mailbox remove mark@minasi.example --all
    """
    from mta.cli import render

    if bool(messages) == everything:
        raise click.UsageError("name messages, or give --all")
    with _mailboxes(writing=True) as mailboxes:
        args = {"address": address, "messages": list(messages), "everything": everything}
        rows = list(mailboxes.ask("mailbox.remove", args))
    for row in rows if as_json else ():
        click.echo(render.json_line(row))
    if not as_json:
        click.echo(f"remove: {len(rows)} messages of {address}")


@command.command("erase")
@click.argument("mailboxes", metavar="[NUMBER]...", nargs=-1)
@click.option("--orphans", is_flag=True, help="All whose person is no more.")
@click.option("--yes", is_flag=True, help="Do not ask, with --orphans.")
@config_option
@json_option
def erase(mailboxes: tuple[str, ...], orphans: bool, yes: bool, as_json: bool) -> int:
    """Take away mailboxes whose person was removed from the directory, with all their mail.

    `mta mailbox usage` shows their numbers. Refused are a mailbox whose person exists, one that a POP3 session has, and
    all while the directory cannot be read; the others go. Large ones go in steps; what is broken off is said again.

    \b
    mta mailbox erase 17
    mta mailbox erase --orphans
    mta mailbox erase --orphans --yes --json
    """
    from mta.cli import render
    from mta.cli.letters import Progress

    if bool(mailboxes) == orphans:
        raise click.UsageError("name mailboxes by their number, or give --orphans")
    progress = Progress("erase")
    ends: list[Row] = []
    with _mailboxes(writing=True) as source:
        numbers = _orphans(source, yes) if orphans else list(mailboxes)
        for row in source.ask("mailbox.erase", {"mailboxes": numbers}):
            if "error" in row or "erased" in row:
                ends.append(row)
            else:
                progress.step(row["removed"] - row["before"])
    progress.end()
    refused = [row for row in ends if "error" in row]
    for row in ends if as_json else ():
        click.echo(render.json_line(row))
    if not as_json:
        for row in refused:
            click.echo(f"mta: {row['error']}", err=True)
        gone = len(ends) - len(refused)
        click.echo(f"erase: {gone} mailbox{'es' * (gone != 1)} with {progress.count} messages")
    return refused[0]["exit"] if refused else os.EX_OK


def _orphans(source: "Mailboxes", yes: bool) -> list[str]:
    """Their numbers, once somebody has agreed."""
    rows = list(source.ask("mailbox.orphans", {}))
    if rows and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--orphans asks first, and nobody is there to be asked: give --yes")
        messages, octets = (sum(row[name] for row in rows) for name in ("messages", "octets"))
        what = f"Erase {len(rows)} mailboxes with {messages} messages, {octets} octets"
        click.confirm(f"{what}, for good?", abort=True, err=True)
    return [row["mailbox"] for row in rows]


@command.command("usage")
@click.argument("address", default="")
@config_option
@json_option
def usage(address: str, as_json: bool) -> None:
    """Tell how much a mailbox holds, or each of them; octets as POP3 sends them.

    \b
    mta mailbox usage
    mta mailbox usage mark@minasi.example --json
    """
    from mta.cli import render

    with _mailboxes() as mailboxes:
        rows = mailboxes.ask("mailbox.usage", {"address": address})
        for line in map(render.json_line, rows) if as_json else render.usage(rows):
            click.echo(line)


@command.command("audit")
@config_option
@json_option
def audit(as_json: bool) -> int:
    """Recount all mailboxes and compare with the store's books. Exit 0 when they agree, 1 when not.

    \b
    mta mailbox audit --json
    """
    from mta.cli import render

    with _mailboxes() as mailboxes:
        (row,) = mailboxes.ask("audit", {})
    if as_json:
        click.echo(render.json_line(row))
    else:
        for name in ("mailboxes", "messages", "octets", "bodies", "delivered", "removed", "drift"):
            click.echo(f"{name:<10} {row[name]:>14}")
        for finding in row["findings"]:
            click.echo(f"mta: {finding}", err=True)
    return 1 if row["drift"] else 0


def _one_of(maildir: Path | None, mbox: Path | None) -> Path:
    if (maildir is None) == (mbox is None):
        raise click.UsageError("give --maildir DIR or --mbox FILE")
    where = maildir or mbox
    assert where is not None
    return where


def _octets(row: Row) -> bytes:
    """Base 64 from a running server, octets from its files."""
    import msgspec

    return msgspec.convert(row["content"], bytes)
