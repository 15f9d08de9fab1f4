"""The configuration as a whole: where it comes from, what it says when it is wrong, and how it travels."""

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from mta import config
from mta.config import Address
from mta.config.load import SYSTEM_FILE
from mta.errors import ConfigError

EVERYTHING = """
hostname = "hermes.paradigms.example"
data_dir = "/var/lib/mta"
workers = 3
drain_timeout = "1m"
[[listener]]
protocol = "smtp"
address = "127.0.0.1:2525"
tls = "none"
certificate = "cert.pem"
private_key = "key.pem"
proxy_protocol = false
dangerously_allow_plaintext_auth = false
[[listener]]
address = "unix:/run/mta/smtp.sock"
[admin]
address = "127.0.0.1:8080"
token_file = "admin.token"
[relay]
networks = ["127.0.0.0/8", "::1/128"]
domains = ["customer.example"]
[local]
domains = []
[[route]]
domain = "*.test"
to = "smtp://127.0.0.1:2600"
[dns]
servers = ["127.0.0.1:53"]
timeout = "5s"
[delivery]
port = 26
retry_after = ["1m", "5m", "15m", "1h", "4h"]
give_up_after = "5d"
warn_after = "0s"
max_connections_per_site = 20
max_messages_per_connection = 1000
connect_timeout = "30s"
command_timeout = "5m"
content_timeout = "10m"
ready_limit = 2000
[spool]
durability = "dangerously-buffered"
backend = "dangerously-null"
free_space = "1GiB"
[limits]
message_size = "50MiB"
recipients = 1000
connections = 10000
connections_per_client = 1000
hops = 50
command_line = 2048
content_line = "64KiB"
header_section = "1MiB"
errors = 20
command_timeout = "5m"
content_timeout = "10m"
minimum_rate = 500
content_memory = "64MiB"
[policy]
allow = ["198.51.100.0/24"]
ipv4_prefix = 24
ipv6_prefix = 48
connection_rate = "60/min"
message_rate = "100/h"
recipient_rate = 0
failure_rate = "10/min"
error_rate = "20/min"
tarpit = "1s"
greet_pause = "500ms"
session_timeout = "1h"
dnsbl_threshold = 2
dnsbl_timeout = "3s"
reserve = 0.2
stress_connections = 0.7
stress_memory = "512MiB"
[[dnsbl]]
zone = "bad.example"
[[dnsbl]]
zone = "good.example"
weight = -2.5
answers = ["127.0.0.2", "127.0.1.0/24"]
[[hook]]
module = "my_policy:Policy"
path = "policies"
timeout = "2s"
options = { words = ["cheap", "now"], limit = 3, deep = { flag = true } }
[log]
events = "-"
rotate_size = "1GiB"
keep = 3
level = "debug"
"""


def findings(text, environ=None):
    with pytest.raises(ConfigError) as caught:
        config.parse(text, environ)
    return caught.value.findings


def test_without_any_file_it_is_a_relay_on_loopback(tmp_path):
    made = config.load(None, {"XDG_CONFIG_HOME": str(tmp_path)}) if not SYSTEM_FILE.exists() else config.parse("")
    assert [(x.protocol, x.host, x.port) for x in made.listener] == [("smtp", "127.0.0.1", 2525)]
    assert made.relay.networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert made.admin.address == Address(path=str(made.data_dir / "admin.sock"))
    assert made.log.events == str(made.data_dir / "events.jsonl")
    assert made.workers >= 1
    assert made.hostname
    assert made.delivery.retry_after == (60, 300, 900, 3600, 14400)
    assert (made.delivery.give_up_after, made.delivery.warn_after) == (432000, 14400)


@pytest.mark.parametrize("protocol", ["smtp", "submission", "lmtp", "pop3", "ldap"])
def test_tls_is_offered_where_a_certificate_is_set(protocol):
    """A certificate that nobody is shown would leave an operator in the belief that there is TLS."""
    listener = f'[[listener]]\nprotocol = "{protocol}"\ncertificate = "cert.pem"\n'
    (made,) = config.parse(listener).listener
    assert made.tls == "starttls"
    (made,) = config.parse(f'{listener}tls = "implicit"\n').listener
    assert made.tls == "implicit"
    (made, other) = config.parse('[[listener]]\n[[listener]]\ntls="none"\naddress="[::1]:25"\ncertificate="x"').listener
    assert (made.tls, other.tls) == ("none", "none")


