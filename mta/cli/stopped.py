"""The queue of a stopped server, straight from its files.

Owns: opening every shard for one command and closing it again, as the user that owns the files. Never does: deliver,
or touch files that a running server uses (each shard's own lock sees to that).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from mta.attendant.fanout import Fanout
from mta.clock import SystemClock
from mta.errors import MtaError
from mta.log import Event, EventLog
from mta.model.spoolid import IdSource
from mta.queue.admin import QueueAdmin, StoppedControl, answer
from mta.services.bounces import Bounces
from mta.spool.protocol import Ledger, Spool, SpoolFailed

if TYPE_CHECKING:
    from mta.config import Config

Row = dict[str, Any]

#: Rows that are read before they are shown.
PAGE = 100


class StoppedQueue:
    """The verbs of ``source.Queue`` on files. Each verb opens the shards it needs and closes them when it ends."""

    def __init__(self, config: "Config") -> None:
        from mta.spool.shard import shards

        self._config = config
        self._events: EventLog | None = None
        become_owner(config.data_dir)
        self._shards = shards(config.data_dir)

    def listed(self, filters: Row) -> Iterator[Row]:
        return self._each(lambda fanout: fanout.listed(filters))

    def show(self, queue_id: str) -> Row:
        return next(self._each(lambda fanout: fanout.about("queue.show", queue_id)))

    def content(self, queue_id: str) -> Iterator[bytes]:
        for row in self._each(lambda fanout: fanout.about("queue.cat", queue_id)):
            yield row["content"]

    def stats(self) -> Iterator[Row]:
        return self._each(lambda fanout: _rows(fanout.stats()))

    def why(self, queue_id: str) -> Iterator[Row]:
        return self._each(lambda fanout: fanout.about("why", queue_id))

    def audit(self) -> Row:
        zeros: Row = msgspec.structs.asdict(Ledger()) | {"queued": 0, "drift": 0}
        return zeros | next(self._each(lambda fanout: _row(fanout.audit())))

    def edit(self, verb: str, args: Row) -> Iterator[Row]:
        return self._each(lambda fanout: fanout.edit(verb, args), writing=True)

    def _each(self, ask: Callable[[Fanout], AsyncIterator[Row]], writing: bool = False) -> Iterator[Row]:
        """Drives the asynchronous rows from a plain loop."""
        with ExitStack() as stack:
            self._events = stack.enter_context(closing(EventLog(self._config.log.events))) if writing else None
            runner = stack.enter_context(asyncio.Runner())
            admins = {shard: self._open(shard, stack, runner, writing) for shard in self._shards}
            fanout = Fanout(lambda: self._shards, lambda v, a, s: answer(admins[s], v, a), SystemClock().now_ms)
            rows = Pages(ask(fanout))
            while page := runner.run(rows.next()):
                yield from page
            for admin in admins.values():
                runner.run(admin.drained())

    def _open(self, shard: int, stack: ExitStack, runner: asyncio.Runner, writing: bool) -> QueueAdmin:
        from mta.spool.disk import DiskSpool
        from mta.spool.shard import shard_directory
        from mta.spool.stopped import open_stopped

        directory = shard_directory(self._config.data_dir, shard)
        spool: Spool
        if writing:
            spool = DiskSpool(directory, shard, loop=runner.get_loop())
            spool.start(_raise)
            stack.callback(lambda: runner.run(spool.stop()))
        else:
            spool = cast(Spool, stack.enter_context(open_stopped(directory)))  # only the reading verbs are used
        clock = SystemClock()
        bounces = Bounces(
            spool, IdSource(shard, clock), clock, self._config.hostname, self._config.delivery.give_up_after
        )
        control = StoppedControl()
        return QueueAdmin(spool, control, clock, self._write_event, make_dsn=bounces.by_operator, pause=_pause)

    def _write_event(self, event: Event) -> None:
        """Into the event log, as the server would."""
        if self._events is not None:
            self._events.write(event)


def become_owner(data_dir: Path) -> None:
    """Root acts as the user that owns the files, so that the server can still open what a command has made."""
    from mta.attendant.privileges import account_of_uid, drop

    owner = data_dir.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        drop(account_of_uid(owner))


class Pages:
    """Rows by the page: to enter the loop for each one would take longer than to read it."""

    def __init__(self, rows: AsyncIterator[Any]) -> None:
        self._rows = rows
        self._error: MtaError | None = None

    async def next(self) -> list[Row]:
        """Empty at the end. An error comes behind the rows that came before it."""
        if self._error is not None:
            raise self._error
        page: list[Row] = []
        try:
            while len(page) < PAGE and (row := await anext(self._rows, None)) is not None:
                page.append(row)
        except MtaError as e:
            if not page:
                raise
            self._error = e
        return page


async def _pause() -> None:
    await asyncio.sleep(0.001)


async def _rows(rows: Any) -> AsyncIterator[Row]:
    for row in await rows:
        yield row


async def _row(row: Any) -> AsyncIterator[Row]:
    yield await row


def _raise(error: SpoolFailed) -> None:
    raise error
