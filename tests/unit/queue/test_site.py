"""When a site wants one more connection."""

import pytest

from mta.model.message import due_key
from mta.queue.entry import Entry
from mta.queue.site import DEPTH, PATIENCE, Site


def site_with(ready: int, *, limit: int = 20, connections: int = 0, opening: int = 0, since: float = 0.0) -> Site:
    site: Site = Site("a.example", limit)
    for number in range(ready):
        site.ready.append(Entry(None, due_key(1, number, 0), "a.example", None, None, since))
    site.connections = connections
    site.opening = opening
    return site


def test_without_work_there_is_no_connection():
    assert not site_with(0).wants_connection(1000.0)


def test_the_first_entry_opens_the_first_connection():
    assert site_with(1).wants_connection(0.0)


def test_a_short_line_waits_for_the_connection_that_is_there():
    assert not site_with(DEPTH - 1, connections=1).wants_connection(0.0)


def test_a_line_of_its_depth_opens_another():
    assert site_with(DEPTH, connections=1).wants_connection(0.0)
    assert not site_with(DEPTH, connections=2).wants_connection(0.0)


def test_patience_ends_whatever_the_depth():
    assert not site_with(1, connections=1, since=5.0).wants_connection(5.0 + PATIENCE / 2)
    assert site_with(1, connections=1, since=5.0).wants_connection(5.1 + PATIENCE)


def test_a_connection_that_is_opening_counts_for_all_that_it_will_take():
    assert not site_with(DEPTH, connections=1, opening=1).wants_connection(1000.0)
    assert site_with(2 * DEPTH + 6 * DEPTH, connections=1, opening=1).wants_connection(0.0)


def test_the_limit_is_the_limit():
    assert not site_with(1000, limit=3, connections=3).wants_connection(1000.0)


def test_a_paused_site_waits_and_the_first_success_forgets_it():
    site = site_with(1)
    site.pause(10.0, "connection refused")
    assert not site.wants_connection(9.9)
    assert site.wants_connection(10.0)
    site.pause(30.0, "again")
    assert site.failures == 2
    site.succeeded()
    assert (site.failures, site.reason) == (0, "")
    assert site.wants_connection(10.0)


@pytest.mark.parametrize("site", [site_with(1), site_with(0, connections=1), site_with(0, opening=1)])
def test_a_site_with_anything_to_do_is_not_forgotten(site):
    assert not site.quiet()


def test_a_site_with_nothing_to_do_may_be_forgotten():
    assert site_with(0).quiet()
