"""How the scheduler reads what is due, its bounds on memory, and what an operator may take back."""

import pytest

from mta.model.message import Message, due_key
from mta.queue.scheduler import RESCAN, SWEEP, Scheduler
from mta.spool.memory import MemorySpool
from mta.spool.protocol import Change
from tests.harness.spooling import delivered, entries_of, make_message, store


class Clock:
    """Both clocks stand still until a test moves them."""

    def __init__(self) -> None:
        self.ms = 1000
        self.seconds = 50.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.seconds


class Deliverer:
    """Takes what it has room for; ``full`` are the domains that get nothing more."""

    def __init__(self) -> None:
        self.full: set[str] = set()
        self.taken: list = []

    def has_room(self, domain: str, free: int) -> bool:
        return free > 0 and domain not in self.full

    def take(self, entry) -> None:
        self.taken.append(entry)

    def ids(self) -> list[int]:
        return [entry.spool_id for entry in self.taken]


class CountingSpool(MemorySpool):
    """Counts the rows of the due index that were read."""

    rows = 0

    def due(self, after: bytes, until: int, limit: int) -> list[tuple[bytes, str]]:
        found = super().due(after, until, limit)
        self.rows += len(found)
        return found


class Bench:
    """A scheduler on a spool in memory. ``restart`` forgets everything that was in memory."""

    def __init__(self, limit: int = 100, content_memory: int = 10_000) -> None:
        self.clock = Clock()
        self.spool = CountingSpool(0)
        self.spool.start(lambda failure: None)
        self._bounds = (limit, content_memory)
        self.restart()

    def restart(self) -> None:
        limit, content_memory = self._bounds
        self.deliverer = Deliverer()
        self.scheduler = Scheduler(self.spool, self.clock, self.deliverer, limit=limit, content_memory=content_memory)

    async def queue(self, *messages: Message) -> None:
        for message in messages:
            await store(self.spool, message, b"hi\r\n")

    def settle(self, entry) -> None:
        """The entry's message was delivered."""
        message = self.scheduler.open(entry)
        self.spool.apply(delivered(message))
        self.scheduler.close(entry)

    def defer(self, entry, due: int) -> None:
        """The entry gets its next due time."""
        message = self.scheduler.open(entry)
        for recipient in message.recipients:
            recipient.due = due
        entering = ((due_key(due, message.id, entry.group), entry.domain),)
        self.spool.apply(Change(message, leaving=(entry.key,), entering=entering))
        self.scheduler.close(entry)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_new_message_is_live_at_once_and_nothing_is_read(bench):
    message = make_message(1)
    bench.scheduler.admit(message, b"hi\r\n", entries_of(message), 0.25)
    (entry,) = bench.deliverer.taken
    assert (entry.message, entry.content, entry.reception) == (message, b"hi\r\n", 0.25)
    assert bench.spool.rows == 0


async def test_what_is_due_comes_in_the_order_of_its_time_and_what_is_not_stays(bench):
    await bench.queue(make_message(1, due=900), make_message(2, due=300), make_message(3, due=1001))
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [2, 1]
    bench.clock.ms = 1001
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [2, 1, 3]


async def test_what_is_live_is_not_taken_a_second_time(bench):
    await bench.queue(make_message(1))
    bench.scheduler.refill()
    bench.scheduler.wake()
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [1]


async def test_a_start_reads_the_head_of_a_long_queue_and_no_more():
    bench = Bench(limit=10)
    for number in range(1, 601):
        message = make_message(number)
        bench.spool._store(message, b"", entries_of(message))
    bench.scheduler.refill()
    assert bench.deliverer.ids() == list(range(1, 11))
    assert bench.spool.rows < 300


async def test_the_limit_holds_and_the_rest_follows_as_room_comes():
    bench = Bench(limit=2)
    await bench.queue(*(make_message(number, due=number) for number in (1, 2, 3, 4)))
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [1, 2]
    bench.settle(bench.deliverer.taken[0])
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [1, 2, 3]
    assert len(bench.scheduler) == 2


async def test_a_domain_without_room_holds_up_no_other_and_keeps_its_order(bench):
    await bench.queue(
        make_message(1, due=1, domains=["slow.example"]),
        make_message(2, due=2, domains=["fast.example"]),
        make_message(3, due=3, domains=["slow.example"]),
    )
    bench.deliverer.full = {"slow.example"}
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [2]
    late = make_message(4, due=4, domains=["slow.example"])
    await bench.queue(late)
    bench.deliverer.full = set()
    bench.scheduler.admit(late, None, entries_of(late), 0.0)
    assert bench.deliverer.ids() == [2], "it would have overtaken 1 and 3"
    bench.scheduler.refill()
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [2, 1, 3, 4]


