"""The wheel: who is looked at when, on a clock that stands still until it is moved."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from mta.net.deadlines import Wheel


class Loop:
    """The part of a loop that a wheel needs; time passes by ``turn``."""

    def __init__(self) -> None:
        self.now = 100.0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.problems: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> "Loop":
        self.later.append((when, callback))
        return self

    def cancel(self) -> None:
        self.later.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.problems.append(context)

    def turn(self, seconds: float = 1.0) -> None:
        self.now += seconds
        due = [timer for timer in self.later if timer[0] <= self.now + 0.0005]
        self.later = [timer for timer in self.later if timer not in due]
        for _, callback in due:
            callback()


class Item:
    def __init__(self, *answers: float | Exception) -> None:
        self.bucket = 0
        self.seen: list[float] = []
        self._answers = list(answers)

    def check(self, now: float) -> float:
        self.seen.append(now)
        answer = self._answers.pop(0) if self._answers else 0.0
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def wheel(loop: Loop) -> Wheel:
    wheel = Wheel(loop)
    wheel.start()
    return wheel


def test_an_item_is_looked_at_when_its_time_has_come_and_at_most_a_tick_later(loop, wheel):
    item = Item()
    wheel.watch(item, 103.5)
    for _ in range(3):
        loop.turn()
    assert item.seen == []
    loop.turn()
    assert item.seen == [104.0]
    loop.turn(10)
    assert len(item.seen) == 1


def test_an_answer_is_the_next_time(loop, wheel):
    item = Item(105.0, 0.0)
    wheel.watch(item, 101.0)
    for _ in range(12):
        loop.turn()
    assert item.seen == [101.0, 105.0]
    assert len(wheel) == 0


def test_a_past_moment_comes_up_at_the_next_tick(loop, wheel):
    item = Item()
    wheel.watch(item, 3.0)
    loop.turn()
    assert item.seen == [101.0]


@pytest.mark.parametrize("began", [100.0, 7.9, 12345.678, 0.001])
def test_a_look_is_never_more_than_a_tick_late_wherever_in_a_second_the_wheel_began(began):
    loop = Loop()
    loop.now = began
    wheel = Wheel(loop)
    wheel.start()
    items = {after: Item() for after in (0.01, 0.5, 0.99, 1.0, 1.5, 2.0, 3.25)}
    for after, item in items.items():
        wheel.watch(item, began + after)
    for _ in range(16):
        loop.turn(0.25)
    for after, item in items.items():
        [seen] = item.seen
        assert after - 1e-5 <= seen - began <= after + 1.0, (began, after)


def test_who_asks_for_a_second_from_a_look_is_looked_at_a_second_later_though_the_turns_are_late(loop, wheel):
    item = Item(102.0, 103.0, 0.0)
    wheel.watch(item, 101.0)
    for lateness in (1.3, 0.8, 1.1):  # turns at 101.3, 102.1, 103.2
        loop.turn(lateness)
    assert item.seen == [101.0, 102.0, 103.0]


def test_a_timer_that_fires_a_little_early_is_its_tick(loop, wheel):
    item = Item()
    wheel.watch(item, 101.0)
    loop.turn(0.9996)
    assert item.seen == [101.0]


def test_a_loop_that_was_busy_for_long_looks_at_all_that_is_overdue(loop, wheel):
    items = [Item() for _ in range(50)]
    for n, item in enumerate(items):
        wheel.watch(item, 100.0 + n)
    loop.turn(60)
    assert all(item.seen == [160.0] for item in items)


def test_watching_again_moves_an_item(loop, wheel):
    item = Item()
    wheel.watch(item, 101.0)
    wheel.watch(item, 110.0)
    assert len(wheel) == 1
    loop.turn(5)
    assert item.seen == []
    loop.turn(6)
    assert len(item.seen) == 1


def test_a_check_may_put_itself_elsewhere(loop, wheel):
    item = Item()
    item.check = lambda now: wheel.watch(item, now + 5) or item.seen.append(now) or 0.0
    wheel.watch(item, 100.0)
    for _ in range(8):
        loop.turn()
    assert item.seen == [101.0, 106.0]


def test_what_is_forgotten_is_let_go_at_once(loop, wheel):
    """Thousands of short connections a second must not wait in memory for their deadlines."""
    item = Item()
    gone = weakref.ref(item)
    wheel.watch(item, 137.0)
    wheel.forget(item)
    wheel.forget(item)
    del item
    gc.collect()
    assert gone() is None
    assert len(wheel) == 0


def test_a_bug_in_one_check_costs_no_other_its_deadline(loop, wheel):
    items = [Item(), Item(ValueError("a bug"), 0.0), Item()]
    for item in items:
        wheel.watch(item, 101.0)
    loop.turn(3)
    assert all(len(item.seen) == 1 for item in items)
    assert [str(problem["exception"]) for problem in loop.problems] == ["a bug"]
    loop.turn(3)
    assert all(len(item.seen) == 1 for item in items)


def test_a_stopped_wheel_looks_at_nobody(loop, wheel):
    item = Item()
    wheel.watch(item, 101.0)
    wheel.stop()
    wheel.stop()
    loop.turn(5)
    assert item.seen == []
