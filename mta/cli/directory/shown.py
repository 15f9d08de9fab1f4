"""Rows of the directory as text for people.

Owns: columns and wording. Never does: fetch.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from mta.cli.render import json_line, local_time

Row = dict[str, Any]

_LABELS = {
    "address": "address",
    "further": "further",
    "display_name": "name",
    "given_name": "given name",
    "surname": "surname",
    "title": "title",
    "department": "department",
    "phone": "phone",
    "id": "id",
    "created": "created",
    "changed": "changed",
    "password": "password",
}


def say(rows: Iterable[Row], as_json: bool, text: Callable[[Iterable[Row]], Iterator[str]]) -> int:
    """Prints rows while they come; how many."""
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    for line in map(json_line, counted()) if as_json else text(counted()):
        click.echo(line)
    return count


def person(rows: Iterable[Row]) -> Iterator[str]:
    """One fact a line."""
    for row in rows:
        for name, label in _LABELS.items():
            if (text := _fact(name, row[name])) != "":
                yield f"{label:<12} {text}"


def _fact(name: str, value: Any) -> str:
    if name in ("created", "changed"):
        return local_time(value, "%Y-%m-%d %H:%M:%S")
    if name == "password":
        return "set" if value else "none: cannot log in"
    return " ".join(value) if name == "further" else str(value)


def people(rows: Iterable[Row]) -> Iterator[str]:
    """One person a line: address, name, department, telephone."""
    for row in rows:
        yield f"{row['address']:<38} {row['display_name']:<26} {row['department']:<18} {row['phone']}".rstrip()


def groups(rows: Iterable[Row]) -> Iterator[str]:
    """One alias or list a line."""
    for row in rows:
        owner = f"  (owner {row['owner']})" if row.get("owner") else ""
        leads_to: list[str] = row["targets"] if "targets" in row else row["members"]
        yield f"{row['address']:<38} {' '.join(leads_to)}{owner}".rstrip()


def recipients(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        if "trouble" in row:
            yield f"trouble: {row['detail']}"
            continue
        where = f"mailbox {row['mailbox']}" if row["mailbox"] else "remote"
        notes = [f"tag {row['tag']}"] * bool(row["tag"]) + [f"failures to {row['owner']}"] * bool(row["owner"])
        yield f"{row['address']:<38} {', '.join([where, *notes])}"


def troubles(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield f"{row['address']}: {row['detail']}"
