"""When it is tried again: the schedule, its spread, the end of patience, and one word to the sender in between."""

import pytest

from mta.model.message import Message, Recipient
from mta.policy.retry import SPREAD, RetryPolicy

HOUR = 3_600_000


def policy(random=lambda: 0.0, warn_after=4 * 3600):
    return RetryPolicy([60, 300, 3600], 5 * 86400, warn_after, random)


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 60), (1, 60), (2, 300), (3, 3600), (4, 3600), (99, 3600)])
def test_each_attempt_waits_longer_and_the_last_interval_repeats(attempts, seconds):
    assert policy().next_due(attempts, 1000) == 1000 + seconds * 1000


def test_what_failed_together_does_not_come_back_together():
    assert policy(random=lambda: 1.0).next_due(3, 0) == int(HOUR * (1 + SPREAD))
    assert policy(random=lambda: 0.5).next_due(3, 0) == int(HOUR * (1 + SPREAD / 2))


def test_the_next_attempt_is_never_now():
    assert RetryPolicy([0.0001], 1, 0, lambda: 0.0).next_due(1, 7) > 7


def test_a_schedule_without_intervals_is_refused():
    with pytest.raises(ValueError, match="at least one interval"):
        RetryPolicy([], 1, 1, lambda: 0.0)


def test_patience_ends_after_five_days_and_not_a_millisecond_earlier():
    assert not policy().expired(1000, 1000 + 120 * HOUR - 1)
    assert policy().expired(1000, 1000 + 120 * HOUR)
    assert policy().give_up_at(1000) == 1000 + 120 * HOUR


def message(**facts):
    tried = Recipient("a@x", "x", attempts=3)
    told = Recipient("b@x", "x", attempts=3, warned=True)
    fresh = Recipient("c@x", "x")
    return Message(
        **({"id": 1, "reverse_path": "s@y", "recipients": [tried, told, fresh], "size": 1, "arrival": 0} | facts)
    )


def test_a_sender_is_warned_once_about_those_that_were_tried():
    late = message()
    assert policy().to_warn(late, late.recipients, 4 * HOUR) == [late.recipients[0]]
    assert policy().to_warn(late, late.recipients, 4 * HOUR - 1) == []


def test_what_the_sender_has_it_wait_is_no_delay():
    held = message(held_until=200 * HOUR)
    assert held.waiting_since == 200 * HOUR
    assert policy().to_warn(held, held.recipients, 204 * HOUR - 1) == []
    assert policy().to_warn(held, held.recipients, 204 * HOUR) == [held.recipients[0]]
    assert not policy().expired(held.waiting_since, 320 * HOUR - 1)
    assert message(arrival=7).waiting_since == 7


@pytest.mark.parametrize("facts", [{"reverse_path": ""}, {"generated": True}])
def test_reports_are_never_warned_about(facts):
    late = message(**facts)
    assert policy().to_warn(late, late.recipients, 100 * HOUR) == []


def test_warnings_can_be_turned_off():
    late = message()
    assert policy(warn_after=0).to_warn(late, late.recipients, 100 * HOUR) == []
