"""The ``[[route]]`` table: which domains go to a fixed destination instead of their MX hosts.

Owns: reading ``to`` and ``domain``, and the first match. Pure; any thread. Never does: look anything up.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from mta.errors import ConfigError
from mta.routing.destination import Destination, Host, Login, Protocol
from mta.routing.names import ascii_domain, is_host_name, parse_ip

_FORMS: Final = '"smtp://host:port", "lmtp://host:port", "lmtp+unix:/path" or "discard:"'
#: RFC 6761 §6.3: this name never goes to DNS.
_LOCALHOST: Final = {"localhost": ("127.0.0.1", "::1")}
_PROTOCOLS: Final[dict[str, Protocol]] = {"smtp": "smtp", "lmtp": "lmtp"}


class Row(NamedTuple):
    """A route as the file has it. ``tls``: "" for what is usual there."""

    domain: str
    to: str
    tls: str = ""
    login: Login | None = None


class _Suffix(NamedTuple):
    """``*.suffix``; the empty suffix matches everything."""

    suffix: str
    number: int
    destination: Destination


class Routes:
    """Compiled once per configuration. Exact domains are one dict look-up, wildcards are few and tried in order."""

    def __init__(self, table: Iterable[tuple[str, str] | Row] = ()) -> None:
        """``table``: in the order of the file; (domain, to) is one too. Raises ConfigError, a line per wrong entry."""
        self._exact: dict[str, tuple[int, Destination]] = {}
        self._suffixes: list[_Suffix] = []
        findings: list[str] = []
        for number, (domain, to, tls, login) in enumerate(Row(*row) for row in table):
            destination = parse_to(to)
            if destination is None:
                findings.append(f'route[{number}].to: "{to}" is not one of {_FORMS}')
            elif not self._add(number, domain, _with(destination, tls, login)):
                findings.append(f'route[{number}].domain: "{domain}" is not a domain, "*.suffix" or "*"')
        if findings:
            raise ConfigError(findings)

    def _add(self, number: int, domain: str, destination: Destination) -> bool:
        if domain == "*":
            self._suffixes.append(_Suffix("", number, destination))
            return True
        name = ascii_domain(domain.removeprefix("*."))
        if name is None:
            return False
        if domain.startswith("*."):
            self._suffixes.append(_Suffix("." + name, number, destination))
        else:
            self._exact.setdefault(name, (number, destination))
        return True

    def match(self, domain: str) -> Destination | None:
        """The destination of the first route that matches ``domain`` (lower case, no final dot); None: use its MX."""
        number, destination = self._exact.get(domain, (None, None))
        for route in self._suffixes:
            if number is not None and number < route.number:
                break
            if domain.endswith(route.suffix):
                return route.destination
        return destination


def _with(destination: Destination, tls: str, login: Login | None) -> Destination:
    """What is done differently needs connections of its own."""
    if not tls and login is None:
        return destination
    site = destination.site + (f" tls={tls}" if tls else "") + (f" as {login.user}" if login is not None else "")
    return msgspec.structs.replace(destination, site=site, tls=tls, login=login)


def parse_to(to: str) -> Destination | None:
    """The destination that ``to`` spells, None when it spells none. Its text is the site."""
    scheme, colon, rest = to.partition(":")
    if not colon:
        return None
    if scheme == "discard":
        return Destination("discard", "discard") if not rest else None
    if scheme == "lmtp+unix":
        return Destination(to, "lmtp", (Host(rest, 0, 0),)) if rest.startswith("/") and len(rest) > 1 else None
    protocol = _PROTOCOLS.get(scheme)
    return None if protocol is None else _at_host(to, protocol, rest)


def _at_host(to: str, protocol: Protocol, rest: str) -> Destination | None:
    name, colon, digits = rest.removeprefix("//").rpartition(":")
    if not rest.startswith("//") or not colon or not (digits.isascii() and digits.isdecimal() and len(digits) <= 5):
        return None
    addresses = _addresses(name)
    if addresses is None or not 0 < int(digits) < 65_536:
        return None
    host = Host(name.strip("[]").lower(), int(digits), 0, addresses, fixed=not addresses)
    return Destination(to.lower(), protocol, (host,))


def _addresses(name: str) -> tuple[str, ...] | None:
    """() for a name that DNS must tell, None for what is neither address nor name."""
    bracketed = name.startswith("[") and name.endswith("]")
    address = parse_ip(name[1:-1] if bracketed else name)
    if address is not None:
        return (str(address),) if bracketed == (":" in name) else None
    if bracketed or not is_host_name(name):
        return None
    return _LOCALHOST.get(name.lower(), ())
