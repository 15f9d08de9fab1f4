"""What of NOTIFY and ORCPT goes on when an address gives way to another."""

import pytest

from mta.model.forwarding import joined, stand_in, without_success
from mta.model.message import Recipient


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([None], None),
        ([None, None], None),
        (["NEVER", "NEVER"], "NEVER"),
        (["DELAY,SUCCESS"], "DELAY,SUCCESS"),
        (["FAILURE", "SUCCESS"], "SUCCESS,FAILURE"),
        (["NEVER", "FAILURE"], "FAILURE"),
        (["SUCCESS", None], "SUCCESS,FAILURE,DELAY"),
        (["NEVER", None], "FAILURE,DELAY"),
    ],
)
def test_one_notify_stands_for_several(asked, told):
    assert joined(asked) == told


@pytest.mark.parametrize(
    ("original", "orcpt"),
    [
        (Recipient("a+b@x.example", "x.example"), "rfc822;a+2Bb@x.example"),
        (Recipient("a@x.example", "x.example", orcpt="rfc822;first@y.example"), "rfc822;first@y.example"),
    ],
)
def test_who_stands_in_for_one_is_asked_about_as_that_one(original, orcpt):
    original.notify = "SUCCESS"
    assert stand_in("Trap@Z.example", [original]) == Recipient(
        "Trap@Z.example", "z.example", notify="SUCCESS", orcpt=orcpt
    )


def test_who_stands_in_for_several_has_no_original_address():
    originals = [Recipient(f"{name}@x.example", "x.example", notify="NEVER", orcpt="rfc822;q@y") for name in "ab"]
    assert stand_in("trap@z.example", originals) == Recipient("trap@z.example", "z.example", notify="NEVER")


def test_what_is_left_of_notify():
    asked = (None, "NEVER", "SUCCESS", "SUCCESS,FAILURE", "FAILURE,DELAY")
    assert [without_success(each) for each in asked] == [None, "NEVER", "NEVER", "FAILURE", "FAILURE,DELAY"]
