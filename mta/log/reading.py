"""Event logs as they lie on disk: the file and its rotated siblings, block by block, as often as one likes.

Owns: the order of the files and their open descriptors: what a running server rotates meanwhile stays what it was.
Never does: decode a line, or keep more than a block in memory. Blocks hold whole lines, so that a search can pass over
all of them at once where nothing is to be found.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mta.errors import DataError, NotAllowedError

#: Octets of a block. A line that is longer than one is no event, and comes in parts.
BLOCK = 256 << 10


class LogFiles:
    """One server's event log: ``events.jsonl.3``, ``.2``, ``.1`` and the file itself, as far as they are there.

    Raises DataError when there is none, NotAllowedError when they may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._files = [file.open("rb") for file in siblings(path)]
        except PermissionError as e:
            raise NotAllowedError(f"{e.filename}: not allowed; run as root or as the server's user") from e
        if not self._files:
            raise DataError(f"there is no event log {path}: name one with --log")
        self.octets = sum(file.seek(0, 2) for file in self._files)

    def blocks(self, progress: Callable[[int], None] = lambda octets: None) -> Iterator[bytes]:
        """Blocks of whole lines, from the oldest on; what was written since the log was opened too. ``progress`` hears
        how many octets have been read since it last did."""
        for file in self._files:
            for block in _blocks(file):
                progress(len(block))
                yield block

    def close(self) -> None:
        for file in self._files:
            file.close()


def siblings(path: Path) -> list[Path]:
    """The file and its rotated siblings, the oldest first."""
    rotated = re.compile(re.escape(path.name) + r"\.([0-9]{1,9})")
    found = [(int(hit[1]), file) for file in _entries(path.parent) if (hit := rotated.fullmatch(file.name))]
    return [*(file for _, file in sorted(found, reverse=True)), *([path] if path.is_file() else [])]


def _entries(directory: Path) -> Iterator[Path]:
    try:
        yield from directory.iterdir()
    except FileNotFoundError:
        return


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    rest = b""
    while read := file.read(BLOCK):
        whole = read.rfind(b"\n") + 1
        if not whole and len(rest) < BLOCK:
            rest += read
            continue
        yield rest + read[:whole]
        rest = read[whole:]
    if rest:
        yield rest
