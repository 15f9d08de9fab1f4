"""A report is readable in the spool before its commit: whoever finds it first, it goes out once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mta.clock import SystemClock
from mta.log import EventLog
from mta.metrics import MetricsTable
from mta.model.message import Message, Recipient
from mta.policy.retry import RetryPolicy
from mta.policy.trouble import Kind, Problem
from mta.queue.entry import Entry
from mta.services.enqueue import enqueue
from mta.services.shard import Shard
from mta.spool.memory import MemorySpool
from mta.spool.protocol import Change, Ticket
from tests.harness.in_process import Takes

CLOCK = SystemClock()
CONTENT = b"Subject: x\r\n\r\n"


class LateSpool(MemorySpool):
    """A disk that takes its time: what hangs on a commit is called when the test says so."""

    def __init__(self) -> None:
        super().__init__(0)
        self.late: list[Callable[[], None]] = []

    def apply(self, change: Change) -> None:
        if change.committed is not None:
            self.late.append(change.committed)
            change.committed = None
        super().apply(change)


class Scene:
    """A shard with one live message, whose sender is to hear that it failed."""

    def __init__(self, directory: Path) -> None:
        self.spool = LateSpool()
        self.taken = Takes()
        self.events = EventLog(str(directory / "events.jsonl"))
        self.shard = Shard(
            self.spool, RetryPolicy((60.0,), 86400.0, 0.0, lambda: 0.0), self.taken, self.events,
            MetricsTable.create(1).row(0), CLOCK,
            hostname="mta.example", live=100, content_memory=1 << 20, give_up_after=86400.0,
        )  # fmt: skip
        self.spool.start(lambda error: None)
        self.shard.scheduler.refill()  # the cursors have nothing to look at yet

    async def fail_a_message(self) -> None:
        now = CLOCK.now_ms()
        message = Message(7, "a@a.example", [Recipient("b@b.example", "b.example")], len(CONTENT), now)
        self.spool.accept(Ticket(message, CONTENT, enqueue(message, now), lambda ticket, error: None, None))
        await asyncio.sleep(0)
        self.shard.scheduler.admit(message, CONTENT, enqueue(message, now), 0.0)
        problem = Problem(Kind.ROUTING, status="5.1.2", text="no such domain")
        self.shard.outcomes.failed_whole(self.taken.entries.pop(), "", "", problem)

    def commit(self) -> None:
        for committed in self.spool.late:
            committed()

    def deliver(self, entry: Entry) -> None:
        message = self.shard.scheduler.open(entry)
        assert message is not None
        self.spool.apply(Change(message, True, (entry.key,), (), 1))
        self.shard.scheduler.close(entry)


@pytest.fixture
async def scene(tmp_path: Path):
    made = Scene(tmp_path)
    yield made
    made.events.close()


async def test_after_its_commit_it_is_live_at_once(scene: Scene) -> None:
    await scene.fail_a_message()
    scene.commit()
    (report,) = scene.taken.entries
    assert report.domain == "a.example"
    assert report.content is not None
    scene.shard.scheduler.refill()
    assert scene.taken.entries == [report]


async def test_one_that_refill_found_before_its_commit_is_not_taken_again(scene: Scene) -> None:
    await scene.fail_a_message()
    scene.shard.scheduler.wake()
    scene.shard.scheduler.refill()
    scene.commit()
    assert [entry.domain for entry in scene.taken.entries] == ["a.example"]


async def test_one_that_was_delivered_before_its_commit_is_not_delivered_again(scene: Scene) -> None:
    await scene.fail_a_message()
    scene.shard.scheduler.wake()
    scene.shard.scheduler.refill()
    scene.deliver(scene.taken.entries.pop())
    scene.commit()
    scene.shard.scheduler.refill()
    assert scene.taken.entries == []
    ledger = scene.spool.ledger()
    assert (ledger.generated, ledger.delivered, ledger.failed) == (1, 1, 1)
