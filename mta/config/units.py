"""The little languages inside configuration values: durations, sizes, rates, networks, addresses, route targets.

Owns: turning one TOML value into one Python value. Every function raises ValueError with the reason when it cannot
(the reader adds the path), and takes what it gives, so that an encoded configuration reads back unchanged.
Never does: look at other keys, files or the environment.
"""

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import NamedTuple

Network = IPv4Network | IPv6Network

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_OCTETS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", re.ASCII)
_RATE = re.compile(r"(\d[\d_]*)/(s|sec|min|m|h|hour|d|day)", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_HOOK = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
#: Octets of a domain name (RFC 1035 §2.3.4), and of a unix socket's path on Linux (one is kept for its final NUL).
DOMAIN_LIMIT = 253
UNIX_PATH_LIMIT = 107


def _number(value: object) -> float | None:
    """The value as a number, or None: TOML's booleans are ints in Python and are no numbers here."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def duration(value: object) -> float:
    """Seconds from ``"90s" "5m" "4h" "5d" "4d12h"`` or a number of seconds."""
    seconds = _number(value)
    if seconds is None and isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = sum(float(count) * _SECONDS[unit] for count, unit in _DURATION_PART.findall(value))
    if seconds is None or not 0 <= seconds < 1e10:
        raise ValueError('is not a duration such as "90s", "5m" or "4d12h"')
    return seconds


def some_duration(value: object) -> float:
    """A duration that is not zero."""
    seconds = duration(value)
    if seconds == 0:
        raise ValueError("must be longer than zero")
    return seconds


def size(value: object) -> int:
    """Octets from ``"64KiB" "50MiB"`` (powers of 1024), ``"1MB"`` (powers of 1000) or a number of octets."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62:
        return value
    parts = _SIZE.fullmatch(value) if isinstance(value, str) else None
    unit = _OCTETS.get(parts[2].upper()) if parts else None
    if parts is None or unit is None or float(parts[1]) * unit >= 1 << 62:
        raise ValueError('is not a size such as "64KiB" or "50MiB"')
    return int(float(parts[1]) * unit)


def rate(value: object) -> float:
    """Per second, from ``"100/min"``, ``"1_000/h"`` or a number per second."""
    number = _number(value)
    if number is not None and 0 <= number < 1e15:
        return number
    parts = _RATE.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('is not a rate such as "100/min" or "1_000/h"')
    return int(parts[1]) / _SECONDS[parts[2][0]]


def network(value: object) -> Network:
    """An IP network or a single address. Host bits must be zero: ``10.0.0.1/8`` is more often a slip than meant."""
    if isinstance(value, str):
        try:
            return ip_network(value)
        except ValueError as error:
            if "has host bits set" in str(error):
                raise ValueError("is not a network: bits are set behind the prefix length") from None
    raise ValueError("is not a network")


def is_domain(text: str) -> bool:
    """Lower-case labels of letters, digits, hyphen and underscore, no dot at the end."""
    return len(text) <= DOMAIN_LIMIT and all(_LABEL.fullmatch(label) for label in text.split("."))


def domain(value: object) -> str:
    """A domain name, in lower case."""
    if not isinstance(value, str) or not is_domain(value.lower()):
        raise ValueError("is not a domain name")
    return value.lower()


def domain_pattern(value: object) -> str:
    """``example.org``, ``*.example.org`` (every name below it) or ``*``, in lower case."""
    text = value.lower() if isinstance(value, str) else ""
    if text != "*" and not is_domain(text.removeprefix("*.")):
        raise ValueError('is not a domain, "*.suffix" or "*"')
    return text


def relay_domain(value: object) -> str:
    """A domain, or every name below one. Not ``*``: that would be an open relay."""
    text = domain_pattern(value)
    if text == "*":
        raise ValueError("would relay for everybody: name the domains")
    return text


def mailbox(value: object) -> str:
    """``local-part@domain``, as it is written, or nothing. What a local part may be is for the directory to say."""
    text = value if isinstance(value, str) else " "
    name, at, host = text.rpartition("@")
    if text and (not at or not name or not is_domain(host.lower()) or any(c.isspace() or c in "<>" for c in text)):
        raise ValueError("is not a mailbox such as postmaster@minasi.example")
    return text


def separator(value: object) -> str:
    """One character that may stand in a local part, or nothing."""
    if not isinstance(value, str) or len(value) > 1 or (value and value in '@."\\<>() ,;:'):
        raise ValueError('is not a separator such as "+"')
    return value


def address_template(value: object) -> str:
    """A text in which "%" means something wherever it stands."""
    if not isinstance(value, str) or not value or "%" in re.sub("%[gsid%]", "", value):
        raise ValueError('is not a template such as "%g.%s@%d": %g given name, %s surname, %i initial, %d domain')
    return value


def hook_module(value: object) -> str:
    """``package.module:Name``, where Name is what is called with the options."""
    if not isinstance(value, str) or not _HOOK.fullmatch(value):
        raise ValueError('is not "module:Name" such as "my_policy:Policy"')
    return value


def options(value: object) -> dict[str, object]:
    """A table of plain values, whatever they are named: it is passed on as it is."""
    if not isinstance(value, dict) or not _is_plain(value):
        raise ValueError("is not a table of texts, numbers, flags, arrays and tables")
    return value


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, str | int | float)


