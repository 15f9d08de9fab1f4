"""One LMDB environment in a directory of its own: made whole or not at all, locked, checked for its format version.

Owns: making, locking, opening and closing a directory that holds ``lock`` and ``data.mdb``. Never does: know what
the tables hold.

With ``shared=False`` LMDB runs without its own lock table (MDB_NOLOCK): a write transaction then belongs to no
thread, so one thread can build it and another commit it, and all reads are this process's own. With ``shared=True``
other processes may read (``open_to_read``), and a write transaction stays with the thread that began it.
In both our exclusive flock on ``lock`` keeps a second writer out, and the kernel releases it when its owner dies.
``data.mdb`` is made under another name, synced and renamed: if it exists, it is whole.
"""

import errno
import fcntl
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final, NamedTuple

import lmdb

from mta.errors import StorageError

if TYPE_CHECKING:
    from lmdb import _Database

#: Address space reserved for the map; costs nothing until used.
MAP_SIZE = 256 << 30
#: Below this the map is not worth having, and opening gives up.
MIN_MAP_SIZE = 64 << 20
#: Octets that a new file gets at once, so that early commits neither grow the file nor find the disk full.
PREALLOCATE = 64 << 20
#: Seconds to wait for the lock: a killed predecessor may still be on its way out.
LOCK_WAIT = 3.0
_LOCK_POLL = 0.02
#: Processes that may read a shared environment at the same time, with room for those that died and left their slot.
READERS = 1024

DATA_FILE = "data.mdb"
_FRESH_FILE = "data.new"
_LOCK_FILE = "lock"
_FORMAT = b"format"
_VERSION_KEY = b"version"
#: Where LMDB's heads (the first two pages) say that they are such, behind 16 octets of page header.
_MAGIC = (0xBEEFC0DE).to_bytes(4, sys.byteorder)
#: Pages at the end that may be missing: what a transaction took and gave back was never written.
_UNWRITTEN = 1024


class EnvironmentLocked(StorageError):
    """Another process has this environment open."""


class WrongFormat(StorageError):
    """The files are of another format version than this program reads, or none of ours."""


class Layout(NamedTuple):
    """What is in the file. ``what``: one word for the operator (spool, store, directory). ``tables``: beside them
    every environment has ``format``. A ``version`` that is newer than this program's is refused."""

    what: str
    tables: tuple[bytes, ...]
    version: int


class Environment:
    """An open environment. Opening raises EnvironmentLocked, WrongFormat or StorageError; then nothing is held.

    ``db``: table name → handle, for ``txn.put(…, db=…)``. ``what``: as in ``Layout``.
    """

    def __init__(
        self,
        directory: Path,
        layout: Layout,
        *,
        shared: bool = False,
        sync: bool = True,
        map_size: int = MAP_SIZE,
        preallocate: int = PREALLOCATE,
        lock_wait: float = LOCK_WAIT,
        create: bool = True,
    ) -> None:
        self.directory: Final = directory
        self.what: Final = layout.what
        self._layout = layout
        if not create and not (directory / DATA_FILE).exists():
            raise StorageError(f"{directory}: there is no {layout.what} here")
        try:
            if create:
                _make_directory(directory)
            self._lock = _take_lock(directory, lock_wait)
        except OSError as error:
            raise StorageError(f"{error.filename or directory}: {error.strerror}") from error
        try:
            self._open(shared, sync, map_size, preallocate)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, shared: bool, sync: bool, map_size: int, preallocate: int) -> None:
        path = self.directory / DATA_FILE
        layout = self._layout
        with _opening(path, layout):
            if not path.exists():
                _create(self.directory, layout, preallocate)
            self.env = _open_file(path, len(layout.tables) + 1, map_size, sync, shared)
        try:
            check_format(self.env, path, layout)
            self.db = open_tables(self.env, layout)
        except BaseException:
            self.env.close()
            raise
        self.map_size: int = self.env.info()["map_size"]

    def prove_writable(self) -> None:
        """Commits its format once more. Raises StorageError when that fails: what cannot be written must not be
        worked with either, for whoever cannot write down what was done does it again after each start."""
        try:
            with self.env.begin(write=True) as txn:
                version = txn.get(_VERSION_KEY, db=self.db[_FORMAT])
                assert version is not None  # check_format has read it
                txn.put(_VERSION_KEY, version, db=self.db[_FORMAT])
        except lmdb.Error as error:
            raise StorageError(f"{self.directory}: cannot be written: {error}") from error

    def close(self) -> None:
        """Closes the environment, then lets the lock go. Once only."""
        self.env.close()
        os.close(self._lock)


def open_tables(env: lmdb.Environment, layout: Layout) -> "dict[bytes, _Database]":
    """The handles of all tables. Outside any transaction."""
    return {name: env.open_db(name, create=False) for name in (*layout.tables, _FORMAT)}


