"""Commits a second and microseconds a message of the disk spool, by batch size. On the disk that holds the directory.

``MTA_BENCH_DIR`` names another parent than the system's temporary directory, which must be a real disk for the figures
to mean anything; the last line of the report says what it was.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark", reason="pip install '.[bench]'")

from bench.machine import file_system
from bench.probe_source import body
from mta.errors import StorageError
from mta.model.message import Message, Recipient, RecipientState, due_key
from mta.spool.disk import DiskSpool
from mta.spool.protocol import Change, SpoolFailed, Ticket

CONTENT = body(4096)
ROUNDS = 100


class Batches:
    """Rounds of ``size`` messages: each commit takes in a batch and lets the one before it go, as a relay does."""

    def __init__(self, spool: DiskSpool, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._spool = spool
        self._loop = loop
        self._size = size
        self._next = 1
        self._before: list[Message] = []
        self.commits: list[int] = []
        spool.on_commit = lambda _seconds, messages: self.commits.append(messages)

    def run(self) -> None:
        self._loop.run_until_complete(self._round())

    async def _round(self) -> None:
        settled: asyncio.Future[None] = self._loop.create_future()
        left = self._size

        def settle(ticket: Ticket, error: StorageError | None) -> None:
            nonlocal left
            if error is not None:
                settled.set_exception(error)
            left -= 1
            if not left and not settled.done():
                settled.set_result(None)

        for message in self._before:
            self._spool.apply(gone(message))
        self._before = [self._message() for _ in range(self._size)]
        for message in self._before:
            self._spool.accept(Ticket(message, CONTENT, [(due_key(1, message.id, 0), "dst.test")], settle))
        await settled

    def _message(self) -> Message:
        self._next += 1
        return Message(self._next, "a@src.test", [Recipient("b@dst.test", "dst.test", due=1)], len(CONTENT), 1)


def gone(message: Message) -> Change:
    """Delivered to its only recipient."""
    message.recipients[0].state = RecipientState.DELIVERED
    return Change(message, finished=True, leaving=(due_key(1, message.id, 0),), delivered=1)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hermes-bench-", dir=os.environ.get("MTA_BENCH_DIR", "/var/tmp")) as name:
        yield Path(name)


@pytest.mark.parametrize("size", [1, 8, 32, 128])
def test_commits_by_batch_size(benchmark: Any, report: Callable[[str], None], directory: Path, size: int) -> None:
    """A batch of 4 KiB messages in and the batch before it out, synced."""
    loop = asyncio.new_event_loop()
    spool = DiskSpool(directory / "0", 0, loop=loop, preallocate=256 << 20)
    try:
        spool.start(_failed)
        batches = Batches(spool, loop, size)
        benchmark.pedantic(batches.run, rounds=ROUNDS, warmup_rounds=5)
        loop.run_until_complete(spool.stop())
    finally:
        loop.close()
    accepting = [messages for messages in batches.commits if messages]
    assert set(accepting) == {size}, "a batch was split: the figures would be those of another size"
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info.update(messages=size, file_system=file_system(directory))
        report(f"{1 / seconds:8.0f} commits/s, {seconds / size * 1e6:8.1f} µs a message, {file_system(directory)}")


def _failed(error: SpoolFailed) -> None:
    raise AssertionError(f"the spool failed: {error}")
