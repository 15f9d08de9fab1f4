"""Names, literals and addresses of our own: text from strangers, and what it may mean."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from mta.errors import ConfigError
from mta.routing.names import ascii_domain, is_reachable, parse_literal
from mta.routing.nameservers import MAX_NAME_SERVERS, NameServer, name_servers, parse_server
from mta.routing.ourselves import Ourselves


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Minasi.Example.", "minasi.example"),
        ("localhost", "localhost"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("", None),
        (".", None),
        ("a..b", None),
        ("a b", None),
        ("192.0.2.1", None),
        ("a\0b.example", None),
        ("x" * 64 + ".example", None),
        (".".join(["abcdefg"] * 32), None),
        ("\u2024.example", None),
        ("é" * 250, None),
    ],
)
def test_a_domain_is_looked_up_only_when_it_is_one(text: str, domain: str | None) -> None:
    assert ascii_domain(text) == domain


@pytest.mark.parametrize(
    ("literal", "address"),
    [
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1"),
        ("[ipv6:::ffff:192.0.2.1]", "192.0.2.1"),
        ("[2001:db8::1]", None),
        ("[IPv6:192.0.2.1]", None),
        ("[IPv6:fe80::1%eth0]", None),
        ("[192.0.2.256]", None),
        ("[192.0.2.01]", None),
        ("[]", None),
    ],
)
def test_an_address_literal_says_its_address_or_nothing(literal: str, address: str | None) -> None:
    assert parse_literal(literal) == address


def test_addresses_that_no_host_can_have_are_not_tried() -> None:
    wrong = ["0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "::", "ff02::1"]
    right = ["127.0.0.1", "10.0.0.1", "192.0.2.1", "::1", "2001:db8::1"]
    assert [a for a in wrong + right if is_reachable(ip_address(a))] == right


def test_ourselves_means_address_and_port() -> None:
    ours = Ourselves(["127.0.0.1:2525", "[::1]:2525", "192.0.2.1:25"])
    assert ours.are("127.0.0.1", 2525)
    assert ours.are("::1", 2525)
    assert ours.are("::ffff:192.0.2.1", 25)
    assert not ours.are("127.0.0.1", 25)
    assert not ours.are("127.0.0.2", 2525)
    assert not ours.are("no address", 2525)
    assert (ours.listen_on(25), ours.listen_on(26)) == (True, False)


def test_a_wildcard_listener_is_on_every_loopback_address() -> None:
    ours = Ourselves(["0.0.0.0:25"])
    assert ours.are("127.8.8.8", 25)
    assert ours.are("::1", 25)
    assert not ours.are("192.0.2.1", 25)


def test_an_own_address_without_a_form_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="hermes:25"):
        Ourselves(["hermes:25"])


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1", NameServer("127.0.0.1", 53)),
        ("127.0.0.1:5353", NameServer("127.0.0.1", 5353)),
        ("::1", NameServer("::1", 53)),
        ("[::1]", NameServer("::1", 53)),
        ("[::1]:5353", NameServer("::1", 5353)),
        ("fe80::1%lo", NameServer("fe80::1%lo", 53)),
        ("[::1", None),
        ("[::1]5353", None),
        ("dns.example:53", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:99999", None),
        ("127.0.0.1:x", None),
    ],
)
def test_a_name_server_is_an_address_with_an_optional_port(text: str, server: NameServer | None) -> None:
    assert parse_server(text) == server


def test_a_name_server_prints_as_it_is_configured() -> None:
    assert [str(NameServer("::1", 53)), str(NameServer("127.0.0.1", 5353))] == ["[::1]:53", "127.0.0.1:5353"]


def test_configured_servers_come_before_resolv_conf(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "# one\nsearch example\nnameserver 192.0.2.1\nnameserver\nnameserver bad\nnameserver ::1\noptions rotate\n"
    )
    assert name_servers(["127.0.0.1:5353"], conf) == (NameServer("127.0.0.1", 5353),)
    assert name_servers([], conf) == (NameServer("192.0.2.1", 53), NameServer("::1", 53))


def test_resolv_conf_counts_three_servers_at_most_and_may_be_absent(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 9)))
    assert len(name_servers([], conf)) == MAX_NAME_SERVERS
    assert name_servers([], tmp_path / "absent") == (NameServer("127.0.0.1", 53),)


def test_a_configured_server_that_is_no_address_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r'dns\.servers\[1\]: "dns\.example"'):
        name_servers(["127.0.0.1", "dns.example"])
