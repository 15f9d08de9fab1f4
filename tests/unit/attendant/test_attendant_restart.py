"""The restart policy and the shard assignment: pure decisions, the moment passed in."""

import pytest

from mta.attendant.restart import (
    GOOD_LIFE,
    LONGEST_AFTER_READY,
    LONGEST_DELAY,
    QUARANTINE_DEATHS,
    QUARANTINE_RETRY,
    QUARANTINE_WINDOW,
    START_LIMIT,
    STUCK_AFTER,
    RestartPolicy,
)
from mta.attendant.shards import assign


def test_the_first_death_is_answered_at_once_and_further_ones_in_a_row_ever_later() -> None:
    policy = RestartPolicy()
    delays = []
    for n in range(14):
        start = n * (QUARANTINE_WINDOW / (QUARANTINE_DEATHS - 1) + 1)  # slow enough to keep out of quarantine
        policy.started(start)
        delays.append(policy.died(start + 1))
    assert delays[:6] == [0, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == LONGEST_DELAY
    assert max(delays) == LONGEST_DELAY
    assert not policy.quarantined


def in_quarantine() -> RestartPolicy:
    policy = RestartPolicy()
    for n in range(QUARANTINE_DEATHS):
        assert not policy.quarantined
        policy.started(n)
        policy.died(n + 0.5)
    return policy


def test_who_never_becomes_ready_goes_into_quarantine_and_is_tried_seldom() -> None:
    policy = in_quarantine()
    assert policy.quarantined
    for n in range(1, 4):
        policy.started(n * QUARANTINE_RETRY)
        assert policy.died(n * QUARANTINE_RETRY + 0.5) == QUARANTINE_RETRY
        assert policy.quarantined


@pytest.mark.parametrize("how", ["an operator", "it became ready"])
def test_quarantine_ends_when_an_operator_says_so_or_the_service_is_ready(how: str) -> None:
    policy = in_quarantine()
    if how == "an operator":
        policy.forgive()
    policy.started(100)
    if how != "an operator":
        policy.ready(101)
    assert not policy.quarantined
    assert policy.died(102) < QUARANTINE_RETRY
    assert not policy.quarantined


def test_deaths_after_becoming_ready_lead_to_no_quarantine() -> None:
    policy = RestartPolicy()
    for n in range(3 * QUARANTINE_DEATHS):
        policy.started(n)
        policy.ready(n + 0.2)
        policy.died(n + 0.5)
    assert not policy.quarantined


def test_a_service_that_was_ready_never_stays_away_for_long() -> None:
    policy = RestartPolicy()
    delays = []
    for n in range(20):
        policy.started(n)
        policy.ready(n + 0.3)
        delays.append(policy.died(n + 0.5))
    assert delays[:6] == [0, 0.1, 0.2, 0.4, 0.8, LONGEST_AFTER_READY]
    assert max(delays) == LONGEST_AFTER_READY
    policy.started(30)
    assert policy.died(30.5) == LONGEST_DELAY


def test_a_good_life_wipes_the_record() -> None:
    policy = RestartPolicy()
    for _ in range(5):
        policy.started(0)
        policy.died(1)
    policy.started(100)
    assert policy.died(100 + GOOD_LIFE) == 0
    policy.started(200)
    assert policy.died(200 + GOOD_LIFE - 0.1) == pytest.approx(0.1)


def test_an_operator_s_start_forgives() -> None:
    policy = RestartPolicy()
    policy.started(0)
    policy.died(1)
    policy.forgive()
    policy.started(1)
    assert policy.died(2) == 0


def test_a_ready_service_is_stuck_after_silence_and_a_starting_one_much_later() -> None:
    policy = RestartPolicy()
    policy.started(0)
    assert not policy.stuck(START_LIMIT)
    assert policy.stuck(START_LIMIT + 0.1)
    policy.ready(5)
    assert not policy.stuck(5 + STUCK_AFTER)
    assert policy.stuck(5 + STUCK_AFTER + 0.1)
    policy.heard(14)
    assert not policy.stuck(14 + STUCK_AFTER)


def test_orphan_shards_go_round_the_workers_that_are_left() -> None:
    assert assign(2, []) == [[0], [1]]
    assert assign(2, [0, 1, 2, 3, 6]) == [[0, 2, 6], [1, 3]]
    assert assign(1, [4, 1]) == [[0, 1, 4]]
