"""The directory service: the one process that writes the directory, and shows it to mail clients.

Owns: the writer with its thread, verbs of operators, the listeners of this process. Never does: answer the look-ups of
other processes: those read the files themselves, and go on when this service is stopped.

Changes that come while one is being committed wait and go into the next commit together; each stands or falls alone.
A commit that fails is never tried again: the service asks for a restart, and the files then say what is true.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from socket import socket
from typing import Any, Final, Protocol

from mta.clock import Clock, SystemClock
from mta.config import Config
from mta.directory import verbs
from mta.directory.changes import Changes
from mta.directory.staging import Staging
from mta.directory.tables import directory_path
from mta.directory.writer import READER_CHECK, DirectoryWriter
from mta.errors import MtaError, StorageError, TemporaryError
from mta.metrics import MetricsTable
from mta.services.login import Logins
from mta.services.process import Orders, main, serve

_log = logging.getLogger("mta.directory")

#: Changes of one commit, and changes that may wait.
COMMIT_LIMIT: Final = 256
WAITING_LIMIT: Final = 4_096
#: Rows that are given before others get their turn on the loop.
ROWS_PER_TURN: Final = 64
#: Seconds between two signs of life of a long import.
SIGN_OF_LIFE: Final = 1.0


class Listening(Protocol):
    """What answers on sockets of this process."""

    async def stop(self, patience: float) -> None: ...

    def facts(self) -> dict[str, int]: ...


class DirectoryService:
    """See ``mta.services.process.Served``. Loop thread only."""

    def __init__(self, orders: Orders, config: Config, clock: Clock | None = None) -> None:
        self._orders = orders
        self._config = config
        self._clock = clock or SystemClock()
        self._settings = verbs.Settings(config.directory.address_template, config.local.domains)
        self._staging = Staging(self._settings)
        self._listeners: list[Listening] = []

    async def start(self, failing: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = DirectoryWriter(
            directory_path(self._config.data_dir),
            separator=self._config.local.subaddress,
            postmaster=self._config.local.postmaster,
            clock=self._clock,
        )
        self._commits = Commits(self._writer, self._loop, failing)
        # Passwords that operators set; those of people who log in have their own threads.
        self._hashing = ThreadPoolExecutor(1, "hashing")
        self._logins = Logins(self._writer.reading, self._config, self._clock)
        self._readers = self._loop.call_later(READER_CHECK, self._clear_dead_readers)
        self._listeners = await self._listen(self._orders.sockets())

    async def _listen(self, bound: Sequence[tuple[int, socket]]) -> list[Listening]:
        """What answers on the listeners of this process: (index in ``config.listener``, socket)."""
        if not bound:
            return []
        from mta.services.ldap import LdapService, tls_of  # its codec takes 0.2 s and 20 MB: only where it is needed

        counters = MetricsTable.attach(self._orders.metrics_fd).row(self._orders.row)
        ldap = LdapService(
            self._config, self._writer.reading, self._logins, tls_of(self._config), counters, self._clock
        )
        await ldap.start(bound)
        return [ldap]

    async def stop(self, patience: float) -> None:
        for listener in self._listeners:
            await listener.stop(patience)
        self._readers.cancel()
        self._logins.stop()
        self._hashing.shutdown(wait=False, cancel_futures=True)
        await self._commits.stop()
        self._writer.close()

    async def probe(self) -> None:
        """See ``Probed.probe``: people can be read. The writing thread is not asked: an import may hold it for long."""
        self._writer.reading.people(0, 1)

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"waiting": self._commits.waiting}
        for listener in self._listeners:
            facts.update(listener.facts())
        return facts

    async def answer(self, verb: str, args: Mapping[str, Any], shard: int) -> AsyncIterator[Mapping[str, Any]]:
        verbs.known(verb, Staging.VERBS)
        if verb in verbs.READS:
            for number, row in enumerate(verbs.read(self._writer.reading, verb, args, self._settings), 1):
                yield row
                if number % ROWS_PER_TURN == 0:
                    await asyncio.sleep(0)
        elif verb == "import.commit":
            async for progress in self._import(args):
                yield progress
        elif verb in Staging.VERBS:
            yield self._staging.answer(verb, args, self._clock.monotonic())
        else:
            job = await self._loop.run_in_executor(self._hashing, verbs.write, verb, args, self._settings)
            for row in await self._commits.change(job):
                yield row
            _log.info("%s: done", verb)

    async def _import(self, args: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """How far it has come, once a second, and at the end what came in."""
        job, applied = self._staging.commit(args)
        change = asyncio.ensure_future(self._commits.change(job))
        change.add_done_callback(_heard)
        while not (await asyncio.wait({change}, timeout=SIGN_OF_LIFE))[0]:
            yield {"applied": applied()}
        yield change.result()
        _log.info("import: %s", change.result())

    def _clear_dead_readers(self) -> None:
        self._readers = self._loop.call_later(READER_CHECK, self._clear_dead_readers)
        self._commits.run(self._writer.clear_dead_readers)


class Commits:
    """Changes on their way into the files. Loop thread only; the commits are made in a thread of their own."""

    def __init__(
        self, writer: DirectoryWriter, loop: asyncio.AbstractEventLoop, failing: Callable[[str], None]
    ) -> None:
        self._writer = writer
        self._loop = loop
        self._failing = failing
        self._thread = ThreadPoolExecutor(1, "directory")
        self._queue: list[tuple[Callable[[Changes], Any], asyncio.Future[Any]]] = []
        self._flying: asyncio.Future[list[Any]] | None = None
        self._closed: StorageError | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def change(self, job: Callable[[Changes], Any]) -> Any:
        """What the job returned, when it is on stable storage. Raises MtaError."""
        if self._closed is not None:
            raise self._closed
        if len(self._queue) >= WAITING_LIMIT:
            raise TemporaryError(f"{WAITING_LIMIT} changes of the directory wait; try again")
        settled: asyncio.Future[Any] = self._loop.create_future()
        self._queue.append((job, settled))
        self._begin()
        return await settled

    def run(self, job: Callable[[], Any]) -> None:
        """In the writing thread, between two commits."""
        if self._closed is None:
            self._thread.submit(job)

    async def stop(self) -> None:
        """Commits what it has, then ends the thread."""
        while self._queue or self._flying is not None:
            assert self._flying is not None
            await asyncio.wait({self._flying})
            await asyncio.sleep(0)  # its own callback comes first or now
        self._closed = self._closed or StorageError("the directory service was stopped; try again")
        self._thread.shutdown()

    def _begin(self) -> None:
        if self._flying is not None or not self._queue:
            return
        batch, self._queue = self._queue[:COMMIT_LIMIT], self._queue[COMMIT_LIMIT:]
        self._flying = self._loop.run_in_executor(self._thread, self._writer.run, [job for job, _ in batch])
        self._flying.add_done_callback(lambda done: self._committed([settled for _, settled in batch], done))

    def _committed(self, batch: list[asyncio.Future[Any]], done: asyncio.Future[list[Any]]) -> None:
        self._flying = None
        error = done.exception()
        if error is not None:
            self._fail(batch, error)
            return
        for settled, outcome in zip(batch, done.result(), strict=True):
            if settled.done():
                continue  # nobody waits any more
            if isinstance(outcome, MtaError):
                settled.set_exception(outcome)
            else:
                settled.set_result(outcome)
        self._begin()

    def _fail(self, batch: list[asyncio.Future[Any]], error: BaseException) -> None:
        reason = (
            error if isinstance(error, StorageError) else StorageError(f"a change of the directory broke: {error!r}")
        )
        self._closed = reason
        _log.error("%s", reason)
        for settled in [*batch, *(settled for _, settled in self._queue)]:
            if not settled.done():
                settled.set_exception(reason)
        self._queue.clear()
        self._failing(str(reason))


def _heard(change: "asyncio.Future[Any]") -> None:
    """Whoever asked for an import may have gone before its end; its error is nobody's then."""
    if not change.cancelled():
        change.exception()


async def run(orders: Orders, config: Config, end: socket) -> None:
    await serve(orders, config, end, DirectoryService(orders, config))


if __name__ == "__main__":
    main(run)
