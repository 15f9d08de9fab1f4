"""Which name servers to ask: the configured ones, or those of resolv.conf.

Owns: reading ``[dns] servers`` and /etc/resolv.conf (resolver(5)). Never does: ask them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from mta.errors import ConfigError
from mta.routing.names import parse_ip

#: What resolver(5) and RFC 1035 §4.2 mean when no port is written.
DNS_PORT: Final = 53
RESOLV_CONF: Final = Path("/etc/resolv.conf")
#: resolver(5): more are ignored.
MAX_NAME_SERVERS: Final = 3


class NameServer(NamedTuple):
    """An address and port; prints as it is written in the configuration."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def parse_server(text: str) -> NameServer | None:
    """``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1``, ``[2001:db8::1]:5353``; None for anything else."""
    address, port = text, str(DNS_PORT)
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None
        port = rest[1:] or port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if parse_ip(address.partition("%")[0]) is None or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        return None
    return NameServer(address, int(port)) if 0 < int(port) < 65_536 else None


def name_servers(configured: Iterable[str], resolv_conf: Path = RESOLV_CONF) -> tuple[NameServer, ...]:
    """The configured servers; when there are none, those of ``resolv_conf``; else the one on this machine.

    Raises ConfigError with a line per entry of ``configured`` that is no address.
    """
    texts = list(configured)
    servers = [parse_server(text) for text in texts]
    wrong = [
        f'dns.servers[{i}]: "{text}" is not an address with an optional port, such as "127.0.0.1:53"'
        for i, (text, server) in enumerate(zip(texts, servers, strict=True))
        if server is None
    ]
    if wrong:
        raise ConfigError(wrong)
    found = tuple(server for server in servers if server is not None)
    return found or _of_resolv_conf(resolv_conf) or (NameServer("127.0.0.1", DNS_PORT),)


def _of_resolv_conf(path: Path) -> tuple[NameServer, ...]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ()  # resolver(5): without the file the server on this machine is asked
    words = [line.split() for line in lines]
    servers = [parse_server(w[1]) for w in words if len(w) > 1 and w[0] == "nameserver"]
    return tuple(server for server in servers if server is not None)[:MAX_NAME_SERVERS]
