"""The values of hooks: what is no reply, field or mailbox cannot be made."""

import pytest

from mta.disk.pieces import FRONT_PIECES, PIECE
from mta.policy.hooks import FIELD_LIMIT, FIELDS_LIMIT, AddHeaders, Connection, Defer, Redirect, Reject


def test_replies_are_whole_lines():
    assert Reject().reply == b"550 5.7.1 refused by policy\r\n"
    assert Reject(554, "5.7.0", "no").reply == b"554 5.7.0 no\r\n"
    assert Defer().reply == b"450 4.7.1 try again later\r\n"
    assert Defer(421, "4.3.2", "not now").reply == b"421 4.3.2 not now\r\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (450, "4.7.1", "no"),
        (550, "4.7.1", "no"),
        (550, "5.7", "no"),
        (550, "5.7.1", "no\r\n250 ok"),
        (550, "5.7.1", "nö"),
        (550, "5.7.1", "x" * 401),
    ],
)
def test_what_is_no_refusal_cannot_be_made(arguments):
    with pytest.raises(ValueError, match=r"reply"):
        Reject(*arguments)


def test_a_deferral_is_no_refusal_for_good():
    with pytest.raises(ValueError, match="no reply 4yz"):
        Defer(550, "5.7.1", "no")


def test_fields_are_lines():
    assert AddHeaders((("X-Score", "5"), ("X-By", "us"))).octets == b"X-Score: 5\r\nX-By: us\r\n"


@pytest.mark.parametrize(
    "field", [("X Y", "a"), ("X:", "a"), ("", "a"), ("X", "a\r\nBcc: b"), ("X", "ä"), ("X", "a" * 900)]
)
def test_what_is_no_field_cannot_be_made(field):
    with pytest.raises(ValueError, match="field"):
        AddHeaders((field,))


@pytest.mark.parametrize("text", ["", "joe", "@minasi.example", "joe@", "jo e@minasi.example", "<joe@x>", "j@x\n"])
def test_what_is_no_mailbox_cannot_be_made(text):
    with pytest.raises(ValueError, match="no mailbox"):
        Redirect(text)


def test_what_a_policy_is_told_cannot_be_changed():
    with pytest.raises(AttributeError):
        Connection("192.0.2.1", "id", known=False).address = "other"  # type: ignore[misc]


def test_all_fields_have_room_in_front_of_a_content_beside_a_long_trace_field():
    longest = AddHeaders((("X" * 76, "y" * (FIELD_LIMIT - 76)),) * FIELDS_LIMIT)
    assert len(longest.octets) + 3_000 < FRONT_PIECES * PIECE
