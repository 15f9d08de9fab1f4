"""The watchdog of the event loop: one report a hang, none for a process that slept, and one when C code is to blame."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mta.services import watchdog
from mta.services.watchdog import HUNG_AFTER, LATE_LOOK, LoopWatchdog
from tests.harness.clocks import SetClock

ROOT = Path(__file__).parents[3]


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_hang_is_told_once_with_the_stack_and_its_end_with_how_long_it_was(said: list[str]) -> None:
    clock = SetClock()
    dog = LoopWatchdog("store", clock, said.append)
    dog._watched = threading.get_ident()
    dog.beat()
    dog.look(clock.seconds + HUNG_AFTER)
    assert said == []
    for late in (0.1, 1, 2):
        dog.look(clock.seconds + HUNG_AFTER + late)
    [told] = said
    assert told.startswith("mta: store: the event loop has not run for 4.1 s; it is here:\n")
    assert "test_a_hang_is_told_once" in told
    clock.seconds += 7.5
    dog.beat()
    dog.look(clock.seconds)
    assert said[1] == "mta: store: the event loop runs again, after 7.5 s\n"
    dog.look(clock.seconds + HUNG_AFTER + 1)
    assert len(said) == 3


def test_the_thread_looks_by_itself(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr(watchdog, "LOOK", 0.01)
    clock, heard = SetClock(), threading.Event()
    dog = LoopWatchdog("store", clock, lambda text: (said.append(text), heard.set()))  # type: ignore[func-returns-value]
    dog.start()
    # Moved in steps that are no sleep of the whole process.
    while not heard.wait(0.02):
        clock.seconds += LATE_LOOK / 4
    dog.stop()
    assert "test_the_thread_looks_by_itself" in said[0]


def test_a_process_that_slept_as_a_whole_is_not_taken_for_a_hang(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    looks = threading.Semaphore(0)

    class Asleep(SetClock):
        def monotonic(self) -> float:
            self.seconds += 10 * HUNG_AFTER  # every look comes late
            looks.release()
            return self.seconds

    monkeypatch.setattr(watchdog, "LOOK", 0.001)
    dog = LoopWatchdog("store", Asleep(), said.append)
    dog.start()
    for _ in range(10):
        assert looks.acquire(timeout=10)
    dog.stop()
    assert said == []


def test_a_loop_that_hangs_in_c_and_keeps_the_interpreter_is_shown_as_well() -> None:
    script = (
        "import re\n"
        "from mta.clock import SystemClock\n"
        "from mta.services import watchdog\n"
        "watchdog.LOOK, watchdog.DEAF_AFTER = 0.02, 0.3\n"
        "dog = watchdog.LoopWatchdog('store', SystemClock(), watchdog.to_stderr)\n"
        "dog.start()\n"
        "dog._ended.wait(0.1)\n"
        "def hold_the_interpreter():\n"
        "    re.match('(a+)+$', 'a' * 25 + 'b')\n"
        "hold_the_interpreter()\n"
        "dog.stop()\n"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Timeout" in done.stderr
    assert "in hold_the_interpreter" in done.stderr
