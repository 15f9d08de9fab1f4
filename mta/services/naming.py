"""What counts as ourselves when an MX record points here: our names, and the addresses that we listen on.

Owns: that list, made once at start. Never does: look anything up in the DNS. A wildcard listener stands for every
address of the machine, as far as the kernel tells them.
"""

import socket
from collections.abc import Iterable

from mta.config import Config


def own_names(config: Config) -> frozenset[str]:
    """Host names in lower case."""
    return frozenset({config.hostname.lower().rstrip(".")})


def own_addresses(bound: Iterable[socket.socket]) -> frozenset[str]:
    """``ip:port`` of each listening socket, as the kernel bound it; IPv6 in brackets. A unix socket has none."""
    found: set[str] = set()
    for sock in bound:
        if sock.family == socket.AF_UNIX:
            continue
        host, port = sock.getsockname()[:2]
        hosts = _machine_addresses() if host in ("0.0.0.0", "::") else [host]
        found.update(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)
    return frozenset(found)


def _machine_addresses() -> list[str]:
    """Addresses of this machine: loopback, its host name's, and the one that the default route would use."""
    found = {"127.0.0.1", "::1"}
    try:
        found.update(str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None))
    except OSError:
        pass  # a machine whose own name is not known has the others
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))  # sends nothing: a datagram socket only picks its route
                found.add(probe.getsockname()[0])
            except OSError:
                pass  # no route of that family
    return sorted(found)