async def test_room_that_comes_in_the_middle_of_a_look_lets_nobody_overtake(bench):
    await bench.queue(*(make_message(number, due=number) for number in (1, 2, 3)))
    room = iter([False, True, False])
    bench.deliverer.has_room = lambda domain, free: next(room, True)
    bench.scheduler.refill()
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [], "2 and 3 are behind 1"
    for _ in range(4):
        bench.scheduler.refill()
    assert bench.deliverer.ids() == [1, 2, 3]


async def test_what_is_passed_over_behind_what_was_read_is_found_before_the_next_rescan(bench):
    await bench.queue(make_message(5, due=900))
    bench.scheduler.refill()
    bench.deliverer.full = {"slow.example"}
    late = make_message(4, due=900, domains=["slow.example"])
    await bench.queue(late)
    bench.scheduler.admit(late, None, entries_of(late), 0.0)
    bench.deliverer.full = set()
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [5, 4]


async def test_a_queue_of_blocked_entries_is_read_in_bites(bench):
    for number in range(1, 3 * SWEEP):
        message = make_message(number, domains=["slow.example"])
        bench.spool._store(message, b"", entries_of(message))
    message = make_message(3 * SWEEP, due=6, domains=["fast.example"])
    bench.spool._store(message, b"", entries_of(message))
    bench.deliverer.full = {"slow.example"}
    for _ in range(6):
        before = bench.spool.rows
        bench.scheduler.refill()
        assert bench.spool.rows - before <= 2 * SWEEP + 512
    assert bench.deliverer.ids() == [3 * SWEEP], "the one behind them was reached all the same"


async def test_a_deferred_entry_comes_back_at_its_time_and_not_before(bench):
    await bench.queue(make_message(1))
    bench.scheduler.refill()
    bench.defer(bench.deliverer.taken[0], due=2000)
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [1]
    bench.clock.ms = 2000
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [1, 1]


async def test_when_the_wall_clock_was_set_back_what_is_due_by_it_is_found(bench):
    await bench.queue(make_message(2, due=900))
    bench.scheduler.refill()
    bench.clock.ms = 500
    await bench.queue(make_message(3, due=100))
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [2, 3]


async def test_an_entry_behind_what_was_read_is_found_at_the_next_rescan(bench):
    await bench.queue(make_message(2, due=900))
    bench.scheduler.refill()
    await bench.queue(make_message(3, due=100))
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [2]
    bench.clock.seconds += RESCAN
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [2, 3]


async def test_a_restart_forgets_nothing_that_was_in_flight(bench):
    await bench.queue(make_message(1), make_message(2))
    bench.scheduler.refill()
    bench.deliverer.taken[0].in_flight = True
    bench.settle(bench.deliverer.taken[1])
    bench.restart()
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [1]


async def test_content_is_kept_up_to_the_budget_and_the_room_comes_back():
    bench = Bench(content_memory=10)
    messages = [make_message(number, b"123456") for number in (1, 2, 3)]
    for message in messages[:2]:
        bench.scheduler.admit(message, b"123456", entries_of(message), 0.0)
    first, second = bench.deliverer.taken
    assert first.content == b"123456"
    assert second.content is None, "it is read again when it is delivered"
    bench.scheduler.close(first)
    bench.scheduler.admit(messages[2], b"123456", entries_of(messages[2]), 0.0)
    assert bench.deliverer.taken[2].content == b"123456"


async def test_content_that_several_groups_share_counts_once():
    bench = Bench(content_memory=10)
    message = make_message(1, b"123456", domains=["a.example", "b.example"])
    bench.scheduler.admit(message, b"123456", entries_of(message), 0.0)
    assert [entry.content for entry in bench.deliverer.taken] == [b"123456", b"123456"]
    bench.scheduler.close(bench.deliverer.taken[0])
    second = make_message(2, b"12345")
    bench.scheduler.admit(second, b"12345", entries_of(second), 0.0)
    assert bench.deliverer.taken[2].content is None, "the other group still holds its content"


async def test_the_groups_of_a_message_share_one_record(bench):
    await bench.queue(make_message(1, domains=["a.example", "b.example"]))
    bench.scheduler.refill()
    first, second = bench.deliverer.taken
    assert bench.scheduler.open(first) is bench.scheduler.open(second)


async def test_a_message_that_was_removed_meanwhile_cannot_be_opened(bench):
    message = make_message(1)
    await bench.queue(message)
    bench.scheduler.refill()
    bench.spool.apply(delivered(message))
    assert bench.scheduler.open(bench.deliverer.taken[0]) is None


async def test_recall_takes_a_message_out_of_memory_unless_it_is_in_flight(bench):
    message = make_message(1, domains=["a.example", "b.example"])
    await bench.queue(message)
    bench.scheduler.refill()
    first, second = bench.deliverer.taken
    second.in_flight = True
    assert not bench.scheduler.recall(message)
    assert not first.dropped
    second.in_flight = False
    assert bench.scheduler.recall(message)
    assert first.dropped
    assert len(bench.scheduler) == 0
    bench.scheduler.wake()
    bench.scheduler.refill()
    assert bench.deliverer.ids() == [1, 1, 1, 1]
