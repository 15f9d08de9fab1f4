"""The table of connections per site: the sum over all workers keeps to the limit, and the dead leave nothing behind."""

import mmap
import os

import pytest

from mta_ext.columns import columns_size
from mta_ext.shares import Shares

ROWS, WORKERS = 8, 3


@pytest.fixture
def memory():
    return mmap.mmap(-1, columns_size(ROWS, WORKERS))


def views(memory):
    return [Shares(memory, 0, ROWS, WORKERS, column) for column in range(WORKERS)]


def test_workers_share_the_limit_of_a_site(memory):
    first, second, third = views(memory)
    row = first.row("mx.example")
    assert second.row("mx.example") == row
    assert first.enter(row, 3)
    assert second.enter(row, 3)
    assert second.enter(row, 3)
    assert not third.enter(row, 3)
    assert first.total(row) == 3
    second.leave(row)
    assert third.enter(row, 3)


def test_sites_do_not_share_a_row_until_the_table_is_full(memory):
    view, *_ = views(memory)
    rows = {view.row(f"site-{n}") for n in range(ROWS)}
    assert rows == set(range(ROWS))
    assert view.row("one more") == -1
    assert view.row("site-3") in rows


def test_a_dead_workers_connections_are_taken_back(memory):
    first, second, _ = views(memory)
    row = first.row("mx.example")
    first.enter(row, 10)
    second.enter(row, 10)
    views(memory)[0].clear()
    assert second.total(row) == 1


def test_two_processes_never_pass_the_limit_together(memory):
    row = Shares(memory, 0, ROWS, WORKERS, 0).row("mx.example")
    children = []
    for column in (0, 1):
        pid = os.fork()
        if pid == 0:
            view = Shares(memory, 0, ROWS, WORKERS, column)
            passed = 0
            for _ in range(20_000):
                if view.enter(row, 1):
                    passed |= view.total(row) > 2  # the other may be looking at this moment, but not be inside
                    view.leave(row)
            os._exit(passed)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
    assert Shares(memory, 0, ROWS, WORKERS, 2).total(row) == 0


@pytest.mark.parametrize("arguments", [(4, ROWS, WORKERS, 0), (0, ROWS + 1, WORKERS, 0)])
def test_a_table_outside_its_memory_is_refused(memory, arguments):
    with pytest.raises(ValueError, match="do not lie in"):
        Shares(memory, *arguments)


def test_a_column_or_row_that_is_none_is_refused(memory):
    with pytest.raises(IndexError):
        Shares(memory, 0, ROWS, WORKERS, WORKERS)
    with pytest.raises(IndexError):
        views(memory)[0].enter(ROWS, 1)