def test_every_key_of_the_contract_is_understood():
    made = config.parse(EVERYTHING, source="mta.toml")
    assert made.route == (config.Route(domain="*.test", to="smtp://127.0.0.1:2600"),)
    assert made.dns.servers == (("127.0.0.1", 53),)
    assert made.listener[1].path == "/run/mta/smtp.sock"
    assert made.listener[0].certificate == Path.cwd() / "cert.pem"
    assert made.limits.minimum_rate == 500
    assert made.drain_timeout == 60
    assert made.policy.connection_rate == 1
    assert made.dnsbl[0].weight == 1
    assert [str(network) for network in made.dnsbl[1].answers] == ["127.0.0.2/32", "127.0.1.0/24"]
    assert made.hook[0].path == Path.cwd() / "policies"
    assert made.hook[0].options == {"words": ["cheap", "now"], "limit": 3, "deep": {"flag": True}}


def test_a_configuration_travels_to_another_process_unchanged():
    for text in ("", EVERYTHING):
        made = config.parse(text)
        assert config.from_json(config.to_json(made)) == made


def test_a_configuration_of_another_version_is_refused_with_the_key():
    with pytest.raises(ConfigError, match=r"hostnam: unknown key"):
        config.from_json(b'{"hostnam": "x"}')


def test_a_wrong_network_is_named_with_its_place():
    assert findings('[relay]\nnetworks = ["127.0.0.0/8", "10.0.0.0/99"]') == [
        'mta.toml: relay.networks[1]: "10.0.0.0/99" is not a network'
    ]


def test_all_findings_come_at_once():
    found = findings('workers = 0\nhostname = "x y"\n[dns]\ntimeout = "soon"\n[[route]]\ndomain = "*"\n')
    assert found == [
        "mta.toml: workers: 0 is not a number of workers, 1 to 256",
        'mta.toml: hostname: "x y" is not a domain name',
        'mta.toml: dns.timeout: "soon" is not a duration such as "90s", "5m" or "4d12h"',
        "mta.toml: route[0].to: is missing",
    ]


def test_an_unknown_key_suggests_the_nearest():
    assert findings("[relay]\nnetwork = []") == ['mta.toml: relay.network: unknown key; did you mean "networks"?']
    assert findings("[qqq]") == ["mta.toml: qqq: unknown key"]


def test_a_table_where_a_value_belongs_and_the_other_way_round():
    assert findings("relay = 3") == ["mta.toml: relay: 3 is not a table"]
    assert findings("[route]\ndomain = 'x'")[0].endswith("is not an array; write [[route]]")
    assert findings("[local]\ndomains = 'x'")[0].endswith('"x" is not an array; write ["x"]')
    assert findings("route = [1]") == ["mta.toml: route[0]: 1 is not a table"]
    assert findings("workers = true") == ["mta.toml: workers: true is not a number of workers, 1 to 256"]
    assert findings("data_dir = ''") == ['mta.toml: data_dir: "" is not a path']


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ('[[listener]]\nprotocol = "submission"', 'listener[0].tls: "none" lets nobody log in'),
        ('[[listener]]\nclient_ca = "ca.pem"', "listener[0].client_ca: is of no use"),
        ('[[listener]]\n[[listener.certificates]]\ncertificate = "x"', "listener[0].certificates: are further ones"),
        ('[[listener]]\nprotocol = "ldap"\nproxy_protocol = true', "listener[0].proxy_protocol: is not for ldap"),
        ("[[listener]]\nproxy_protocol = true\nproxy_networks = []", "listener[0].proxy_networks: is empty"),
        ('[[listener]]\nextensions_off = ["SIZ"]', 'listener[0].extensions_off[0]: "SIZ" is not one of PIPELINING'),
        (
            '[[listener]]\nprotocol = "lmtp"\nextensions_off = ["PIPELINING", "SIZE", "ENHANCEDSTATUSCODES"]',
            "listener[0].extensions_off: LMTP always has ENHANCEDSTATUSCODES and PIPELINING (RFC 2033 §5)",
        ),
        ('[[listener]]\nvrfy = "yes"', 'listener[0].vrfy: "yes" is not one of no, trusted'),
        ('[login]\ntoken_verifier = "tokens"', 'login.token_verifier: "tokens" is not "module:name"'),
        ('[[listener]]\nprotocol = "pop3"\ntls = "starttls"', "listener[0].certificate: is missing"),
        ('[local]\npostmaster = "nobody"', 'local.postmaster: "nobody" is not a mailbox'),
        ('[local]\nsubaddress = "@"', 'local.subaddress: "@" is not a separator'),
        ('[[listener]]\ntls = "starttls"', "listener[0].certificate: is missing"),
        ('[directory]\naddress_template = "%g.%q@%d"', 'directory.address_template: "%g.%q@%d" is not a template'),
        ('[directory]\naddress_template = "%g%"', 'directory.address_template: "%g%" is not a template'),
        ('[directory]\naddress_template = ""', 'directory.address_template: "" is not a template'),
        ("[delivery]\nretry_after = []", "delivery.retry_after: needs at least one"),
        ('[admin]\naddress = "0.0.0.0:80"', "admin.token_file: is missing"),
        ("listener = []", "listener: needs at least one listener"),
        ("[[listener]]\n[[listener]]", 'listener[1].address: "127.0.0.1:2525" is taken by listener[0]'),
        ("[limits]\nmessage_size = 0", "limits.message_size: must be above zero"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(text, finding):
    (found,) = findings(text)
    assert found.startswith(f"mta.toml: {finding}")


def test_any_number_of_listeners_may_ask_for_a_free_port():
    made = config.parse('[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "127.0.0.1:0"')
    assert len(made.listener) == 2


def test_a_file_that_is_no_toml_says_where():
    assert findings("a = = b")[0].startswith("mta.toml: not TOML: Invalid value (at line 1, column 5)")


def test_a_file_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file"):
        config.load(tmp_path / "nowhere.toml", {})
    (tmp_path / "latin.toml").write_bytes(b'hostname = "\xfc"')
    with pytest.raises(ConfigError, match=r"latin.toml: octet 12 is not UTF-8"):
        config.load(tmp_path / "latin.toml", {})


def test_the_file_is_the_one_given_else_of_the_variable_else_of_the_user(tmp_path):
    (tmp_path / "mta").mkdir()
    user = tmp_path / "mta/mta.toml"
    user.write_text("workers = 1")
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "MTA_CONFIG": "/of/the/variable"}
    assert config.find_file("/given", environ) == Path("/given")
    assert config.find_file(None, environ) == Path("/of/the/variable")
    del environ["MTA_CONFIG"]
    assert config.find_file(None, environ) == (SYSTEM_FILE if SYSTEM_FILE.exists() else user)
    assert config.load(user, environ).workers == 1


