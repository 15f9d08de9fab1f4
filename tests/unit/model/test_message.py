"""A message in our custody: its record, its groups, and the keys that put it in order of time."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.model.message import HELD, Message, Recipient, RecipientState, due_key, groups_of, members, split_due_key

times = st.integers(min_value=0, max_value=HELD)
ids = st.integers(min_value=0, max_value=(1 << 64) - 1)
groups = st.integers(min_value=0, max_value=65535)


def message():
    domains = ["a.example", "b.example", "a.example", "c.example", "b.example"]
    return Message(1, "s@y", [Recipient(f"r{i}@{domain}", domain) for i, domain in enumerate(domains)], 10, 20)


@given(times, ids, groups)
def test_a_due_key_is_read_back(due, spool_id, group):
    assert split_due_key(due_key(due, spool_id, group)) == (due, spool_id, group)


@given(st.tuples(times, ids, groups), st.tuples(times, ids, groups))
def test_due_keys_sort_by_time_then_id_then_group(one, other):
    assert (due_key(*one) < due_key(*other)) == (one < other)


@given(times, ids)
def test_what_is_held_comes_after_all_that_is_due(due, spool_id):
    assert due_key(due, spool_id, 0)[:8] <= due_key(HELD, 0, 0)[:8]


def test_a_group_is_numbered_by_its_first_recipient_and_keeps_its_number():
    made = message()
    assert groups_of(made.recipients) == {"a.example": 0, "b.example": 1, "c.example": 3}
    made.recipients[0].state = RecipientState.DELIVERED
    assert groups_of(made.recipients) == {"a.example": 0, "b.example": 1, "c.example": 3}


def test_members_of_a_group_are_those_still_queued_in_order():
    made = message()
    assert [r.forward_path for r in members(made, 0)] == ["r0@a.example", "r2@a.example"]
    made.recipients[0].state = RecipientState.FAILED
    assert [r.forward_path for r in members(made, 0)] == ["r2@a.example"]
    assert len(made.queued()) == 4


def test_a_record_survives_its_encoding_and_older_records_are_still_read():
    made = message()
    made.envid = "x"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Message) == made
    older = msgspec.msgpack.encode([1, "s@y", [["r@a", "a"]], 10, 20])
    read = msgspec.msgpack.decode(older, type=Message)
    assert read.recipients == [Recipient("r@a", "a")]
    assert read.protocol == "ESMTP"
    assert (read.smtputf8, read.binary, read.requiretls) == (False, False, False)
    assert (read.priority, read.deliver_by, read.by_mode, read.submitter) == (0, 0, "", "")


def test_what_the_sender_asked_of_every_host_survives_its_encoding():
    made = message()
    made.smtputf8 = made.binary = made.requiretls = True
    made.priority, made.deliver_by, made.by_mode, made.submitter = -9, 1_700_000_000_000, "NT", "i@y"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Message) == made


@pytest.mark.parametrize("state", [s for s in RecipientState if s is not RecipientState.QUEUED])
def test_only_queued_recipients_are_ours_to_deliver(state):
    made = message()
    for recipient in made.recipients:
        recipient.state = state
    assert made.queued() == []
