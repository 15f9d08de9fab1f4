"""Failures: how many are free, how answers grow late, how they are forgotten, and who is one client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.policy import failures as module
from mta.policy.failures import DELAY_LIMIT, Failures, client_of

RATE = 10 / 60


def test_a_minutes_worth_is_free_and_each_one_beyond_adds_a_second():
    failures = Failures(RATE)
    delays = []
    for _ in range(13):
        failures.record("a", 0.0)
        delays.append(failures.delay("a", 0.0))
    assert delays == pytest.approx([0.0] * 10 + [1.0, 2.0, 3.0])
    assert failures.delay("b", 0.0) == 0.0


def test_the_delay_has_a_bound():
    failures = Failures(RATE)
    for _ in range(1000):
        failures.record("a", 0.0)
    assert failures.delay("a", 0.0) == pytest.approx(DELAY_LIMIT)


def test_failures_are_forgotten_at_their_rate():
    failures = Failures(RATE)
    for _ in range(12):
        failures.record("a", 0.0)
    assert failures.delay("a", 6.0) == pytest.approx(1.0)
    assert failures.delay("a", 12.0) == 0.0
    assert failures.suspect("a", 71.0)
    assert not failures.suspect("a", 73.0)
    assert failures._clients == {}


def test_without_a_rate_nobody_is_held_back():
    failures = Failures(0.0)
    for _ in range(100):
        failures.record("a", 0.0)
    assert failures.delay("a", 0.0) == 0.0
    assert not failures.suspect("a", 0.0)


def test_clients_that_are_remembered_have_a_bound(monkeypatch):
    monkeypatch.setattr(module, "CLIENTS_LIMIT", 3)
    failures = Failures(RATE)
    for client in ("a", "b", "c", "a", "d", "e"):
        failures.record(client, 0.0)
    assert set(failures._clients) == {"a", "d", "e"}


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002::/64"),
        ("2001:db8:1:2::1", "2001:0db8:0001:0002::/64"),
        ("fe80::1%eth0", "fe80:0000:0000:0000::/64"),
        ("", ""),
        ("unix", ""),
    ],
)
def test_who_is_one_client(address, client):
    assert client_of(address) == client


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20)), max_size=60))
def test_no_failure_makes_another_client_late_and_time_only_helps(steps):
    failures = Failures(RATE)
    now, met = 0.0, set()
    for client, pause in steps:
        now += pause
        failures.record(client, now)
        met.add(client)
        assert 0.0 <= failures.delay(client, now) <= DELAY_LIMIT + 1e-9
        assert failures.delay(client, now + 5) <= failures.delay(client, now)
        for other in {"a", "b"} - met:
            assert failures.delay(other, now) == 0.0
