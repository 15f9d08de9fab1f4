"""Which tests go together, and that who wants to be alone is, however many others come and go."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import parallel
from tests.harness.mta_server import wait_until

PATIENCE = 20.0
ROOT = parallel.ROOT


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    (tmp_path / "harness").mkdir()
    return tmp_path


class Test:
    """Takes its turn in a thread of its own, and ends when it is told to."""

    __test__ = False

    def __init__(self, tests: Path, alone: bool = False) -> None:
        self.running, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(tests, alone))
        self._thread.start()

    def _run(self, tests: Path, alone: bool) -> None:
        with parallel.turn(alone, tests):
            self.running.set()
            self._end.wait(PATIENCE)

    def end(self) -> None:
        self._end.set()
        self._thread.join(PATIENCE)


def blocked(count: int, tests: Path) -> Callable[[], bool]:
    """So many turns wait for a lock below ``tests``, as the kernel tells it."""
    inodes = {str(path.stat().st_ino) for path in (tests, tests / "harness")}

    def look() -> bool:
        rows = (line.split() for line in Path("/proc/locks").read_text().splitlines())
        return sum(row[1] == "->" and row[6].rpartition(":")[2] in inodes for row in rows) == count

    return look


def test_most_tests_run_beside_each_other(tests: Path) -> None:
    several = [Test(tests) for _ in range(3)]
    assert all(one.running.wait(PATIENCE) for one in several)
    for one in several:
        one.end()


def test_who_wants_to_be_alone_waits_for_the_others_and_is_overtaken_by_none(tests: Path) -> None:
    first = Test(tests)
    assert first.running.wait(PATIENCE)
    alone = Test(tests, alone=True)
    wait_until(blocked(1, tests), "one waits to be alone")
    late = Test(tests)
    wait_until(blocked(2, tests), "another waits behind it")
    assert not alone.running.is_set()
    assert not late.running.is_set()
    first.end()
    assert alone.running.wait(PATIENCE)
    assert not late.running.is_set()
    alone.end()
    assert late.running.wait(PATIENCE)
    late.end()


def test_a_turn_ends_with_an_error_too(tests: Path) -> None:
    with pytest.raises(ZeroDivisionError), parallel.turn(True, tests):
        raise ZeroDivisionError
    with parallel.turn(True, tests):
        pass


@pytest.mark.parametrize("start", [*parallel.ALONE, *parallel.TOGETHER, *parallel.FIRST])
def test_every_name_in_the_tables_is_one_of_a_file_or_a_directory(start: str) -> None:
    path, _, test = start.partition("::")
    assert (ROOT / path).exists()
    assert f"def {test}(" in (ROOT / path).read_text() if test else True


def test_tests_of_a_file_go_together_and_some_files_do() -> None:
    assert parallel.scope("tests/unit/test_clock.py::test_a[1]") == "tests/unit/test_clock.py"
    crash, differential = (f"{start}test_x.py::test_y" for start in parallel.TOGETHER)
    assert parallel.scope(crash) == parallel.scope(differential)
    assert {parallel.scope(f"{start}[1]") for start in parallel.ALONE} == {"alone"}


def test_who_wants_to_be_alone_comes_last_and_what_takes_long_first() -> None:
    names = ["tests/unit/test_clock.py::a", f"{parallel.ALONE[0]}test_x.py::b", "tests/interop/test_y.py::c"]
    assert [name[-1] for name in sorted(names, key=parallel.rank)] == ["c", "a", "b"]
