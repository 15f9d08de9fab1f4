"""The configuration as values: one frozen struct per section of the file, with the defaults of the contract.

Owns: keys, types, defaults and what each value may be. A type carries a word for the operator (``description``) and,
where TOML's own types do not do, the function that reads it (``extra["read"]``, from ``units``).
Never does: read files or look at the machine. Defaults that depend on the machine are filled in by ``load``.
Durations are seconds, sizes octets, rates per second.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mta.config import units
from mta.config.units import Address


def _read(function: Any) -> Meta:
    return Meta(extra={"read": function})


Duration = Annotated[float, _read(units.duration)]
SomeDuration = Annotated[float, _read(units.some_duration)]
Size = Annotated[int, _read(units.size)]
Rate = Annotated[float, _read(units.rate)]
Network = Annotated[units.Network, _read(units.network)]
Domain = Annotated[str, _read(units.domain)]
DomainPattern = Annotated[str, _read(units.domain_pattern)]
RelayDomain = Annotated[str, _read(units.relay_domain)]
Target = Annotated[str, _read(units.route_target)]
DnsServer = Annotated[tuple[str, int], _read(units.dns_server)]
Where = Annotated[Address, _read(units.address)]
#: Relative paths are read from the directory of the file that names them.
File = Annotated[Path, Meta(description="a path", extra={"path": True})]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port, 1 to 65535")]
Count = Annotated[int, Meta(ge=1, le=2**31, description="a whole number above zero")]
#: A shard is named by eight bits of a spool id.
Workers = Annotated[int, Meta(ge=1, le=256, description="a number of workers, 1 to 256")]
Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(description="a text")]
#: 0: no limit.
CountOrNone = Annotated[int, Meta(ge=0, le=2**31, description="a whole number, 0 for no limit")]
#: A part of a whole.
Share = Annotated[float, Meta(ge=0, le=0.99, description="a share, 0 to 0.99")]
Weight = Annotated[float, Meta(ge=-1000, le=1000, description="a weight, -1000 to 1000")]
Prefix4 = Annotated[int, Meta(ge=8, le=32, description="a prefix length, 8 to 32")]
Prefix6 = Annotated[int, Meta(ge=16, le=128, description="a prefix length, 16 to 128")]
HookModule = Annotated[str, _read(units.hook_module)]
Options = Annotated[dict[str, Any], _read(units.options)]
Mailbox = Annotated[str, _read(units.mailbox)]
Separator = Annotated[str, _read(units.separator)]
AddressTemplate = Annotated[str, _read(units.address_template)]
ObjectName = Annotated[str, _read(units.object_name)]


#: What a listener can be told not to offer.
Extension = Literal[
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "STARTTLS",
    "AUTH",
    "REQUIRETLS",
    "LIMITS",
    "MT-PRIORITY",
    "DELIVERBY",
    "FUTURERELEASE",
    "ETRN",
    "VRFY",
    "EXPN",
    "HELP",
    "XCLIENT",
    "XFORWARD",
]
LOOPBACK = (units.network("127.0.0.0/8"), units.network("::1/128"))


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all sections."""


class Certificate(Section, frozen=True, kw_only=True):
    """PEM files: the chain in order, and its key, which may be in the same file."""

    certificate: File
    private_key: File | None = None


class Listener(Section, frozen=True):
    """One address that we answer on. ``host`` and ``port``, or ``path`` of a unix socket. ``tls``: where it is not
    given "starttls" with a ``certificate``, else "none". ``certificates``: further ones, for clients that ask for one
    of their names (SNI). ``client_ca``: clients are asked for a certificate and may have none; one that this authority
    has not signed ends the handshake. ``extensions_off``: not said by EHLO and not understood; without
    ENHANCEDSTATUSCODES no reply has an enhanced code. ``proxy_networks``: whose PROXY headers are believed; nobody else
    gets in. ``xclient_networks``: who may say XCLIENT and XFORWARD. ``vrfy``: who is told about recipients by VRFY and
    EXPN; "trusted": who may relay."""

    protocol: Literal["smtp", "submission", "lmtp", "pop3", "ldap"] = "smtp"
    address: Where = Address("127.0.0.1", 2525)
    tls: Literal["none", "starttls", "required", "implicit"] = "none"
    certificate: File | None = None
    private_key: File | None = None
    certificates: tuple[Certificate, ...] = ()
    client_ca: File | None = None
    proxy_protocol: Flag = False
    proxy_networks: tuple[Network, ...] = LOOPBACK
    xclient_networks: tuple[Network, ...] = ()
    extensions_off: tuple[Extension, ...] = ()
    vrfy: Literal["no", "trusted"] = "no"
    dangerously_allow_plaintext_auth: Flag = False

    @property
    def host(self) -> str:
        return self.address.host

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def path(self) -> str:
        return self.address.path


