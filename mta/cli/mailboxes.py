"""Where a command gets mailboxes from: the running server, or the files of a stopped one.

Owns: the choice, and opening and closing the files. Never does: know what a verb means.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from mta.cli.client import AdminClient, NoServerError
from mta.errors import TemporaryError, UnavailableError

if TYPE_CHECKING:
    from mta.config import Config
    from mta.store.protocol import StoreFailed

Row = dict[str, Any]


class Mailboxes(Protocol):
    """What both sources do; also a context manager. Raises MtaError."""

    def ask(self, verb: str, args: Row) -> Iterator[Row]:
        """The rows of a verb of ``mta.services.mailboxes``."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def mailboxes_of(config: "Config", *, writing: bool = False) -> Mailboxes:
    """The server when one answers; else its files, when no server uses them. ``writing``: verbs that change something
    will be asked. Raises TemporaryError when a server runs and does not answer, UnavailableError when there is
    neither."""
    client = AdminClient(config)
    try:
        client.probe()
    except NoServerError as e:
        from mta.attendant.datadir import is_locked
        from mta.disk.environment import DATA_FILE
        from mta.store.tables import store_directory

        directory = store_directory(config.data_dir)
        if not (directory / DATA_FILE).exists():
            raise UnavailableError(f"{e}; and there is no store in {directory} to look into") from e
        if is_locked(config.data_dir):
            raise TemporaryError(f"a server uses {config.data_dir} and does not answer yet: try again") from e
        return StoppedMailboxes(config, directory, writing)
    return LiveMailboxes(client)


class LiveMailboxes:
    """The admin API."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def ask(self, verb: str, args: Row) -> Iterator[Row]:
        return self._client.post(f"/api/v1/store/{verb}", args)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Each request was a connection of its own."""


class StoppedMailboxes:
    """The files, as the user that owns them. They are open between ``__enter__`` and ``__exit__``: no server starts
    meanwhile."""

    def __init__(self, config: "Config", directory: Path, writing: bool) -> None:
        from mta.cli.stopped import become_owner

        self._config = config
        self._directory = directory
        self._writing = writing
        self._stack = ExitStack()
        become_owner(config.data_dir)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        from mta.clock import SystemClock
        from mta.services.mailboxes import MailboxVerbs, Reading
        from mta.services.store import open_directory, quota_of
        from mta.store.disk import DiskStore
        from mta.store.stopped import open_stopped

        self._runner = runner = stack.enter_context(asyncio.Runner())
        directory = open_directory(self._config)
        stack.callback(directory.close)
        quota = quota_of(self._config)
        store: Reading
        if self._writing:
            store = disk = DiskStore(self._directory, quota=quota, loop=runner.get_loop())
            disk.start(_raise)
            stack.callback(lambda: runner.run(disk.stop()))
        else:
            store = stack.enter_context(open_stopped(self._directory))
        self._verbs = MailboxVerbs(
            store, directory, SystemClock(), quota=quota, message_size=self._config.limits.message_size
        )

    def ask(self, verb: str, args: Row) -> Iterator[Row]:
        from mta.cli.stopped import Pages

        rows = Pages(self._verbs.answer(verb, args))
        while page := self._runner.run(rows.next()):
            yield from page

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()


def _raise(error: "StoreFailed") -> None:
    raise error
