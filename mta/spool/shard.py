"""The files of one shard: an environment with the spool's tables, and where it lies.

Owns: ``<data_dir>/spool/<shard>/`` and the handles of its tables. Never does: read or write messages; making, locking
and opening are ``mta.disk.environment``'s.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta.disk.environment import DATA_FILE, Environment
from mta.spool import tables

if TYPE_CHECKING:
    from lmdb import _Database


def shard_directory(data_dir: Path, shard: int) -> Path:
    """Where a shard's files are."""
    return data_dir / "spool" / str(shard)


def shards(data_dir: Path) -> list[int]:
    """The numbers of the shards that exist under ``data_dir``, in order."""
    names = (file.parent.name for file in data_dir.glob(f"spool/*/{DATA_FILE}"))
    return sorted(int(name) for name in names if name.isdigit())


class Shard(Environment):
    """An open shard; options and errors are those of ``Environment``. A write transaction belongs to no thread."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, tables.LAYOUT, **options)
        self.content, self.message, self.due, self.ledger, self.incomplete = (self.db[name] for name in tables.NAMES)

    def tables(self) -> "tuple[_Database, ...]":
        """The tables that grow with the number of messages."""
        return self.content, self.message, self.due, self.incomplete
