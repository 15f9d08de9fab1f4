"""Spool ids sort by time, as numbers and as text, whatever the clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.errors import DataError
from mta.model.spoolid import COUNTER_BITS, SHARD_BITS, IdSource, format_id, parse_id, shard_of

ids = st.integers(min_value=0, max_value=(1 << 64) - 1)


def arrival_of(spool_id):
    return spool_id >> (SHARD_BITS + COUNTER_BITS)


class FakeClock:
    def __init__(self, *moments):
        self.moments = list(moments)

    def now_ms(self):
        return self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]

    def monotonic(self):
        return 0.0


@given(ids)
def test_what_is_printed_is_parsed_again_in_either_case(spool_id):
    assert parse_id(format_id(spool_id)) == parse_id(format_id(spool_id).lower()) == spool_id


@given(ids, ids)
def test_text_order_is_number_order(one, other):
    assert (format_id(one) < format_id(other)) == (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0" * 14,
        "G000000000000",
        "000000000000I",
        "000000000000L",
        "000000000000U",
        "0000000 00000",
        "٣" * 13,
    ],
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(DataError, match="is not a queue id"):
        parse_id(text)


def test_an_id_tells_its_shard_and_its_moment():
    spool_id = IdSource(7, FakeClock(1_795_484_322_123)).next()
    assert (shard_of(spool_id), arrival_of(spool_id)) == (7, 1_795_484_322_123)


def test_ids_grow_when_the_clock_is_set_back():
    source = IdSource(0, FakeClock(5000, 4000, 3000, 6000))
    made = [source.next() for _ in range(4)]
    assert made == sorted(set(made))
    assert [arrival_of(i) for i in made] == [5000, 5000, 5000, 6000]


def test_more_ids_than_one_millisecond_holds_go_on_in_the_next():
    source = IdSource(3, FakeClock(5000))
    made = [source.next() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert arrival_of(made[-1]) == 5001
    assert {shard_of(i) for i in made} == {3}


@pytest.mark.parametrize("shard", [-1, 256])
def test_a_shard_that_eight_bits_cannot_name_is_refused(shard):
    with pytest.raises(ValueError, match="outside"):
        IdSource(shard, FakeClock(1))
