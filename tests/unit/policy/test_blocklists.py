"""Lists of addresses: what is asked, and what several answers come to."""

import pytest

from mta.config.units import network
from mta.policy.blocklists import BlockList, label_of, verdict

ANY = (network("127.0.0.0/8"),)
BAD = BlockList("bad.example", 1.0, ANY)
WORSE = BlockList("worse.example", 2.0, ANY)
GOOD = BlockList("good.example", -3.0, ANY)
LISTED, UNLISTED = ("127.0.0.2",), ()


@pytest.mark.parametrize(
    ("client", "label"),
    [
        ("192.0.2.99", "99.2.0.192"),
        ("::ffff:192.0.2.99", "99.2.0.192"),
        (
            "2001:db8:1:2:3:4:567:89ab",
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",  # RFC 5782 §2.4
        ),
        ("unix", None),
    ],
)
def test_an_address_is_spelt_from_behind(client, label):
    assert label_of(client) == label


@pytest.mark.parametrize(
    ("answers", "blamed"),
    [
        ((LISTED, UNLISTED, UNLISTED), "bad.example"),
        ((LISTED, LISTED, UNLISTED), "worse.example"),
        ((LISTED, LISTED, LISTED), None),
        ((UNLISTED, UNLISTED, UNLISTED), None),
        ((None, LISTED, None), "worse.example"),
        ((LISTED, LISTED, None), "worse.example"),
        ((None, None, None), None),
    ],
)
def test_weights_are_added_and_silence_weighs_nothing(answers, blamed):
    assert verdict((BAD, WORSE, GOOD), answers, 1.0) == blamed


def test_a_threshold_asks_for_more_than_one_list():
    assert verdict((BAD, WORSE), (LISTED, UNLISTED), 3.0) is None
    assert verdict((BAD, WORSE), (LISTED, LISTED), 3.0) == "worse.example"


def test_only_the_answers_that_are_meant_count():
    some = BlockList("some.example", 1.0, (network("127.0.0.2/32"), network("127.0.0.4/30")))
    assert some.lists(("127.0.0.2",))
    assert some.lists(("127.0.0.9", "127.0.0.6"))
    assert not some.lists(("127.0.0.3",))
    assert not some.lists(("127.255.255.254",)), "the answer of lists that refuse to answer"
