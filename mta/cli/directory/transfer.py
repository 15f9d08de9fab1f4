"""``mta directory import`` and ``export``: everything as LDIF or CSV.

Owns: files, formats, progress. Never does: the forms themselves (``mta.directory.ldif``, ``table``).
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mta.cli.options import config_option, json_option, read_config
from mta.errors import CannotCreateError, DataError, MtaError, UsageError

if TYPE_CHECKING:
    from mta.directory.records import Record

FORMATS = ("ldif", "csv")
#: Entries between two words about how far it is.
STEP = 1000


@click.command("export")
@click.argument("file", metavar="[FILE]", default="-")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: the file's ending, else ldif.")
@click.option("--with-secrets", is_flag=True, help="Hashes and keys of passwords as well; keep such a file safe.")
@config_option
@json_option
def export(file: str, form: str | None, with_secrets: bool, as_json: bool) -> None:
    """Write the whole directory to FILE or to stdout. What import reads gives it back.

    --json is for other programs; import reads LDIF and CSV.

    \b
    mta directory export people.ldif
    mta directory export --format csv | head
    mta directory export --with-secrets backup.ldif
    """
    from mta.cli.directory.source import source_of
    from mta.cli.render import json_line
    from mta.directory import ldif, table
    from mta.directory.records import Record

    rows = source_of(read_config()).ask("export", {"secrets": with_secrets})
    records = (msgspec.convert(row, Record) for row in rows)
    lines: Iterable[str]
    if as_json:
        lines = (f"{json_line(_row(row))}\n" for row in rows)
    elif _format(file, form, "ldif") == "ldif":
        lines = ldif.write(records)
    else:
        lines = table.write(records, secrets=with_secrets)
    if file == "-":
        for line in lines:
            sys.stdout.buffer.write(line.encode())
        sys.stdout.buffer.flush()
    else:
        _write(Path(file), lines)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """As the listings have it: times in seconds, and what a person is said as well."""
    times = {"created": row["created"] / 1000} if "created" in row else {}
    return {"kind": "person"} | row | times


def _write(path: Path, lines: Iterable[str]) -> None:
    """Whole or not at all, and for nobody else to read: it has people's data in it. Raises CannotCreateError."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as e:
        raise CannotCreateError(f"{path}: {e.strerror}; name a file that can be made") from e
    try:
        with open(file, "wb") as out:
            out.writelines(line.encode() for line in lines)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: the file's ending.")
@click.option("--keep-ids", is_flag=True, help="People get the ids of the file (mailboxes hang on them).")
@config_option
@json_option
def import_(file: str, form: str | None, keep_ids: bool, as_json: bool) -> int:
    """Add everybody in FILE ("-": stdin), all or nobody.

    What is wrong is told with its line, and nothing is changed then. People without an address get one as with
    `user add`. --keep-ids is for a copy of a whole directory, to go with a copy of the store.

    \b
    mta directory import people.ldif
    mta directory import --format csv - < people.csv
    """
    from mta.cli.directory.source import source_of
    from mta.cli.render import json_line

    read = _parser(_format(file, form, ""))
    source = source_of(read_config())
    told = _Progress()
    try:
        with _opened(file) as lines:
            records = _hashed(list(_bounded(read(told.lines(lines)))), told)
        row = source.take_in(records, keep_ids, told.applied)
    except DataError as error:
        return _refused(file, error)
    except MtaError as error:
        if error.exit_code != os.EX_DATAERR:
            raise
        return _refused(file, error)
    finally:
        told.end()
    click.echo(
        json_line(row) if as_json else f"import: {row['people']} people, {row['aliases']} aliases, {row['lists']} lists"
    )
    return os.EX_OK


def _refused(file: str, error: MtaError) -> int:
    """A line for each finding, with the place in the file where there is one."""
    for finding in str(error).splitlines():
        click.echo(f"mta: {file}: {finding}", err=True)
    click.echo(f"mta: {file}: nothing was imported", err=True)
    return os.EX_DATAERR


def _format(file: str, form: str | None, default: str) -> str:
    ending = Path(file).suffix.lower().removeprefix(".")
    chosen = form or (ending if ending in FORMATS else default)
    if not chosen:
        raise UsageError(f"{file}: neither .ldif nor .csv: say --format")
    return chosen


def _parser(form: str) -> "Callable[[Iterable[bytes]], Iterator[Record]]":
    from mta.directory import ldif, table

    return ldif.parse if form == "ldif" else table.parse


def _opened(file: str) -> Any:
    if file == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    return open(file, "rb")


def _bounded(records: "Iterator[Record]") -> "Iterator[Record]":
    from mta.directory.records import IMPORT_LIMIT, BadRecords

    for number, record in enumerate(records, 1):
        if number > IMPORT_LIMIT:
            raise BadRecords([f"line {record.line}: more than {IMPORT_LIMIT} entries; divide the file"])
        yield record


def _hashed(records: "list[Record]", told: "_Progress") -> "list[Record]":
    """With the hash of each plain password in its place: some 30 ms of a core each, on all cores."""
    plain = [record for record in records if record.password]
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for count, refused in enumerate(threads.map(_hash, plain), 1):
            if refused is not None:
                threads.shutdown(cancel_futures=True)
                raise refused
            told.hashed(count)
    return records


def _hash(record: "Record") -> DataError | None:
    from mta.directory.passwords import BadPassword, make_credentials
    from mta.directory.records import BadRecords, scram_text

    try:
        credentials = make_credentials(record.password)
    except BadPassword as error:
        return BadRecords([f"line {record.line}: {error}"])
    assert credentials.scram is not None  # made with it
    record.argon2, record.scram, record.password = credentials.argon2, scram_text(credentials.scram), ""
    return None


class _Progress:
    """How far a long import is, on one line of a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._shown = False

    def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for number, line in enumerate(lines, 1):
            if number % (STEP * 10) == 0:
                self._say(f"line {number}")
            yield line

    def hashed(self, count: int) -> None:
        if count % 20 == 0:
            self._say(f"{count} passwords hashed")

    def applied(self, count: int) -> None:
        if count % STEP == 0 or count < STEP:
            self._say(f"{count} entries in")

    def end(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _say(self, text: str) -> None:
        if self._shows:
            self._shown = True
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
