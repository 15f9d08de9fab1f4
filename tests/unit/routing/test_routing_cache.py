"""The cache: what is fresh, ageing, stale, and who leaves first. The clock is a number."""

from random import Random

from mta.routing.answers import Answer, DnsTrouble, Kind, Reason
from mta.routing.cache import FAILURE_TTL, MAX_STALE, STALE_RECHECK, Cache

FOUND: Answer[str] = Answer(Kind.FOUND, ("192.0.2.1",), 100)
NXDOMAIN: Answer[str] = Answer(Kind.NXDOMAIN, (), 100)
TROUBLE = DnsTrouble(Reason.SERVFAIL, "a.example")


def cache(size: int = 10) -> Cache:
    return Cache(Random(1), size)


def test_an_answer_is_fresh_until_its_ttl_ends() -> None:
    answers = cache()
    answers.store("a", FOUND, 1000.0)
    lookup = answers.fresh("a", 1099.9)
    assert lookup is not None
    assert lookup.answer is FOUND
    assert answers.fresh("a", 1100.0) is None
    assert answers.fresh("b", 1000.0) is None


def test_refreshing_begins_between_80_and_90_percent_of_the_ttl_and_not_for_all_at_once() -> None:
    answers = cache(1000)
    starts = {answers.store(i, FOUND, 0.0).refresh_at for i in range(100)}
    assert all(80.0 <= start <= 90.0 for start in starts)
    assert len(starts) > 90


def test_an_expired_answer_is_stale_for_a_day_and_then_gone() -> None:
    answers = cache()
    answers.store("a", FOUND, 0.0)
    stale = answers.stale("a", 100.0)
    assert stale is not None
    assert (stale.answer, stale.stale, stale.expires) == (FOUND, True, 100.0 + STALE_RECHECK)
    assert answers.stale("a", 100.0 + MAX_STALE - 1) is not None
    assert answers.stale("a", 100.0 + MAX_STALE) is None


def test_that_a_domain_does_not_exist_is_never_served_stale() -> None:
    answers = cache()
    answers.store("a", NXDOMAIN, 0.0)
    assert answers.fresh("a", 99.0) is not None
    assert answers.stale("a", 100.0) is None


def test_a_failure_is_remembered_for_a_moment_and_longer_when_a_stale_answer_bridges_it() -> None:
    answers = cache()
    answers.fail("a", TROUBLE, 0.0)
    assert answers.failure("a", FAILURE_TTL - 0.1) is TROUBLE
    assert answers.failure("a", FAILURE_TTL) is None
    answers.store("b", FOUND, 0.0)
    answers.fail("b", TROUBLE, 100.0)
    assert answers.failure("b", 100.0 + STALE_RECHECK - 0.1) is TROUBLE
    assert answers.failure("b", 100.0 + STALE_RECHECK) is None


def test_an_answer_ends_the_memory_of_failure() -> None:
    answers = cache()
    answers.fail("a", TROUBLE, 0.0)
    answers.store("a", FOUND, 1.0)
    assert answers.failure("a", 1.0) is None


def test_the_least_recently_used_answer_leaves_when_the_cache_is_full() -> None:
    answers = cache(3)
    for key in "abc":
        answers.store(key, FOUND, 0.0)
    answers.fresh("a", 1.0)
    answers.store("d", FOUND, 1.0)
    assert [key for key in "abcd" if answers.fresh(key, 2.0)] == ["a", "c", "d"]
    assert len(answers) == 3


def test_an_answer_stored_again_is_young_again() -> None:
    answers = cache(2)
    for key in "abac":
        answers.store(key, FOUND, 0.0)
    assert [key for key in "abc" if answers.fresh(key, 1.0)] == ["a", "c"]


def test_failures_are_bounded_too() -> None:
    answers = cache(3)
    for key in range(100):
        answers.fail(key, TROUBLE, 0.0)
    assert [key for key in range(100) if answers.failure(key, 0.0)] == [97, 98, 99]
