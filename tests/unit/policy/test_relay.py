"""Who may relay: the list of ways in which servers have become open relays, and none of them works."""

from ipaddress import ip_network

import pytest

from mta.policy.relay import RelayPolicy

POLICY = RelayPolicy(
    [ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.1.0.0/16")], ["Ours.example", "*.sub.example"]
)


@pytest.mark.parametrize("client", ["127.0.0.1", "127.255.0.1", "::1", "10.1.2.3", "::ffff:10.1.2.3", "unix"])
def test_clients_of_the_networks_may_relay(client):
    assert POLICY.trusts(client)
    assert POLICY.admits("ext.example", trusted=POLICY.trusts(client))


@pytest.mark.parametrize(
    "client",
    [
        "10.2.0.1",
        "192.0.2.1",
        "::2",
        "::ffff:192.0.2.1",
        "",
        "localhost",
        "127.0.0.1.example",
        "0127.0.0.1",
        "fe80::1%lo",
    ],
)
def test_everybody_else_may_not(client):
    assert not POLICY.trusts(client)


def test_a_zone_does_not_hide_an_address_of_ours():
    assert RelayPolicy([ip_network("fe80::/10")], []).trusts("fe80::1%eth0")


@pytest.mark.parametrize("domain", ["ours.example", "a.sub.example", "b.a.sub.example"])
def test_our_domains_are_accepted_from_anyone(domain):
    assert POLICY.admits(domain, trusted=False, forward_path=f"user+tag@{domain}")


@pytest.mark.parametrize(
    ("forward_path", "domain"),
    [
        ("user@ext.example", "ext.example"),
        ("user%ext.example@ours.example", "ours.example"),
        ("ext.example!user@ours.example", "ours.example"),
        ('"user@ext.example"@ours.example', "ours.example"),
        ("user@ext.example@ours.example", "ours.example"),
        ("user@[192.0.2.1]", "[192.0.2.1]"),
        ("user@[127.0.0.1]", "[127.0.0.1]"),
        ("user@ours.example.", "ours.example."),
        ("USER@EXT.EXAMPLE", "ext.example"),
        ("user@xn--ext-hoa.example", "xn--ext-hoa.example"),
        ("user@notours.example", "notours.example"),
        ("user@ours.example.ext.example", "ours.example.ext.example"),
        ("user@x.ours.example", "x.ours.example"),
        ("user@sub.example", "sub.example"),
        ("user@xsub.example", "xsub.example"),
        ("user", ""),
        ("", ""),
    ],
)
def test_nothing_else_is_relayed_for_strangers(forward_path, domain):
    assert not POLICY.admits(domain, trusted=False, forward_path=forward_path)
    assert POLICY.admits(domain, trusted=True, forward_path=forward_path)


def test_without_networks_and_domains_nothing_is_relayed():
    nobody = RelayPolicy([], [])
    assert not nobody.trusts("127.0.0.1")
    assert not nobody.admits("ours.example", trusted=False)