class Admin(Section, frozen=True):
    """The admin API. ``address`` is always filled in by ``load``: ``<data_dir>/admin.sock`` when not given."""

    address: Where = Address(path="admin.sock")
    token_file: File | None = None


class Relay(Section, frozen=True):
    """Who may relay (``networks``), and domains that are accepted from anyone and relayed on."""

    networks: tuple[Network, ...] = LOOPBACK
    domains: tuple[RelayDomain, ...] = ()


class Local(Section, frozen=True):
    """Domains whose recipients the directory knows. ``postmaster``: who gets mail for the postmaster of these domains
    where the directory has none; "": nobody. ``subaddress``: what divides user and tag; "": nothing does."""

    domains: tuple[Domain, ...] = ()
    postmaster: Mailbox = ""
    subaddress: Separator = "+"


class Directory(Section, frozen=True):
    """``address_template``: the address of a new person for whom none is given: ``%g`` given name, ``%s`` surname,
    ``%i`` first letter of the given name, ``%d`` the first local domain; a number is added when it is taken."""

    address_template: AddressTemplate = "%g.%s@%d"


class Store(Section, frozen=True):
    """What one mailbox may hold, in octets and messages; 0: no limit. Beyond it LMTP says 552 5.2.2."""

    quota_size: Size = 0
    quota_messages: CountOrNone = 0


class Login(Section, frozen=True):
    """Passwords, whatever the protocol. ``checks``: passwords that are verified at the same time, each for some 50 ms
    of a core. ``failures``: wrong passwords of one address before its answers come late (a minute's worth at once), and
    how fast they are forgotten; 0: they never come late. ``remember``: for how long a right one need not be computed
    again. ``token_verifier``: ``module:name`` of what judges the tokens of OAUTHBEARER and XOAUTH2
    (``mta.services.tokens``); "": neither is offered."""

    checks: Count = 2
    failures: Rate = 10 / 60
    remember: Duration = 60.0
    token_verifier: ObjectName = ""


class Submission(Section, frozen=True):
    """What one person may submit; an hour's worth at once. 0: no limit. Beyond it MAIL or RCPT hears 450 4.7.1.
    ``max_hold``: for how long a message may be held by FUTURERELEASE; "0s": it is not offered."""

    messages_per_user: Rate = 0.0
    recipients_per_user: Rate = 0.0
    max_hold: Duration = 30 * 86400.0


class Pop3(Section, frozen=True):
    """``idle_timeout``: between two commands; ``login_timeout``: from the connection to the login, in all;
    ``login_delay``: between two logins to one mailbox, "0s": none. Connections are those of the store process."""

    idle_timeout: SomeDuration = 600.0
    login_timeout: SomeDuration = 60.0
    login_delay: Duration = 0.0
    connections: Count = 2000
    connections_per_client: Count = 200


class Ldap(Section, frozen=True):
    """The address book. ``anonymous``: a client need not bind. ``size_limit``: entries of one answer; ``time_limit``:
    of one search; ``idle_timeout``: between two requests."""

    anonymous: Flag = True
    size_limit: Count = 1000
    time_limit: SomeDuration = 10.0
    idle_timeout: SomeDuration = 600.0
    connections: Count = 1000
    connections_per_client: Count = 100


class Canary(Section, frozen=True):
    """A message of our own goes all the way, every ``interval``; "0s": none does. ``timeout``: when it counts as
    lost."""

    interval: Duration = 0.0
    timeout: SomeDuration = 30.0


class Route(Section, frozen=True, kw_only=True):
    """The first whose ``domain`` matches decides. No default: a route without either is a slip. ``tls``: as in
    ``[delivery]``, or "implicit" (from the first octet on, certificate checked); without it "verify" where a login is
    made, else that of ``[delivery]``. ``password_file``: its first line is the password of ``username``."""

    domain: DomainPattern
    to: Target
    tls: Literal["none", "opportunistic", "required", "verify", "implicit"] | None = None
    username: Text = ""
    password_file: File | None = None


class Dns(Section, frozen=True):
    """No ``servers``: those of the machine (/etc/resolv.conf)."""

    servers: tuple[DnsServer, ...] = ()
    timeout: SomeDuration = 5.0


class Delivery(Section, frozen=True):
    """Retry times and what one site may get at once. ``ready_limit``: recipients ready for one site, in memory.
    ``tls``: "opportunistic" (where a host offers it, whatever its certificate), "required", "verify" (its certificate
    is that of the host) or "none". ``tls_authorities``: PEM, who may sign certificates; the system's by default."""

    port: Port = 25
    tls: Literal["none", "opportunistic", "required", "verify"] = "opportunistic"
    tls_authorities: File | None = None
    retry_after: tuple[SomeDuration, ...] = (60.0, 300.0, 900.0, 3600.0, 14400.0)
    give_up_after: SomeDuration = 5 * 86400.0
    warn_after: Duration = 4 * 3600.0
    max_connections_per_site: Count = 20
    max_messages_per_connection: Count = 1000
    connect_timeout: SomeDuration = 30.0
    command_timeout: SomeDuration = 300.0
    content_timeout: SomeDuration = 600.0
    ready_limit: Count = 2000


