"""A process to crash: changes a directory as fast as it can, and prints what it was told is on disk.

Arguments: directory, first number, ``synced`` or ``buffered``. Output, a line each: ``ready``; ``adding N`` and
``removing N`` before such a change is tried, ``added N`` and ``removed N`` after it came back. One change is a person
with a further address, a password, an alias and a list: all of it or nothing.
"""

import os
import sys
from functools import partial
from pathlib import Path

import mta.directory.writer
from mta.directory.changes import Changes
from mta.directory.protocol import Credentials
from mta.directory.tables import ALIAS, LIST
from mta.directory.writer import DirectoryWriter
from tests.harness.directory import SMALL

#: Changes that are committed together.
TOGETHER = 5


def addresses(number: int) -> tuple[str, str, str, str]:
    """Person, further address, alias, list."""
    person, further, alias, named = (
        f"{kind}{number}@minasi.example" for kind in ("person", "further", "alias", "list")
    )
    return person, further, alias, named


def add(number: int, changes: Changes) -> None:
    person, further, alias, named = addresses(number)
    made = changes.add_person(person, [further], display_name=f"Number {number}")
    changes.set_credentials(made.id, Credentials(f"hash of {number}"))
    changes.add_alias(alias, [person])
    changes.add_list(named, [person, alias], owner=further)


def remove(number: int, changes: Changes) -> None:
    person, _, alias, named = addresses(number)
    changes.remove_group(LIST, named)
    changes.remove_group(ALIAS, alias)
    changes.remove_person(changes.number_of(person))


def say(word: str, numbers: list[int]) -> None:
    os.write(1, b"".join(b"%s %d\n" % (word.encode(), number) for number in numbers))


def main() -> None:
    if sys.argv[3] == "buffered":
        mta.directory.writer.Environment = partial(mta.directory.writer.Environment, sync=False)  # type: ignore[misc]
    writer = DirectoryWriter(Path(sys.argv[1]), **{**SMALL, "lock_wait": 3.0})
    os.write(1, b"ready\n")
    number = int(sys.argv[2])
    while True:
        numbers = list(range(number, number + TOGETHER))
        number += TOGETHER
        say("adding", numbers)
        writer.run([partial(add, n) for n in numbers])
        say("added", numbers)
        gone = [n for n in numbers if n % 3 == 0]
        say("removing", gone)
        writer.run([partial(remove, n) for n in gone])
        say("removed", gone)


if __name__ == "__main__":
    main()
