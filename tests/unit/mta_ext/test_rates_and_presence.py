"""Rates and presence in shared memory: limits over several views, places given to others, nothing left over."""

import mmap
from random import Random

import pytest

from mta_ext.columns import columns_size
from mta_ext.throttle import REFUSED, UNCOUNTED, Presence, Rates, rates_size

SECOND = 1_000_000


def rates(sets: int = 64) -> tuple[Rates, Rates]:
    """Two workers' views of one table."""
    memory = mmap.mmap(-1, rates_size(sets))
    return Rates(memory, 0, sets), Rates(memory, 0, sets)


def presence(rows: int = 64, columns: int = 2) -> list[Presence]:
    memory = mmap.mmap(-1, columns_size(rows, columns))
    return [Presence(memory, 0, rows, columns, column) for column in range(columns)]


def test_a_burst_passes_and_then_one_an_interval():
    here, _ = rates()
    assert [here.spend(7, 0, SECOND, 5) for _ in range(7)] == [True] * 5 + [False] * 2
    assert here.owes(7, 0, SECOND) == 5
    assert not here.spend(7, SECOND - 1, SECOND, 5)
    assert here.spend(7, SECOND, SECOND, 5)
    assert not here.spend(7, SECOND, SECOND, 5)
    assert here.owes(7, 100 * SECOND, SECOND) == 0


def test_the_limit_is_that_of_all_workers_together():
    here, there = rates()
    assert all(view.spend(7, 0, SECOND, 6) for view in (here, there) * 3)
    assert not here.spend(7, 0, SECOND, 6)
    assert not there.spend(7, 0, SECOND, 6)


def test_what_is_refused_costs_nothing():
    here, _ = rates()
    assert here.spend(7, 0, SECOND, 5, 4)
    assert not here.spend(7, 0, SECOND, 5, 2)
    assert here.spend(7, 0, SECOND, 5, 1)


def test_keys_do_not_disturb_each_other_until_all_places_owe():
    here, _ = rates(1)
    for key in range(1, 9):
        assert here.spend(key, 0, SECOND, 100, 10 * key)
    assert here.spend(99, 0, SECOND, 100)
    assert here.owes(1, 0, SECOND) == 0, "the one who owed least had to go"
    assert [here.owes(key, 0, SECOND) for key in range(2, 9)] == [10 * key for key in range(2, 9)]


def test_a_place_that_owes_nothing_any_more_is_anybodys():
    here, _ = rates(1)
    for key in range(1, 9):
        here.spend(key, 0, SECOND, 100, key)
    here.spend(99, 4 * SECOND, SECOND, 100)
    assert here.owes(8, 4 * SECOND, SECOND) == 4


def test_many_keys_keep_to_what_was_promised():
    """Against a model, with room enough that nobody is forgotten."""
    here, there = rates(4096)
    random, model, now = Random(1), dict.fromkeys(range(1, 200), 0), 0
    for _ in range(20_000):
        now += random.randrange(SECOND // 20)
        key, amount = random.randrange(1, 200), random.randrange(1, 4)
        due = max(model[key], now) + amount * SECOND
        fits = due <= now + 10 * SECOND
        assert random.choice((here, there)).spend(key, now, SECOND, 10, amount) is fits
        if fits:
            model[key] = due


def test_a_client_has_its_connections_over_all_workers():
    here, there = presence()
    rows = [here.enter(7, 3), there.enter(7, 3), there.enter(7, 3)]
    assert len(set(rows)) == 1
    assert here.enter(7, 3) == there.enter(7, 3) == REFUSED
    there.leave(rows[1])
    assert here.enter(7, 3) == rows[0]


def test_a_dead_workers_connections_are_taken_back():
    here, there = presence()
    here.enter(7, 2)
    there.enter(7, 2)
    there.clear()
    assert here.enter(7, 2) >= 0
    assert here.enter(7, 2) == REFUSED


def test_a_row_without_connections_goes_to_the_next_client_and_a_full_table_counts_nobody():
    [only] = presence(rows=4, columns=1)
    rows = [only.enter(key, 1) for key in (4, 8, 12, 16)]
    assert sorted(rows) == [0, 1, 2, 3]
    assert only.enter(20, 1) == UNCOUNTED
    only.leave(rows[1])
    assert only.enter(20, 1) == rows[1]
    assert only.enter(8, 1) == UNCOUNTED


def test_places_outside_the_memory_are_refused():
    memory = mmap.mmap(-1, 4096)
    with pytest.raises(ValueError, match="do not lie"):
        Rates(memory, 0, 4096)
    with pytest.raises(ValueError, match="do not lie"):
        Presence(memory, 8, 4096, 2, 0)
    with pytest.raises(IndexError):
        Presence(memory, 0, 8, 2, 2)
    with pytest.raises(IndexError):
        Presence(memory, 0, 8, 2, 0).leave(8)
