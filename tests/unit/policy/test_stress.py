"""Stress begins at a mark, ends well below it and not at once, and lets some of the idle go."""

import pytest

from mta.policy.stress import CALM, Look, Stress

CALM_LOOK = Look(0.1, 0.01, 0.01, 0.1, 0.1)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Look(connections=0.8), "connections"),
        (Look(lag=0.5), "lag"),
        (Look(commit=1.0), "commit"),
        (Look(memory=1.0), "memory"),
        (Look(descriptors=0.9), "descriptors"),
        (Look(connections=0.9, memory=2.0), "connections, memory"),
    ],
)
def test_each_measure_begins_it(seen, reason):
    stress = Stress(0.8)
    assert not stress.look(CALM_LOOK)
    assert not stress
    assert stress.look(seen)
    assert stress
    assert stress.reason == reason
    assert not stress.look(seen), "it began before"


def test_it_does_not_come_and_go_around_its_mark():
    stress = Stress(0.8)
    assert stress.look(Look(connections=0.8))
    assert not any(stress.look(Look(connections=value)) for value in (0.79, 0.81, 0.61, 0.7) * 5)
    assert stress


def test_it_ends_after_some_calm_looks_in_a_row():
    stress = Stress(0.8)
    stress.look(Look(lag=2.0))
    looks = [CALM_LOOK] * (CALM - 1) + [Look(lag=0.4)] + [CALM_LOOK] * CALM
    assert [stress.look(seen) for seen in looks] == [False] * (len(looks) - 1) + [True]
    assert not stress
    assert stress.reason == ""


def test_a_mark_of_nothing_is_none():
    stress = Stress(0.0)
    assert not stress.look(Look(connections=1.0))


def test_a_part_of_the_idle_goes_with_each_look():
    stress = Stress(0.8)
    assert stress.shed(100) == 0
    stress.look(Look(connections=1.0))
    assert [stress.shed(idle) for idle in (0, 1, 3, 100)] == [0, 1, 1, 25]
