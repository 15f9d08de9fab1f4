"""The little languages of configuration values: what each takes, and that it refuses everything else."""

from ipaddress import IPv6Network

import pytest

from mta.config import units
from mta.config.units import Address


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("4h", 14400),
        ("5d", 432000),
        ("4d12h", 388800),
        ("1.5h", 5400),
        (7, 7),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_a_sum_of_parts_or_a_number_of_seconds(text, seconds):
    assert units.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "m5", "5y", "-5s", -1, True, None, [], "٥m", "5m!"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        units.duration(text)


def test_a_timeout_of_nothing_is_refused_but_a_warning_time_of_nothing_is_not():
    assert units.duration("0s") == 0
    with pytest.raises(ValueError, match="longer than zero"):
        units.some_duration("0s")


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("64KiB", 65536),
        ("50MiB", 50 << 20),
        ("1GiB", 1 << 30),
        ("1MB", 10**6),
        ("1.5 KiB", 1536),
        ("12", 12),
        (99, 99),
    ],
)
def test_a_size_counts_octets(text, octets):
    assert units.size(text) == octets


@pytest.mark.parametrize("text", ["", "KiB", "1XiB", "-1", -1, 1.5, True, None, "1KiBKiB", "9" * 30])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        units.size(text)


def test_a_rate_is_per_second_whatever_it_was_written_in():
    assert units.rate("120/min") == 2
    assert units.rate("3_600/h") == 1
    assert units.rate("500/s") == 500
    assert units.rate(2.5) == 2.5


@pytest.mark.parametrize("text", ["5", "5/year", "/min", "-5/min", "x/s", True, None])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="is not a rate"):
        units.rate(text)


def test_a_single_address_is_a_network_of_one():
    assert units.network("2001:db8::1") == IPv6Network("2001:db8::1/128")


def test_host_bits_behind_the_prefix_are_told_from_nonsense():
    with pytest.raises(ValueError, match="bits are set behind the prefix"):
        units.network("10.0.0.1/8")
    with pytest.raises(ValueError, match=r"is not a network$"):
        units.network("10.0.0.0/99")
    with pytest.raises(ValueError, match=r"is not a network$"):
        units.network(10)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:2525", Address("127.0.0.1", 2525)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:25", Address("::1", 25)),
        ("unix:/run/x.sock", Address(path="/run/x.sock")),
    ],
)
def test_an_address_reads_back_from_what_it_prints(text, address):
    assert units.address(text) == address
    assert units.address(str(address)) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", ":25", "h:70000", "h:-1", "h:1_0", "[::1]", "[zz]:1", "[::1:25", "unix:", "unix:" + "x" * 200],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"is not|names a socket"):
        units.address(text)


def test_a_dns_server_has_port_53_unless_it_says_otherwise():
    assert units.dns_server("192.0.2.53") == ("192.0.2.53", 53)
    assert units.dns_server("127.0.0.1:5353") == ("127.0.0.1", 5353)
    assert units.dns_server("::1") == ("::1", 53)
    assert units.dns_server("[::1]:5353") == ("::1", 5353)


@pytest.mark.parametrize("text", ["dns.example:53", "", "1.2.3.4:0", "1.2.3.4:x", None])
def test_a_dns_server_must_be_an_ip_address(text):
    with pytest.raises(ValueError, match="is not the address of a DNS server"):
        units.dns_server(text)


@pytest.mark.parametrize(
    "text",
    ["smtp://127.0.0.1:2600", "smtp://[::1]:25", "smtp://mx.example", "lmtp://h:24", "lmtp+unix:/s", "discard:"],
)
def test_a_route_leads_to_smtp_lmtp_or_nowhere(text):
    assert units.route_target(text) == text


@pytest.mark.parametrize("text", ["", "smtp:", "smtp://", "smtp://:25", "http://x:1", "discard:x", "lmtp+unix:x", 1])
def test_any_other_route_target_is_refused(text):
    with pytest.raises(ValueError, match="is not"):
        units.route_target(text)


def test_domains_are_lower_case_and_patterns_may_have_one_star_in_front():
    assert units.domain("Example.ORG") == "example.org"
    assert units.domain_pattern("*.Test") == "*.test"
    assert units.domain_pattern("*") == "*"
    for wrong in ("", "a..b", "a.", ".a", "-a.b", "a b", "x@y", "ü.example", "a" * 64 + ".b", "*.*", "a.*"):
        with pytest.raises(ValueError, match="is not a domain"):
            units.domain_pattern(wrong)


def test_relaying_for_everybody_cannot_be_configured_by_a_star():
    assert units.relay_domain("*.customer.example") == "*.customer.example"
    with pytest.raises(ValueError, match="for everybody"):
        units.relay_domain("*")