def check_format(env: lmdb.Environment, path: Path, layout: Layout) -> None:
    """Raises WrongFormat, with a sentence for the operator."""
    try:
        table = env.open_db(_FORMAT, create=False)
    except lmdb.NotFoundError:
        raise WrongFormat(f"{path}: an LMDB file, but not a {layout.what}: move it away") from None
    with env.begin() as txn:
        version = txn.get(_VERSION_KEY, db=table)
    if version is None or not version.isdigit():
        raise WrongFormat(f"{path}: an LMDB file, but not a {layout.what}: move it away")
    if int(version) > layout.version:
        raise WrongFormat(
            f"{path}: format {int(version)}, this program reads up to {layout.version}: "
            "start the newer program that wrote it"
        )


@contextmanager
def _opening(path: Path, layout: Layout) -> Iterator[None]:
    """What goes wrong in here, in words for the operator."""
    try:
        yield
    except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
        raise WrongFormat(f"{path}: not a {layout.what} that this program can read ({error})") from error
    except lmdb.Error as error:
        raise StorageError(str(error)) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def open_to_read(directory: Path, layout: Layout) -> lmdb.Environment:
    """A shared environment that another process writes, for reading; no lock of ours is taken, the slot of this
    process in LMDB's reader table is. Raises WrongFormat or StorageError. Once per process and environment."""
    path = directory / DATA_FILE
    with _opening(path, layout):
        env = lmdb.open(
            str(path),
            subdir=False,
            lock=True,
            readonly=True,
            lib_version=0,
            map_size=MAP_SIZE,
            max_dbs=len(layout.tables) + 1,
            max_readers=READERS,
            readahead=False,
        )
    try:
        check_whole(env, path, layout)
        check_format(env, path, layout)
    except BaseException:
        env.close()
        raise
    return env


def check_whole(env: lmdb.Environment, path: Path, layout: Layout) -> None:
    """Raises WrongFormat when the file under an open environment was cut off or written over: reading a page of the
    map that lies behind the end of its file kills the process (SIGBUS), and LMDB trusts what its head says."""
    try:
        with open(path, "rb") as file:
            heads = [os.pread(file.fileno(), 24, at) for at in (0, env.stat()["psize"])]
            length = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    if any(head[16:20] != _MAGIC for head in heads):
        raise WrongFormat(f"{path}: not a {layout.what} any more: it was written over; restore it from a copy")
    pages = env.info()["last_pgno"] + 1
    if length < (pages - min(_UNWRITTEN, pages // 2)) * env.stat()["psize"]:
        raise WrongFormat(f"{path}: its end is missing: it was cut off at {length} octets; restore it from a copy")


def sync_directory(path: Path) -> None:
    """Puts the names in a directory on stable storage."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_directory(directory: Path) -> None:
    """The directory and its parents, each entry on stable storage."""
    missing = [directory, *directory.parents]
    made = [path for path in missing if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in made:
        sync_directory(path.parent)


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
    raise EnvironmentLocked(f"{directory}: process {owner or '?'} has it open; stop it first")


def _create(directory: Path, layout: Layout, preallocate: int) -> None:
    """Makes ``data.mdb`` whole or not at all."""
    fresh = directory / _FRESH_FILE
    fresh.unlink(missing_ok=True)
    names = (*layout.tables, _FORMAT)
    with lmdb.open(str(fresh), subdir=False, lock=False, lib_version=0, max_dbs=len(names), mode=0o600) as env:
        handles = {name: env.open_db(name) for name in names}
        with env.begin(write=True) as txn:
            txn.put(_VERSION_KEY, b"%d" % layout.version, db=handles[_FORMAT])
    fd = os.open(fresh, os.O_RDWR)
    try:
        if preallocate:
            os.posix_fallocate(fd, 0, preallocate)
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.rename(directory / DATA_FILE)
    sync_directory(directory)


def _open_file(path: Path, tables: int, map_size: int, sync: bool, shared: bool) -> lmdb.Environment:
    """Opens with the largest map that the process's limits allow: halved until the kernel agrees."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY:
        map_size = min(map_size, max(limit, MIN_MAP_SIZE))
    while True:
        try:
            return lmdb.open(
                str(path),
                subdir=False,
                lock=shared,
                lib_version=0,
                map_size=map_size,
                max_dbs=tables,
                max_readers=READERS,
                readahead=False,  # what is larger than memory is read here and there
                meminit=False,
                sync=sync,
                mode=0o600,
            )
        except (lmdb.MemoryError, MemoryError, OverflowError):
            if map_size // 2 < MIN_MAP_SIZE:
                raise StorageError(f"{path}: {os.strerror(errno.ENOMEM)}: raise the limit on address space") from None
            map_size //= 2