class Spool(Section, frozen=True):
    """``free_space``: below it no message is taken (452 4.3.1)."""

    durability: Literal["commit", "dangerously-buffered"] = "commit"
    backend: Literal["disk", "dangerously-memory", "dangerously-null"] = "disk"
    free_space: Size = 256 << 20


class Limits(Section, frozen=True):
    """What a client may ask of us. ``content_timeout`` is for the smallest message; ``minimum_rate`` octets a second
    extend it. ``content_memory``: content that one worker keeps in memory for the first delivery."""

    message_size: Size = 50 << 20
    recipients: Count = 1000
    connections: Count = 10_000
    connections_per_client: Count = 1000
    hops: Count = 50
    command_line: Size = 2048
    content_line: Size = 64 << 10
    header_section: Size = 1 << 20
    errors: Count = 20
    command_timeout: SomeDuration = 300.0
    content_timeout: SomeDuration = 600.0
    minimum_rate: Rate = 500.0
    content_memory: Size = 64 << 20


class Policy(Section, frozen=True):
    """What clients may do that we do not know: neither in ``relay.networks`` nor in ``allow``, nor logged in. A client
    is a whole network of ``ipv4_prefix`` or ``ipv6_prefix`` bits. Rates hold over all workers, a minute's worth may
    come at once, 0: no limit. ``failure_rate``: wrong passwords; ``error_rate``: replies 5yz.
    ``tarpit``: by how much each error beyond the third holds its reply back; ``greet_pause``: before the greeting, and
    who speaks meanwhile is refused; ``session_timeout``: of a whole connection; each "0s": none.
    ``reserve``: share of ``limits.connections`` that is kept for those we know."""

    allow: tuple[Network, ...] = ()
    ipv4_prefix: Prefix4 = 32
    ipv6_prefix: Prefix6 = 64
    connection_rate: Rate = 10.0
    message_rate: Rate = 0.0
    recipient_rate: Rate = 0.0
    failure_rate: Rate = 1.0
    error_rate: Rate = 2.0
    tarpit: Duration = 0.5
    greet_pause: Duration = 0.0
    session_timeout: Duration = 7200.0
    dnsbl_threshold: Weight = 1.0
    dnsbl_timeout: SomeDuration = 5.0
    reserve: Share = 0.1
    stress_connections: Share = 0.8
    stress_memory: Size = 1 << 30


class Dnsbl(Section, frozen=True, kw_only=True):
    """A list of addresses in the DNS. ``answers``: those that mean "listed"; ``weight``: below zero for a list of the
    good. Clients whose sum reaches ``policy.dnsbl_threshold`` are refused at RCPT."""

    zone: Domain
    weight: Weight = 1.0
    answers: tuple[Network, ...] = (units.network("127.0.0.0/8"),)


class Hook(Section, frozen=True, kw_only=True):
    """A policy in Python (``mta.policy.hooks``). ``path``: a directory that is searched for the module first."""

    module: HookModule
    path: File | None = None
    options: Options = {}
    timeout: SomeDuration = 5.0


class Log(Section, frozen=True):
    """``events``: a file or "-" for stdout; always filled in by ``load``. ``keep``: rotated files beside it."""

    events: Annotated[str, Meta(description='a path or "-"', extra={"path": True})] = "events.jsonl"
    rotate_size: Size = 100 << 20
    keep: Count = 10
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section, frozen=True):
    """The whole file. ``user`` "" = stay who we are. Made by ``load``, which fills in what depends on the machine."""

    hostname: Domain = "localhost"
    data_dir: File = Path("mta-data")
    user: Text = ""
    workers: Workers = 1
    drain_timeout: Duration = 30.0
    listener: tuple[Listener, ...] = (Listener(),)
    admin: Admin = Admin()
    relay: Relay = Relay()
    local: Local = Local()
    directory: Directory = Directory()
    store: Store = Store()
    login: Login = Login()
    submission: Submission = Submission()
    pop3: Pop3 = Pop3()
    ldap: Ldap = Ldap()
    canary: Canary = Canary()
    route: tuple[Route, ...] = ()
    dns: Dns = Dns()
    delivery: Delivery = Delivery()
    spool: Spool = Spool()
    limits: Limits = Limits()
    policy: Policy = Policy()
    dnsbl: tuple[Dnsbl, ...] = ()
    hook: tuple[Hook, ...] = ()
    log: Log = Log()

    @property
    def store_socket(self) -> Path:
        """Where the store takes mail from the workers (LMTP)."""
        return self.data_dir / "lmtp.sock"
