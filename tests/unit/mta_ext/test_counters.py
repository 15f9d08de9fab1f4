"""Counters in shared memory: arithmetic on one row, limits, and what another process sees."""

import math
import mmap
import os

import pytest

from mta_ext.counters import Counters, define_bounds


@pytest.fixture
def memory():
    return mmap.mmap(-1, 4096)


def test_a_row_counts_sets_and_forgets(memory):
    row = Counters(memory, 64, 4)
    row.add(0)
    row.add(0, 41)
    row.add(1, -3)
    row.set(3, 1 << 62)
    assert [row.get(i) for i in range(4)] == [42, -3, 0, 1 << 62]
    assert row.snapshot() == [42, -3, 0, 1 << 62]
    row.clear()
    assert row.snapshot() == [0, 0, 0, 0]


def test_rows_of_one_memory_do_not_touch_each_other(memory):
    first, second = Counters(memory, 0, 8), Counters(memory, 64, 8)
    first.add(7)
    second.add(0, 5)
    assert first.snapshot() == [0] * 7 + [1]
    assert second.snapshot() == [5] + [0] * 7
    first.clear()
    assert second.get(0) == 5


@pytest.mark.parametrize("slot", [-1, 4, 1 << 40])
def test_a_slot_outside_the_row_is_refused(memory, slot):
    row = Counters(memory, 0, 4)
    for call in (row.add, row.get, lambda s: row.set(s, 1)):
        with pytest.raises(IndexError, match="is outside"):
            call(slot)


@pytest.mark.parametrize(("offset", "slots"), [(-8, 4), (4, 4), (4096, 1), (0, 513), (0, 0)])
def test_a_row_that_does_not_lie_in_the_memory_is_refused(memory, offset, slots):
    with pytest.raises(ValueError, match="does not lie in"):
        Counters(memory, offset, slots)


def test_read_only_memory_is_refused():
    with pytest.raises(BufferError):
        Counters(b"\0" * 64, 0, 4)


def test_a_value_falls_into_the_first_bucket_that_holds_it(memory):
    row = Counters(memory, 0, 8)
    handle = define_bounds((0.1, 1.0, 10.0))
    for value in (0.05, 0.1, 0.5, 10.0, 11.0):
        row.observe(1, handle, value)
    assert row.snapshot() == [0, 2, 1, 1, 1, 21_650_000, 5, 0]


def test_nonsense_values_do_not_poison_the_sum(memory):
    row = Counters(memory, 0, 8)
    handle = define_bounds((0.1, 1.0, 10.0))
    for value in (math.nan, -5.0):
        row.observe(0, handle, value)
    assert row.snapshot()[:6] == [2, 0, 0, 0, 0, 2]
    row.observe(0, handle, math.inf)
    assert row.get(4) == 10**18


def test_a_histogram_must_fit_into_the_row(memory):
    row = Counters(memory, 0, 5)
    handle = define_bounds((0.1, 1.0, 10.0))
    with pytest.raises(IndexError):
        row.observe(0, handle, 1.0)
    with pytest.raises(IndexError):
        row.observe(-1, handle, 1.0)
    with pytest.raises(IndexError, match="no bounds are defined"):
        row.observe(0, 1000, 1.0)
    assert row.snapshot() == [0] * 5


def test_the_same_bounds_share_a_handle_and_others_do_not():
    assert define_bounds((1.0, 2.0)) == define_bounds((1.0, 2.0)) != define_bounds((1.0, 3.0))


@pytest.mark.parametrize("bounds", [(), (2.0, 1.0), (1.0, 1.0), tuple(range(33))])
def test_bounds_must_grow_and_be_few(bounds):
    with pytest.raises(ValueError, match="growing bounds"):
        define_bounds(bounds)


def test_another_process_sees_what_was_counted(memory):
    row = Counters(memory, 0, 2)
    child = os.fork()
    if child == 0:
        Counters(memory, 0, 2).add(1, 7)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert row.get(1) == 7