def test_relative_paths_are_meant_from_the_directory_of_the_file(tmp_path):
    file = tmp_path / "mta.toml"
    file.write_text('data_dir = "data"\n[admin]\naddress = "unix:admin.sock"\n[log]\nevents = "e.jsonl"')
    made = config.load(file, {"MTA_LOG__EVENTS": "elsewhere.jsonl"})
    assert made.data_dir == tmp_path / "data"
    assert made.admin.address.path == str(tmp_path / "admin.sock")
    assert made.log.events == str(Path.cwd() / "elsewhere.jsonl")


def test_a_variable_overrides_any_key():
    made = config.parse(
        "[delivery]\nport = 26",
        {
            "MTA_DELIVERY__PORT": "27",
            "MTA_DELIVERY__WARN_AFTER": "1h",
            "MTA_RELAY__NETWORKS": '["10.0.0.0/8"]',
            "MTA_RELAY__DOMAINS": "['a.example']",
            "MTA_LISTENER": '[{address = "127.0.0.1:2526"}]',
            "MTA_HOSTNAME": "other.example",
            "MTA_USER": "1234" if os.geteuid() else "root",
            "MTA_WORKERS": "2",
            "MTA_CONFIG": "/is/no/key",
            "MTA_REQUIRE_PEERS": "1",
            "PATH": "/bin",
        },
    )
    assert (made.delivery.port, made.delivery.warn_after) == (27, 3600)
    assert made.relay.networks == (ip_network("10.0.0.0/8"),)
    assert made.relay.domains == ("a.example",)
    assert made.listener[0].port == 2526
    assert (made.hostname, made.workers) == ("other.example", 2)


def test_a_wrong_variable_is_named_as_the_place():
    assert findings("", {"MTA_DELIVERY__PORT": "x"}) == [
        'MTA_DELIVERY__PORT: delivery.port: "x" is not a port, 1 to 65535'
    ]
    assert findings("", {"MTA_DELIVRY__PORT": "1"}) == [
        'MTA_DELIVRY__PORT: no section "delivry"; did you mean "delivery"?'
    ]
    assert findings("", {"MTA_SPOOL__BACKNED": "1"}) == [
        'MTA_SPOOL__BACKNED: no key "spool.backned"; did you mean "backend"?'
    ]


def test_modes_that_keep_nothing_warn():
    said = "\n".join(config.warnings(config.parse(EVERYTHING)))
    assert 'listener[0].certificate is of no use: tls is "none"' in said
    assert "dangerously-null" in said
    assert "dangerously-buffered" in said
    assert not any("spool" in line for line in config.warnings(config.parse("")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user")
def test_root_with_a_user_that_is_not_there_is_refused():
    assert findings('user = "nobody-by-this-name"') == [
        'mta.toml: user: "nobody-by-this-name" is not a user of this machine'
    ]
