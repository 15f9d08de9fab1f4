"""The files of one shard: the lock, the LMDB environment, its tables and their format version.

Owns: making, locking, opening and closing ``<data_dir>/spool/<shard>/``, which holds ``lock`` and ``data.mdb``. Never
does: read or write messages.

LMDB runs without its own lock table (MDB_NOLOCK): a write transaction then belongs to no thread, so one thread can
build it and another commit it. Our exclusive flock on ``lock`` keeps other processes out, and the kernel releases it
when its owner dies. ``data.mdb`` is made under another name, synced and renamed: if it exists, it is whole.
"""

import errno
import fcntl
import os
import resource
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

import lmdb

from mta.errors import StorageError
from mta.spool import tables
from mta.spool.protocol import SpoolFormat, SpoolLocked

if TYPE_CHECKING:
    from lmdb import _Database

#: Address space reserved for the map; costs nothing until used.
MAP_SIZE = 256 << 30
#: Below this the map is not worth having, and ``open`` gives up.
MIN_MAP_SIZE = 64 << 20
#: Octets that a new file gets at once, so that early commits neither grow the file nor find the disk full.
PREALLOCATE = 64 << 20
#: Seconds to wait for the lock: a killed predecessor may still be on its way out.
LOCK_WAIT = 3.0
_LOCK_POLL = 0.02

DATA_FILE = "data.mdb"
_FRESH_FILE = "data.new"
_LOCK_FILE = "lock"


def shard_directory(data_dir: Path, shard: int) -> Path:
    """Where a shard's files are."""
    return data_dir / "spool" / str(shard)


def shards(data_dir: Path) -> list[int]:
    """The numbers of the shards that exist under ``data_dir``, in order."""
    names = (file.parent.name for file in data_dir.glob(f"spool/*/{DATA_FILE}"))
    return sorted(int(name) for name in names if name.isdigit())


class Shard:
    """An open shard. Opening raises SpoolLocked, SpoolFormat or StorageError, and then nothing is held."""

    def __init__(
        self,
        directory: Path,
        *,
        sync: bool = True,
        map_size: int = MAP_SIZE,
        preallocate: int = PREALLOCATE,
        lock_wait: float = LOCK_WAIT,
        create: bool = True,
    ) -> None:
        self.directory: Final = directory
        if not create and not (directory / DATA_FILE).exists():
            raise StorageError(f"{directory}: there is no spool here")
        try:
            if create:
                _make_directory(directory)
            self._lock = _take_lock(directory, lock_wait)
        except OSError as error:
            raise StorageError(f"{error.filename or directory}: {error.strerror}") from error
        try:
            self._open(sync, map_size, preallocate)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, sync: bool, map_size: int, preallocate: int) -> None:
        path = self.directory / DATA_FILE
        try:
            if not path.exists():
                _create(self.directory, preallocate)
            self.env = _open_environment(path, map_size, sync)
        except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            raise SpoolFormat(f"{path}: not a spool that this program can read ({error})") from error
        except lmdb.Error as error:
            raise StorageError(str(error)) from error
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        try:
            _check_format(self.env, path)
            self.content, self.message, self.due, self.ledger, self.incomplete, self._format = (
                self.env.open_db(name, create=False) for name in tables.NAMES
            )
        except BaseException:
            self.env.close()
            raise
        self.map_size: int = self.env.info()["map_size"]

    def prove_writable(self) -> None:
        """Commits its format once more. Raises StorageError when that fails: a spool that cannot be written must not
        deliver either, for whoever cannot write down what was delivered delivers it again after each start."""
        try:
            with self.env.begin(write=True) as txn:
                version = txn.get(tables.VERSION_KEY, db=self._format)
                assert version is not None  # _check_format has read it
                txn.put(tables.VERSION_KEY, version, db=self._format)
        except lmdb.Error as error:
            raise StorageError(f"{self.directory}: cannot be written: {error}") from error

    def tables(self) -> "tuple[_Database, ...]":
        """The tables that grow with the number of messages."""
        return self.content, self.message, self.due, self.incomplete

    def close(self) -> None:
        """Closes the environment, then lets the lock go. Once only."""
        self.env.close()
        os.close(self._lock)


def _make_directory(directory: Path) -> None:
    """The directory and its parents, each entry on stable storage."""
    missing = [directory, *directory.parents]
    made = [path for path in missing if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in made:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Puts the names in a directory on stable storage."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _take_lock(directory: Path, wait: float) -> int:
    fd = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    pause = Event()  # never set: a wait that needs no clock
    for _ in range(max(1, round(wait / _LOCK_POLL))):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pause.wait(_LOCK_POLL)
        else:
            os.truncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
            return fd
    owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
    os.close(fd)
    raise SpoolLocked(f"{directory}: process {owner or '?'} has this shard open; stop it first")


def _create(directory: Path, preallocate: int) -> None:
    """Makes ``data.mdb`` whole or not at all."""
    fresh = directory / _FRESH_FILE
    fresh.unlink(missing_ok=True)
    with lmdb.open(str(fresh), subdir=False, lock=False, lib_version=0, max_dbs=len(tables.NAMES), mode=0o600) as env:
        handles = {name: env.open_db(name) for name in tables.NAMES}
        with env.begin(write=True) as txn:
            txn.put(tables.VERSION_KEY, b"%d" % tables.VERSION, db=handles[b"format"])
    fd = os.open(fresh, os.O_RDWR)
    try:
        if preallocate:
            os.posix_fallocate(fd, 0, preallocate)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.rename(directory / DATA_FILE)
    sync_directory(directory)


def _open_environment(path: Path, map_size: int, sync: bool) -> lmdb.Environment:
    """Opens with the largest map that the process's limits allow: halved until the kernel agrees."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY:
        map_size = min(map_size, max(limit, MIN_MAP_SIZE))
    while True:
        try:
            return lmdb.open(
                str(path),
                subdir=False,
                lock=False,
                lib_version=0,
                map_size=map_size,
                max_dbs=len(tables.NAMES),
                readahead=False,  # a backlog larger than memory is read here and there
                meminit=False,
                sync=sync,
                mode=0o600,
            )
        except (lmdb.MemoryError, MemoryError, OverflowError):
            if map_size // 2 < MIN_MAP_SIZE:
                raise StorageError(f"{path}: {os.strerror(errno.ENOMEM)}: raise the limit on address space") from None
            map_size //= 2


def _check_format(env: lmdb.Environment, path: Path) -> None:
    try:
        table = env.open_db(b"format", create=False)
    except lmdb.NotFoundError:
        raise SpoolFormat(f"{path}: an LMDB file, but not a spool: move it away") from None
    with env.begin() as txn:
        version = txn.get(tables.VERSION_KEY, db=table)
    if version is None or not version.isdigit():
        raise SpoolFormat(f"{path}: an LMDB file, but not a spool: move it away")
    if int(version) > tables.VERSION:
        raise SpoolFormat(
            f"{path}: format {int(version)}, this program reads up to {tables.VERSION}: "
            "start the newer program that wrote it"
        )
