"""Where a command gets the queue from: the running server, or the files of a stopped one.

Owns: the choice. Never does: read or write either.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from mta.cli.client import AdminClient, NoServerError
from mta.errors import TemporaryError, UnavailableError

if TYPE_CHECKING:
    from mta.config import Config

Row = dict[str, Any]


class Queue(Protocol):
    """What both sources do. Raises MtaError."""

    def listed(self, filters: Row) -> Iterator[Row]: ...

    def show(self, queue_id: str) -> Row: ...

    def content(self, queue_id: str) -> Iterator[bytes]: ...

    def stats(self) -> Iterator[Row]: ...

    def edit(self, verb: str, args: Row) -> Iterator[Row]: ...

    def why(self, queue_id: str) -> Iterator[Row]: ...

    def audit(self) -> Row: ...


def queue_of(config: "Config") -> Queue:
    """The server when one answers; else its files, when no server uses them.

    Raises TemporaryError when a server runs and does not answer, UnavailableError when there is neither.
    """
    client = AdminClient(config)
    try:
        client.probe()
    except NoServerError as e:
        from mta.attendant.datadir import is_locked

        if not config.data_dir.is_dir():
            raise UnavailableError(f"{e}; and there is no {config.data_dir} to look into") from e
        if is_locked(config.data_dir):
            raise TemporaryError(f"a server uses {config.data_dir} and does not answer yet: try again") from e
        from mta.cli.stopped import StoppedQueue

        return StoppedQueue(config)
    return client
