"""CSV (RFC 4180): a line of names, then one entry a line. For spreadsheets, and for those who write files by hand.

Owns: the columns. Never does: guess. A column with a name that is none, or a line with more cells than names, is an
error with its line. Several addresses in one cell are divided by spaces. Of a person only what the file has is needed;
without ``kind`` it is a person, without ``address`` the template makes one.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Final

from mta.directory.records import BadRecords, Record

#: Characters of one cell: the members of a large list.
CELL_LIMIT: Final = 4 << 20
COLUMNS: Final = (
    "kind",
    "address",
    "id",
    "display_name",
    "given_name",
    "surname",
    "title",
    "department",
    "phone",
    "further",
    "targets",
    "owner",
    "created",
    "argon2",
    "scram",
    "password",
)
_LISTS: Final = ("further", "targets")
_NUMBERS: Final = ("id", "created")
_SECRETS: Final = ("argon2", "scram")
#: An address; a quoted local part may have spaces.
_ADDRESS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')


class BadTable(BadRecords):
    """No table that we read; the text has the line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__([f"line {line}: {what}"])


def parse(lines: Iterable[bytes]) -> Iterator[Record]:
    """Records while they are read. Raises BadTable."""
    csv.field_size_limit(CELL_LIMIT)
    reader = csv.reader(_texts(lines), strict=True)
    names: list[str] | None = None
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not cells:
                continue
            if names is None:
                names = _names(line, cells)
            else:
                yield _record(line, names, cells)
    except csv.Error as error:
        raise BadTable(before + 1, str(error)) from None
    if names is None:
        raise BadTable(1, "empty; the first line names the columns: " + ",".join(COLUMNS))


def write(records: Iterable[Record], *, secrets: bool) -> Iterator[str]:
    """Lines with their ends; with the columns of hashes and keys, or without."""
    columns = [name for name in COLUMNS if name != "password" and (secrets or name not in _SECRETS)]
    cells = io.StringIO()
    writer = csv.writer(cells, lineterminator="\r\n")
    writer.writerow(columns)
    for record in records:
        yield _taken(cells)
        writer.writerow([_cell(getattr(record, name)) for name in columns])
    yield _taken(cells)


def _taken(cells: io.StringIO) -> str:
    text = cells.getvalue()
    cells.seek(0)
    cells.truncate()
    return text


def _cell(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value or "")


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadTable(number, "not UTF-8") from None
        if "\0" in text:
            raise BadTable(number, "a NUL character")
        yield text


def _names(line: int, cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    for name in names:
        if name not in COLUMNS:
            raise BadTable(line, f"{name!r} is no column; these are: {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise BadTable(line, f"{name!r} is there twice")
    return names


def _record(line: int, names: list[str], cells: list[str]) -> Record:
    if len(cells) != len(names):
        raise BadTable(line, f"{len(cells)} cells under {len(names)} names")
    record = Record(line=line)
    for name, cell in zip(names, cells, strict=True):
        text = cell if name == "password" else cell.strip()
        if name == "kind" and text not in ("", "person", "alias", "list"):
            raise BadTable(line, f"{text!r} is no kind: person, alias or list")
        if name in _LISTS:
            setattr(record, name, _ADDRESS.findall(text))
        elif name in _NUMBERS:
            setattr(record, name, _number(line, name, text))
        elif text:
            setattr(record, name, text)
    return record


def _number(line: int, name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,20}", text, re.ASCII):
        raise BadTable(line, f"{name}: {text!r} is not a number")
    return int(text or 0)
