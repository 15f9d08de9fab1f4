"""A directory for a test, made by the writer itself and read as every process reads it.

``make_directory(tmp_path, people={"mark@minasi.example": "secret"}, aliases={"info@…": ["mark@…"]})`` → a reader.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mta.directory.changes import Changes
from mta.directory.protocol import Person
from mta.directory.reader import DirectoryReader
from mta.directory.tables import directory_path
from mta.directory.writer import DirectoryWriter

#: Options of a writer whose files are small and made at once.
SMALL: Mapping[str, Any] = {"map_size": 64 << 20, "preallocate": 0, "lock_wait": 0.2}
People = Mapping[str, str | None] | Sequence[str]


def fill_directory(
    writer: DirectoryWriter,
    people: People = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
    lists: Mapping[str, Sequence[str]] | None = None,
    owners: Mapping[str, str] | None = None,
) -> dict[str, Person]:
    """In one transaction; the people by address. ``people``: addresses, with a password each when it is a mapping."""
    passwords = people if isinstance(people, Mapping) else dict.fromkeys(people)

    def fill(changes: Changes) -> dict[str, Person]:
        made = {address: changes.add_person(address) for address in passwords}
        for address, password in passwords.items():
            if password is not None:
                from mta.directory.passwords import make_credentials

                changes.set_credentials(made[address].id, make_credentials(password))
        for alias, targets in (aliases or {}).items():
            changes.add_alias(alias, targets)
        for address, members in (lists or {}).items():
            changes.add_list(address, members, (owners or {}).get(address, ""))
        return made

    return writer.change(fill)


def make_directory(
    data_dir: Path,
    people: People = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
    lists: Mapping[str, Sequence[str]] | None = None,
    owners: Mapping[str, str] | None = None,
    **options: Any,
) -> DirectoryReader:
    """``<data_dir>/directory`` with all of that in it, open to read; ``options`` are the reader's."""
    writer = DirectoryWriter(directory_path(data_dir), **SMALL)
    fill_directory(writer, people, aliases, lists, owners)
    writer.close()
    return DirectoryReader(directory_path(data_dir), **options)
