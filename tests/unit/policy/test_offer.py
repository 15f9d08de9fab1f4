"""What a remote is told about a message, for everything that a message may ask and a remote may offer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.model.message import Message, Recipient
from mta.policy.offer import PLAIN, Offer, Sending, asks_for, is_plain, offer_of, passed_on, sending, told_of_relaying
from mta.policy.trouble import Kind, Problem, Verdict, decide

NOW = 1_795_484_322_000
ALL = Offer(True, True, True, True, True, True, 0)
NONE = Offer()


def message(**changes) -> Message:
    facts = {"reverse_path": "a@x.example", "recipients": [Recipient("b@y.example", "y.example")]} | changes
    return Message(1, facts.pop("reverse_path"), facts.pop("recipients"), 10, NOW, **facts)


def decided(offer: Offer, head: bytes = b"Subject: x\r\n", **changes) -> Sending | Problem:
    made = message(**changes)
    return sending(made, made.recipients, offer, NOW, lambda: head)


def refused(offer: Offer, **changes) -> str:
    problem = decided(offer, **changes)
    assert isinstance(problem, Problem)
    assert decide(problem, expired=False) is Verdict.FAIL
    return problem.status


def test_keywords_are_read():
    said = {"8BITMIME": "", "CHUNKING": "", "BINARYMIME": "", "DSN": "", "SMTPUTF8": "", "REQUIRETLS": "",
            "MT-PRIORITY": "MIXER", "DELIVERBY": "240", "LIMITS": "RCPTMAX=20 mailmax=5 RCPTDOMAINMAX=1"}  # fmt: skip
    assert offer_of(said, verified=True) == Offer(True, True, True, True, True, True, 240, 20, 5, 1)
    assert not offer_of(said).requiretls, "TLS that nobody has checked"
    assert not offer_of({"BINARYMIME": ""}).binary, "without CHUNKING there is no way to send it"
    assert offer_of({"DELIVERBY": ""}).least_by == 0
    assert offer_of({}, lmtp=True) == Offer(last_hop=True)


@pytest.mark.parametrize(
    "text", ["RCPTMAX", "RCPTMAX=", "RCPTMAX=x", "RCPTMAX=-1", "RCPTMAX=" + "9" * 99, "=1", "RCPTMAX=²"]
)
def test_a_limit_that_is_none_is_not_one(text: str):
    assert offer_of({"LIMITS": text}).limit == 0


def test_an_ordinary_message_is_plain_and_says_nothing():
    made = message(eight_bit=True)
    assert is_plain(made, made.recipients, ALL)
    assert not is_plain(made, made.recipients, NONE)
    assert decided(ALL) == PLAIN == decided(NONE)


@pytest.mark.parametrize(
    "changes",
    [
        {"envid": "x"}, {"ret": "HDRS"}, {"smtputf8": True}, {"binary": True}, {"requiretls": True}, {"priority": -3},
        {"deliver_by": NOW}, {"reverse_path": "ä@x.example"}, {"recipients": [Recipient("ä@y.example", "y.example")]},
        {"recipients": [Recipient("b@y.example", "y.example", notify="NEVER")]},
        {"recipients": [Recipient("b@y.example", "y.example", orcpt="rfc822;b@y")]},
    ],
)  # fmt: skip
def test_whatever_asks_for_something_is_not_plain(changes):
    made = message(**changes)
    assert not is_plain(made, made.recipients, ALL)


def test_dsn_is_passed_on_where_it_is_understood():
    people = [Recipient("b@y.example", "y.example", notify="SUCCESS,DELAY", orcpt="rfc822;B+2Bc@y.example"),
              Recipient("c@y.example", "y.example")]  # fmt: skip
    found = decided(ALL, envid="QQ+2B314159", ret="FULL", recipients=people)
    each = ["NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+2Bc@y.example", ""]
    assert found == Sending("RET=FULL ENVID=QQ+2B314159", each)
    assert decided(NONE, envid="x", ret="FULL", recipients=people) == PLAIN
    assert [passed_on(each, NONE) for each in people] == [False, True]
    assert [passed_on(each, ALL) for each in people] == [True, True]


@pytest.mark.parametrize(
    ("notify", "events"),
    [(None, "FAILURE DELAY"), ("NEVER", ""), ("SUCCESS", "SUCCESS"), ("failure,delay", "FAILURE DELAY")],
)
def test_notify_says_what_is_told(notify, events: str):
    recipient = Recipient("b@y.example", "y.example", notify=notify)
    assert [e for e in ("SUCCESS", "FAILURE", "DELAY") if asks_for(recipient, e)] == events.split()


def test_utf8_is_said_where_it_is_offered_and_left_out_where_nothing_needs_it():
    beyond = [Recipient("ü@y.example", "y.example")]
    assert decided(ALL, smtputf8=True) == Sending(smtputf8=True)
    assert decided(NONE, smtputf8=True) == PLAIN
    assert refused(NONE, smtputf8=True, recipients=beyond) == "5.6.7"
    assert refused(NONE, recipients=beyond) == "5.6.7", "behind an alias perhaps"
    assert refused(NONE, smtputf8=True, reverse_path="ü@x.example") == "5.6.7"
    assert refused(NONE, smtputf8=True, head="Subject: ü\r\n".encode()) == "5.6.7"
    assert decided(ALL, recipients=beyond) == Sending(smtputf8=True)


def test_an_original_recipient_in_utf8_goes_only_with_smtputf8():
    people = [Recipient("b@y.example", "y.example", orcpt="utf-8;ü@y.example")]
    found = decided(ALL, smtputf8=True, recipients=people)
    assert isinstance(found, Sending)
    assert found.recipient_parameters == ["ORCPT=utf-8;ü@y.example"]
    assert decided(ALL._replace(smtputf8=False), smtputf8=True, recipients=people) == PLAIN


def test_requiretls_goes_to_who_offers_it_or_comes_back():
    assert decided(ALL, requiretls=True) == Sending("REQUIRETLS")
    assert refused(ALL._replace(requiretls=False), requiretls=True) == "5.7.30"
    assert decided(Offer(last_hop=True), requiretls=True, smtputf8=True) == PLAIN, "a mailbox is no relay"


@pytest.mark.parametrize(
    ("seconds", "mode", "offer", "expected"),
    [
        (60, "R", ALL, "BY=60;R"), (60, "RT", ALL, "BY=60;RT"), (60, "N", ALL, "BY=60;N"), (-5, "N", ALL, "BY=-5;N"),
        (0, "R", ALL, "5.4.7"), (-1, "RT", ALL, "5.4.7"), (-1, "R", NONE, "5.4.7"), (60, "R", NONE, "5.3.3"),
        (60, "R", Offer(last_hop=True), ""), (60, "N", NONE, ""), (60, "R", Offer(least_by=240), "5.4.7"),
        (240, "R", Offer(least_by=240), "BY=240;R"), (60, "N", Offer(least_by=240), "BY=60;N"),
    ],
)  # fmt: skip
def test_a_deadline_is_what_is_left_of_it(seconds, mode, offer, expected):
    found = decided(offer, deliver_by=NOW + seconds * 1000, by_mode=mode)
    assert (found.status if isinstance(found, Problem) else found.parameters) == expected


def test_a_priority_is_passed_on():
    assert decided(ALL, priority=-4) == Sending("MT-PRIORITY=-4")
    assert decided(NONE, priority=4) == PLAIN


@pytest.mark.parametrize(
    ("eight_bit", "binary", "offer", "expected"),
    [
        (True, False, ALL, PLAIN), (True, False, NONE, Sending(convert=True)), (True, True, ALL, Sending(binary=True)),
        (False, True, NONE, Sending(convert=True)), (True, True, Offer(eight_bit=True), Sending(convert=True)),
    ],
)  # fmt: skip
def test_content_is_converted_only_when_the_remote_cannot_take_it(eight_bit, binary, offer, expected):
    assert decided(offer, eight_bit=eight_bit, binary=binary) == expected


@given(
    st.builds(Offer, *[st.booleans()] * 6, st.sampled_from([-1, 0, 99])),
    st.fixed_dictionaries(
        {"smtputf8": st.booleans(), "binary": st.booleans(), "eight_bit": st.booleans(), "requiretls": st.booleans(),
         "priority": st.integers(-9, 9), "deliver_by": st.sampled_from([0, NOW - 1, NOW + 5000]),
         "by_mode": st.sampled_from(["R", "N", "NT"]), "ret": st.sampled_from([None, "FULL"]),
         "reverse_path": st.sampled_from(["", "a@x.example", "ü@x.example"])}
    ),
)  # fmt: skip
def test_nothing_is_said_that_is_not_offered(offer: Offer, changes):
    found = decided(offer, **changes)
    if isinstance(found, Problem):
        assert found.kind in (Kind.LACKING, Kind.DEADLINE)
        return
    keywords = {word.partition("=")[0] for word in found.parameters.split()}
    allowed = {"RET": offer.dsn, "REQUIRETLS": offer.requiretls, "MT-PRIORITY": offer.priority,
               "BY": offer.least_by >= 0}  # fmt: skip
    assert all(allowed[keyword] for keyword in keywords)
    assert offer.smtputf8 or not found.smtputf8
    assert offer.binary or not found.binary


@pytest.mark.parametrize(
    ("mode", "notify", "offer", "told"),
    [
        ("N", None, NONE, True),  # the host does not know the deadline
        ("N", "FAILURE", NONE, True),
        ("N", "NEVER", NONE, False),
        ("N", "SUCCESS", ALL, False),
        ("R", None, NONE, False),
        ("RT", None, ALL, True),
        ("NT", None, ALL, True),
        ("NT", "never", ALL, False),
        ("RT", None, NONE._replace(last_hop=True), False),
        ("N", None, NONE._replace(last_hop=True), False),
    ],
)
def test_deadlines_have_reports_of_relaying(mode, notify, offer, told):
    asked = message(deliver_by=NOW + 1000, by_mode=mode)
    assert told_of_relaying(asked, Recipient("b@y.example", "y.example", notify=notify), offer) is told
