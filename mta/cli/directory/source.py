"""Where a command gets the directory from: the running server, or the files of a stopped one.

Owns: the choice, and the verbs on files. Never does: decide what a verb means (``mta.directory.verbs``).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mta.cli.client import AdminClient, NoServerError, ProblemError
from mta.errors import TemporaryError, UnavailableError

if TYPE_CHECKING:
    from mta.config import Config
    from mta.directory.records import Record
    from mta.directory.writer import DirectoryWriter

Row = dict[str, Any]
Progress = Callable[[int], None]

#: Entries of one request, and about so many octets.
_PIECE = 500
_PIECE_OCTETS = 1 << 20


class Source(Protocol):
    """What both do. Raises MtaError."""

    def ask(self, verb: str, args: Row) -> Iterator[Row]: ...

    def take_in(self, records: Iterable["Record"], keep_ids: bool, progress: Progress) -> Row:
        """An import, all or nothing. ``progress``: entries that have gone in so far."""


def source_of(config: "Config") -> Source:
    """The server when one answers; else its files, when no server uses them."""
    client = AdminClient(config)
    try:
        client.probe()
    except NoServerError as error:
        from mta.attendant.datadir import is_locked

        if is_locked(config.data_dir):
            raise TemporaryError(f"a server uses {config.data_dir} and does not answer yet: try again") from error
        return Files(config)
    return Server(client, config)


class Server:
    """The running server. While its directory service is stopped, what only reads is read from the files, as the
    workers do."""

    def __init__(self, client: AdminClient, config: "Config") -> None:
        self._client = client
        self._config = config

    def ask(self, verb: str, args: Row) -> Iterator[Row]:
        from mta.directory.verbs import READS

        came = False
        try:
            for row in self._client.post(f"/api/v1/directory/{verb}", args):
                came = True
                yield row
        except ProblemError as problem:
            if came or verb not in READS or problem.exit_code != os.EX_TEMPFAIL:
                raise
            yield from Files(self._config).read(verb, args)

    def take_in(self, records: Iterable["Record"], keep_ids: bool, progress: Progress) -> Row:
        token = self._one("import.begin", {"keep_ids": keep_ids})["token"]
        try:
            for piece in _pieces(records):
                self._one("import.records", {"token": token, "records": piece})
        except BaseException:
            self._one("import.drop", {"token": token})
            raise
        row: Row = {}
        for row in self.ask("import.commit", {"token": token}):
            progress(row.get("applied", 0))
        return row

    def _one(self, verb: str, args: Row) -> Row:
        return next(self.ask(verb, args))


class Files:
    """The files of a stopped server; a verb that changes something makes them when there are none."""

    def __init__(self, config: "Config") -> None:
        from mta.directory.verbs import Settings

        self._config = config
        self._settings = Settings(config.directory.address_template, config.local.domains)

    def ask(self, verb: str, args: Row) -> Iterator[Row]:
        from mta.directory import verbs

        if verb in verbs.READS:
            with closing(self._open(create=False)) as writer:
                yield from verbs.read(writer.reading, verb, args, self._settings)
        else:
            job = verbs.write(verb, args, self._settings)
            with closing(self._open(create=True)) as writer:
                yield from writer.change(job)

    def read(self, verb: str, args: Row) -> Iterator[Row]:
        """Beside whoever else uses them."""
        from mta.cli.stopped import become_owner
        from mta.directory import verbs
        from mta.directory.reading import Reading
        from mta.directory.tables import LAYOUT, directory_path
        from mta.disk.environment import open_tables, open_to_read

        become_owner(self._config.data_dir)
        local = self._config.local
        with open_to_read(directory_path(self._config.data_dir), LAYOUT) as env:
            reading = Reading(env, open_tables(env, LAYOUT), local.subaddress, local.postmaster)
            yield from verbs.read(reading, verb, args, self._settings)

    def take_in(self, records: Iterable["Record"], keep_ids: bool, progress: Progress) -> Row:
        from mta.directory.records import take_in

        settings = self._settings
        with closing(self._open(create=True)) as writer:
            return writer.change(
                lambda changes: take_in(
                    changes,
                    records,
                    keep_ids=keep_ids,
                    template=settings.template,
                    domain=settings.domain,
                    progress=progress,
                )
            )

    def _open(self, create: bool) -> "DirectoryWriter":
        from mta.attendant.datadir import make_data_dir
        from mta.cli.stopped import become_owner
        from mta.directory.tables import directory_path
        from mta.directory.writer import DirectoryWriter
        from mta.disk.environment import DATA_FILE

        place = directory_path(self._config.data_dir)
        if create:
            make_data_dir(self._config.data_dir)
        elif not (place / DATA_FILE).exists():
            raise UnavailableError(f"{place}: there is no directory yet; `mta directory user add` makes one")
        become_owner(self._config.data_dir)
        local = self._config.local
        return DirectoryWriter(place, separator=local.subaddress, postmaster=local.postmaster, create=create)


def _pieces(records: Iterable["Record"]) -> Iterator[list[Row]]:
    """Requests of a bounded size."""
    piece: list[Row] = []
    octets = 0
    for record in records:
        row = msgspec.to_builtins(record)
        size = len(msgspec.json.encode(row))
        if piece and (len(piece) >= _PIECE or octets + size > _PIECE_OCTETS):
            yield piece
            piece, octets = [], 0
        piece.append(row)
        octets += size
    if piece:
        yield piece