def object_name(value: object) -> str:
    """``module:name`` of something in Python, or nothing."""
    text = value if isinstance(value, str) else " "
    parts = text.replace(":", ".").split(".")
    if text and (text.count(":") != 1 or not all(part.isidentifier() for part in parts)):
        raise ValueError('is not "module:name"')
    return text


class Address(NamedTuple):
    """Where to listen or connect: ``host`` and ``port``, or ``path`` of a unix socket (the other part is empty)."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host_and_port(text: str, default_port: int | None = None) -> tuple[str, int] | None:
    """``host:port``, ``192.0.2.1:port``, ``[v6]:port``; without a port only where there is a default. Else None."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        try:
            IPv6Address(host)
        except ValueError:
            return None
        if not bracket or (rest and not rest.startswith(":")):
            return None
        port = rest[1:] if rest else None
    else:
        host, colon, digits = text.partition(":")
        port = digits if colon else None
        if not is_domain(host.lower()):
            return None
    if port is None:
        return None if default_port is None else (host, default_port)
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        return None
    return host, int(port)


def address(value: object) -> Address:
    """``"host:port"``, ``"[::1]:port"`` (port 0: any free one) or ``"unix:/path"``."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, Address) else ""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path or len(path.encode()) > UNIX_PATH_LIMIT:
            raise ValueError(f"names a socket path that is empty or longer than {UNIX_PATH_LIMIT} octets")
        return Address(path=path)
    found = host_and_port(text)
    if found is None:
        raise ValueError('is not "host:port", "[v6]:port" or "unix:/path"')
    return Address(*found)


def dns_server(value: object) -> tuple[str, int]:
    """(host, port) of a DNS server, from ``"192.0.2.53"``, ``"192.0.2.53:5353"`` or ``"[v6]:53"``. An IP address."""
    text = value if isinstance(value, str) else ""
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    found = host_and_port(text, 53)
    if found is not None:
        try:
            network(found[0])
        except ValueError:
            found = None
    if found is None or not found[1]:
        raise ValueError('is not the address of a DNS server such as "192.0.2.53:53"')
    return found


def route_target(value: object) -> str:
    """Where a route leads, as written: ``smtp://host:port lmtp://host:port lmtp+unix:/path discard:``."""
    text = value if isinstance(value, str) else ""
    scheme, _, rest = text.partition(":")
    if text == "discard:":
        return text
    if scheme in ("smtp", "lmtp") and rest.startswith("//"):
        found = host_and_port(rest[2:], 25 if scheme == "smtp" else 24)
        if found is not None and found[1]:
            return text
    elif scheme == "lmtp+unix" and rest.startswith("/") and "\0" not in rest:
        return text
    raise ValueError('is not "smtp://host:port", "lmtp://host:port", "lmtp+unix:/path" or "discard:"')
