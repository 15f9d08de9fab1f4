"""From MX records to hosts: the decisions, without any look-up."""

from random import Random

import pytest

from mta.routing.answers import Answer, Kind, MxRecord
from mta.routing.destination import MAX_SITE_NAME, Host, RoutingError, site_name
from mta.routing.mx import MAX_HOSTS, better_than_ours, hosts_of, shuffled


def hosts(*records: tuple[int, str], own: frozenset[str] = frozenset(), seed: int = 1) -> list[tuple[int, str]]:
    answer = Answer(Kind.FOUND, tuple(MxRecord(*r) for r in records), 300)
    found = hosts_of("minasi.example", answer, port=2600, own_names=own, random=Random(seed))
    assert all(host.port == 2600 and host.addresses == () for host in found)
    return [(host.preference, host.name) for host in found]


def refusal(answer: Answer[MxRecord], own: frozenset[str] = frozenset()) -> RoutingError:
    with pytest.raises(RoutingError) as caught:
        hosts_of("minasi.example", answer, port=25, own_names=own, random=Random(1))
    assert caught.value.permanent
    return caught.value


def test_hosts_come_by_preference_whatever_the_order_of_the_records() -> None:
    assert hosts((20, "b.example"), (5, "a.example"), (10, "c.example")) == [
        (5, "a.example"),
        (10, "c.example"),
        (20, "b.example"),
    ]


def test_equal_preferences_take_turns_and_better_ones_stay_in_front() -> None:
    firsts = {tuple(hosts((1, "x.example"), (5, "a.example"), (5, "b.example"), seed=s)) for s in range(20)}
    assert len(firsts) == 2
    assert all(order[0] == (1, "x.example") for order in firsts)


def test_shuffling_again_keeps_the_preference() -> None:
    some = [Host(f"h{i}.example", 25, i // 3) for i in range(9)]
    orders = {tuple(shuffled(some, Random(seed))) for seed in range(10)}
    assert len(orders) > 1
    assert all([h.preference for h in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2] for order in orders)


def test_no_mx_record_means_the_domain_itself() -> None:
    answer: Answer[MxRecord] = Answer(Kind.NODATA, (), 300)
    found = hosts_of("minasi.example", answer, port=25, own_names=frozenset(), random=Random(1))
    assert found == (Host("minasi.example", 25, 0),)


def test_a_domain_that_does_not_exist_is_5_1_2() -> None:
    assert refusal(Answer(Kind.NXDOMAIN, (), 300)).status == "5.1.2"


def test_a_null_mx_is_5_1_10() -> None:
    assert refusal(Answer(Kind.FOUND, (MxRecord(0, "."),), 300)).status == "5.1.10"


def test_a_root_beside_other_hosts_is_no_null_mx_and_is_skipped() -> None:
    assert hosts((0, "."), (10, "a.example")) == [(10, "a.example")]


@pytest.mark.parametrize(
    "target",
    [
        "192.0.2.1",
        "2001:db8::1",
        "a b.example",
        "a..example",
        "-a.example",
        "x" * 64 + ".example",
        "a\\.b.example",
        "é.x",
    ],
)
def test_an_mx_target_that_is_no_host_name_is_skipped(target: str) -> None:
    assert hosts((0, target), (10, "a.example")) == [(10, "a.example")]
    assert refusal(Answer(Kind.FOUND, (MxRecord(0, target),), 300)).status == "5.4.4"


def test_underscores_resolve_and_so_they_count() -> None:
    assert hosts((0, "_mail.a_b.example")) == [(0, "_mail.a_b.example")]


def test_we_and_every_host_of_equal_or_worse_preference_are_left_out() -> None:
    records = (5, "better.example"), (10, "us.example"), (10, "peer.example"), (20, "worse.example")
    assert hosts(*records, own=frozenset({"us.example"})) == [(5, "better.example")]


def test_a_domain_whose_best_host_is_this_server_is_a_loop() -> None:
    records = (MxRecord(5, "us.example"), MxRecord(10, "other.example"))
    error = refusal(Answer(Kind.FOUND, records, 300), own=frozenset({"us.example"}))
    assert (error.status, error.remote) == ("5.4.6", "us.example")


def test_an_implicit_mx_that_is_this_server_is_a_loop_too() -> None:
    assert refusal(Answer(Kind.NODATA, (), 300), own=frozenset({"minasi.example"})).status == "5.4.6"


def test_nothing_is_left_out_when_none_of_the_hosts_is_ours() -> None:
    some = [Host("a.example", 25, 1)]
    assert better_than_ours("minasi.example", some, set()) == some


def test_a_host_named_twice_counts_once_with_its_best_preference() -> None:
    once = [(5, "a.example"), (10, "b.example")]
    assert hosts((20, "a.example"), (5, "a.example"), (10, "b.example")) == once
    assert hosts((5, "a.example"), (10, "b.example"), (20, "a.example")) == once


def test_a_thousand_hosts_are_cut_to_the_best_twenty() -> None:
    found = hosts(*((i, f"h{i}.example") for i in range(1000)))
    assert found == [(i, f"h{i}.example") for i in range(MAX_HOSTS)]


def test_the_site_is_the_set_of_hosts_and_not_their_order() -> None:
    assert site_name(["b.example", "a.example", "a.example"]) == "a.example,b.example"


def test_a_long_site_name_is_bounded_and_still_tells_sites_apart() -> None:
    many = [f"host-{i}.of-a-large-provider.example" for i in range(20)]
    name, other = site_name(many), site_name([*many[:-1], "another.example"])
    assert len(name) == len(other) == MAX_SITE_NAME
    assert name != other
    assert name == site_name(reversed(many))
