"""A host with AAAA and A of which the IPv6 address is dead: the IPv4 address gets the message at once (RFC 8305)."""

import socket

import pytest

from bench.process import free_port


def test_a_dead_ipv6_address_does_not_delay_the_message(mta, sink, zones) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    remote = sink(host="127.0.0.1", port=free_port())
    names = zones(
        {"arlington.example": ["MX 10 mx.arlington.example."], "mx.arlington.example": ["AAAA ::1", "A 127.0.0.1"]}
    )
    server = mta(dns={"servers": [names.address]}, delivery={"port": remote.port, "retry_after": ["1h"]})
    delivery = server.wait_for_event("Delivery", id=server.send("bob@arlington.example"))
    assert delivery["peer_address"]["addr"] == f"127.0.0.1:{remote.port}"
    assert delivery["num_attempts"] == 1
    assert sum(delivery["delays"][2:]) < 5.0


def test_a_silent_ipv6_address_costs_a_quarter_of_a_second(mta, sink, zones) -> None:
    """2001:db8::/32 is for documentation: at best there is no route, at worst nobody answers."""
    remote = sink(host="127.0.0.1", port=free_port())
    names = zones(
        {
            "arlington.example": ["MX 10 mx.arlington.example."],
            "mx.arlington.example": ["AAAA 2001:db8::25", "A 127.0.0.1"],
        }
    )
    server = mta(dns={"servers": [names.address]}, delivery={"port": remote.port, "retry_after": ["1h"]})
    delivery = server.wait_for_event("Delivery", id=server.send("bob@arlington.example"))
    assert delivery["num_attempts"] == 1
    assert delivery["delays"][2] < 5.0
