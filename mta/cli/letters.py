"""Mailboxes of other programs as files: writing what is exported, reading what is to be imported.

Owns: Maildirs and mbox files on disk, and progress on long work. Never does: decide what their octets mean
(``mta.store.formats``), or reach a store.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import Protocol

import click

from mta.clock import SystemClock
from mta.errors import CannotCreateError, DataError
from mta.store.formats import Letter, MboxLines, UnixLines, maildir_letter, maildir_name, mbox_head, mbox_letters

#: Octets of an mbox that are read at once when it has a line of that length.
LINE = 1 << 20
#: Seconds between two words of progress.
_PAUSE = 0.2


class Target(Protocol):
    """Where exported messages go, one after the other: ``begin``, ``write`` any number of times, ``end``."""

    def begin(self, uid: int, arrival: int, sender: str) -> bool:
        """False: it is there already."""

    def write(self, octets: bytes) -> None: ...

    def end(self, complete: bool) -> None:
        """Not ``complete``: it was removed while it was read, and is left out."""

    def close(self) -> None:
        """All of it is on stable storage."""

    def discard(self) -> None:
        """It did not come to its end: nothing that is half done is left."""


class MaildirTarget:
    """``cur`` of a Maildir, which is made when it is missing; whole messages only. Raises CannotCreateError."""

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host
        try:
            for name in ("tmp", "new", "cur"):
                (path / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as e:
            raise CannotCreateError(f"{e.filename or path}: {e.strerror}; name a directory that can be made") from e
        self._file: BufferedWriter | None = None
        self._there = {maildir_letter(file.name, b"").uid for file in _maildir_files(path)}

    def begin(self, uid: int, arrival: int, sender: str) -> bool:
        if uid in self._there:
            return False
        self._name = maildir_name(arrival, uid, self._host, os.getpid())
        self._file = (self._path / "tmp" / self._name).open("wb")
        self._lines = UnixLines()
        return True

    def write(self, octets: bytes) -> None:
        assert self._file is not None
        self._file.write(self._lines.feed(octets))

    def end(self, complete: bool) -> None:
        file = self._file
        assert file is not None
        file.write(self._lines.finish())
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
        file.close()
        self._file = None
        path = self._path / "tmp" / self._name
        if complete:
            path.rename(self._path / "cur" / f"{self._name},S={size}:2,")
        else:
            path.unlink()

    def close(self) -> None:
        _sync_directory(self._path / "cur")

    def discard(self) -> None:
        """What is in ``cur`` is whole and stays; an export that is said again goes on from there."""
        if self._file is not None:
            _close_what_cannot_be_written(self._file)
            (self._path / "tmp" / self._name).unlink(missing_ok=True)


class MboxTarget:
    """A new file; it has its name when all of it is there. Raises CannotCreateError when there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh = path.with_name(f".{path.name}.{os.getpid()}")
        if path.exists():
            raise CannotCreateError(f"{path} exists: name a new file")
        try:
            self._file = self._fresh.open("xb")
        except OSError as e:
            raise CannotCreateError(f"{path}: {e.strerror}; name a file that can be made") from e

    def begin(self, uid: int, arrival: int, sender: str) -> bool:
        self._start = self._file.tell()
        self._lines, self._quoting = UnixLines(), MboxLines()
        self._file.write(mbox_head(uid, arrival, sender))
        return True

    def write(self, octets: bytes) -> None:
        self._file.write(self._quoting.feed(self._lines.feed(octets)))

    def end(self, complete: bool) -> None:
        self._file.write(self._quoting.feed(self._lines.finish()) + self._quoting.finish())
        if not complete:
            self._file.seek(self._start)
            self._file.truncate()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._fresh.rename(self._path)
        _sync_directory(self._path.parent)

    def discard(self) -> None:
        """See ``Target.discard``."""
        _close_what_cannot_be_written(self._file)
        self._fresh.unlink(missing_ok=True)


def read_maildir(path: Path, limit: int) -> Iterator[Letter]:
    """Its messages in order of name, that is of time. Raises DataError."""
    if not (path / "cur").is_dir() and not (path / "new").is_dir():
        raise DataError(f"{path} is no Maildir: it has neither cur nor new")
    for file in sorted(_maildir_files(path), key=lambda file: file.name):
        if file.stat().st_size > limit:
            raise DataError(f"{file}: larger than {limit} octets (limits.message_size)")
        yield maildir_letter(file.name, file.read_bytes())


def _maildir_files(path: Path) -> list[Path]:
    return [file for name in ("cur", "new") for file in (path / name).glob("[!.]*") if file.is_file()]


def read_mbox(path: Path, limit: int) -> Iterator[Letter]:
    """Its messages in the order of the file. Raises DataError."""
    try:
        with path.open("rb") as file:
            yield from mbox_letters(iter(lambda: file.readline(LINE), b""), limit)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _close_what_cannot_be_written(file: BufferedWriter) -> None:
    """On a full disk what is still in the buffer fails once more."""
    with suppress(OSError):
        file.close()


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Progress:
    """A line on stderr that counts, when a person looks."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._clock = SystemClock()
        self._next = self._clock.monotonic() + _PAUSE
        self._shown = False
        self._wanted = sys.stderr.isatty()
        self.count = 0

    def step(self, messages: int = 1) -> None:
        self.count += messages
        if self._wanted and self._clock.monotonic() >= self._next:
            self._next = self._clock.monotonic() + _PAUSE
            self._shown = True
            click.echo(f"\r{self._what}: {self.count} messages", err=True, nl=False)

    def end(self) -> None:
        if self._shown:
            click.echo("\r" + " " * (len(self._what) + 30) + "\r", err=True, nl=False)
