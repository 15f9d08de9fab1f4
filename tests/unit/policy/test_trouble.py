"""What follows a failure: permanent only when the remote said so about this recipient or message; else try again."""

from typing import NamedTuple

import pytest

from mta.policy.trouble import Kind, Problem, Verdict, decide, permanent, tries_next_host

STAGES = ("MAIL", "RCPT", "DATA", "DOT")


class Reply(NamedTuple):
    code: int
    enhanced: str | None = None
    text: str = "words"


def said(stage, code, enhanced=None):
    return Problem.of_reply(stage, Reply(code, enhanced))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("code", [500, 550, 553, 554, 571, 599])
def test_a_refusal_of_the_message_or_recipient_is_final(stage, code):
    problem = said(stage, code)
    assert permanent(problem)
    assert decide(problem, expired=False) is decide(problem, expired=True) is Verdict.FAIL
    assert not tries_next_host(problem)


@pytest.mark.parametrize("enhanced", [None, "5.5.3"])
def test_552_to_a_recipient_too_many_passes(enhanced):
    problem = said("RCPT", 552, enhanced)
    assert (decide(problem, expired=False), problem.status) == (Verdict.RETRY, "4.5.3")
    assert decide(problem, expired=True) is Verdict.EXPIRE


@pytest.mark.parametrize(
    ("stage", "enhanced"), [("MAIL", None), ("DATA", None), ("DOT", None), ("DOT", "5.5.3"), ("RCPT", "5.2.2")]
)
def test_552_that_means_what_it_says_is_final(stage, enhanced):
    assert decide(said(stage, 552, enhanced), expired=False) is Verdict.FAIL


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("code", [400, 421, 450, 451, 452, 499])
def test_a_transient_refusal_is_tried_again_until_patience_ends(stage, code):
    assert decide(said(stage, code), expired=False) is Verdict.RETRY
    assert decide(said(stage, code), expired=True) is Verdict.EXPIRE


@pytest.mark.parametrize("code", [0, 199, 250, 354, 399, 600, 999])
def test_what_makes_no_sense_is_tried_again(code):
    assert decide(said("RCPT", code), expired=False) is Verdict.RETRY


@pytest.mark.parametrize("stage", ["GREETING", "EHLO"])
@pytest.mark.parametrize("code", [421, 450, 500, 550, 554])
def test_a_host_that_refuses_to_talk_never_fails_a_message(stage, code):
    problem = said(stage, code, f"{code // 100}.7.1")
    assert decide(problem, expired=False) is Verdict.RETRY
    assert tries_next_host(problem)


@pytest.mark.parametrize("kind", [Kind.CONNECT, Kind.LOST, Kind.UNCERTAIN, Kind.DNS, Kind.GREETING])
def test_trouble_on_the_way_is_tried_again(kind):
    assert decide(Problem(kind), expired=False) is Verdict.RETRY
    assert decide(Problem(kind), expired=True) is Verdict.EXPIRE


def test_what_was_perhaps_delivered_is_neither_failed_nor_given_to_the_next_host_at_once():
    problem = Problem(Kind.UNCERTAIN, stage="DOT")
    assert decide(problem, expired=False) is Verdict.RETRY
    assert not tries_next_host(problem)


@pytest.mark.parametrize(("kind", "next_host"), [
    (Kind.CONNECT, True), (Kind.LOST, True), (Kind.DNS, False), (Kind.ROUTING, False),
])  # fmt: skip
def test_only_a_hosts_own_trouble_sends_us_to_the_next(kind, next_host):
    assert tries_next_host(Problem(kind)) is next_host


def test_421_is_about_the_host_unless_it_answers_the_content():
    assert tries_next_host(said("MAIL", 421))
    assert not tries_next_host(said("DOT", 421))
    assert not tries_next_host(said("MAIL", 451))


@pytest.mark.parametrize("kind", [Kind.ROUTING, Kind.TOO_LARGE])
def test_what_no_retry_can_mend_fails_at_once(kind):
    assert decide(Problem(kind), expired=False) is Verdict.FAIL
    assert Problem(kind).status.startswith("5.")


@pytest.mark.parametrize(
    ("stage", "code", "enhanced", "status"),
    [("RCPT", 550, "5.1.1", "5.1.1"), ("RCPT", 550, None, "5.0.0"), ("DOT", 451, None, "4.0.0"),
     ("EHLO", 554, None, "4.0.0"), ("RCPT", 451, "4.7.1", "4.7.1")],
)  # fmt: skip
def test_the_status_is_the_remotes_else_the_class_of_its_code(stage, code, enhanced, status):
    assert said(stage, code, enhanced).status == status


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_status_and_a_word(kind):
    problem = Problem(kind)
    assert problem.status[0] == ("5" if permanent(problem) else "4")
    assert problem.text
    assert Problem(kind, status="5.1.10", text="null MX").status == "5.1.10"
