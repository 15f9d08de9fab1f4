"""What a client may do: which network it is, which limit it reaches first, and how late its errors are answered."""

import pytest

from mta.config.units import network
from mta.metrics import MetricsTable
from mta.policy.throttle import TARPIT_LIMIT, Client, Deed, Known, Throttle, tarpit
from mta_ext.throttle import REFUSED, UNCOUNTED

PER_MINUTE = 1 / 60


def throttle(limits: dict[Deed, float] | None = None, connections: int = 10, **prefixes: int) -> Throttle:
    table = MetricsTable.create(1)
    return Throttle(table.rates(), table.presence(0), table.secret, limits or {}, connections=connections, **prefixes)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::", "0.0.0.0", False),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(one, other, same):
    found = throttle()
    assert (found.key_of(one) == found.key_of(other)) is same


def test_prefixes_can_be_shorter():
    found = throttle(ipv4_prefix=24, ipv6_prefix=48)
    assert found.key_of("192.0.2.1") == found.key_of("192.0.2.200")
    assert found.key_of("2001:db8:0:1::1") == found.key_of("2001:db8:0:ffff::1")


def test_another_server_makes_other_keys():
    assert throttle().key_of("192.0.2.1") != throttle().key_of("192.0.2.1")


def test_known_networks_are_exempt_and_so_is_who_has_no_address():
    known = Known([network("192.0.2.0/24"), network("2001:db8::/32")])
    assert "192.0.2.7" in known
    assert "::ffff:192.0.2.7" in known
    assert "2001:db8::1" in known
    assert "unix" in known
    assert "198.51.100.1" not in known


def test_connections_at_once_and_their_rate_have_a_limit_each():
    found = throttle({Deed.CONNECTION: 5 * PER_MINUTE}, connections=2)
    first = found.enter("198.51.100.1", 0.0)
    assert isinstance(first, Client)
    assert isinstance(found.enter("198.51.100.1", 0.0), Client)
    assert found.enter("198.51.100.1", 0.0) == "connections"
    found.leave(first)
    assert isinstance(found.enter("198.51.100.1", 0.0), Client)
    assert found.enter("198.51.100.1", 0.0) == "connections"
    assert found.enter("198.51.100.1", 0.0) == "connection_rate"
    assert isinstance(found.enter("198.51.100.2", 0.0), Client)


@pytest.mark.parametrize(("deed", "name"), [(Deed.FAILURE, "failure_rate"), (Deed.ERROR, "error_rate")])
def test_who_failed_too_often_is_not_let_in_until_it_is_forgotten(deed, name):
    found = throttle({deed: 3 * PER_MINUTE})
    key = found.key_of("198.51.100.1")
    assert [found.spend(key, deed, 0.0) for _ in range(4)] == [True, True, True, False]
    assert found.enter("198.51.100.1", 0.0) == name
    assert isinstance(found.enter("198.51.100.1", 20.1), Client)


def test_deeds_are_counted_each_by_itself_and_no_rate_is_no_limit():
    found = throttle({Deed.MESSAGE: PER_MINUTE, Deed.RECIPIENT: PER_MINUTE, Deed.ERROR: 0.0})
    key = found.key_of("198.51.100.1")
    assert found.spend(key, Deed.MESSAGE, 0.0)
    assert not found.spend(key, Deed.MESSAGE, 0.0)
    assert found.spend(key, Deed.RECIPIENT, 0.0)
    assert all(found.spend(key, Deed.ERROR, 0.0) for _ in range(1000))


def test_a_known_client_is_one_address_and_has_that_many_connections_over_all_workers():
    table = MetricsTable.create(2)
    here, there = (
        Throttle(table.rates(), table.presence(n), table.secret, {Deed.CONNECTION: PER_MINUTE}, connections=3)
        for n in range(2)
    )
    rows = [each.enter_known("2001:db8::1") for each in (here, there, there)]
    assert min(rows) >= 0
    assert here.enter_known("2001:db8::1") == there.enter_known("2001:db8::1") == REFUSED
    assert here.enter_known("2001:db8::2") >= 0, "a neighbour is another client"
    assert isinstance(here.enter("2001:db8::1", 0.0), Client), "and so is the network of strangers"
    there.leave_row(rows[1])
    assert here.enter_known("2001:db8::1") == rows[0]
    assert [here.enter_known("unix") for _ in range(9)] == [UNCOUNTED] * 9


def test_who_is_not_counted_need_not_be_given_back():
    throttle().leave(Client(1, UNCOUNTED))
    throttle().leave_row(UNCOUNTED)


def test_the_first_errors_are_answered_at_once_and_then_later_and_later():
    assert [tarpit(count, count + 1, 0.5) for count in range(7)] == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0]
    assert tarpit(0, 7, 0.5) == 5.0, "those of one read are paid together"
    assert tarpit(0, 1000, 0.5) == TARPIT_LIMIT
    assert tarpit(5, 5, 0.5) == tarpit(9, 2, 0.5) == tarpit(3, 9, 0.0) == 0.0
