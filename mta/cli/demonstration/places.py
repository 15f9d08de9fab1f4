"""Addresses for the servers of the demonstration, so that several can run at once and no root is needed.

Owns: the choice. On Linux every 127.x.y.z is this machine, so each server gets an address of its own and all SMTP
servers share one port, as on the Internet; elsewhere all are on 127.0.0.1 with a port each. In front of a server there
is a tap: ``athena`` is where everybody speaks to Athena, ``athena_behind`` is where she listens. Never does: keep a
socket.
"""

import errno
import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from mta.errors import UnavailableError

SMTP_PORT = 2525
POP3_PORT = 2110
DNS_PORT = 1053
#: From the port of a tap to that of its server.
BEHIND = 1
TRIES = 20

Address = tuple[str, int]


class Places(NamedTuple):
    """Host and port of every server."""

    dns: Address
    dns_behind: Address
    athena: Address
    athena_behind: Address
    athena_pop3: Address
    hermes: Address
    hermes_behind: Address
    arlington: Address
    arlington_behind: Address
    arlington_pop3: Address
    sink: Address


def choose(random: random.Random) -> Places:
    """Free addresses. Raises UnavailableError when the machine has none."""
    for _ in range(TRIES):
        network = f"127.{random.randint(16, 99)}.{random.randint(0, 99)}"  # short enough for the picture
        try:
            return Places(*_probe(_own_addresses(network)))
        except OSError as e:
            if e.errno not in (errno.EADDRINUSE, errno.EACCES):
                break
    try:
        return Places(*_probe([("127.0.0.1", 0)] * len(Places._fields)))
    except OSError as e:
        raise UnavailableError(f"no free address on loopback: {e.strerror or e}") from e


def text(address: Address) -> str:
    """``host:port``."""
    return f"{address[0]}:{address[1]}"


def _own_addresses(network: str) -> list[Address]:
    dns, athena, hermes, arlington, sink = (f"{network}.{number}" for number in (1, 2, 3, 4, 5))
    return [
        (dns, DNS_PORT),
        (dns, DNS_PORT + BEHIND),
        (athena, SMTP_PORT),
        (athena, SMTP_PORT + BEHIND),
        (athena, POP3_PORT),
        (hermes, SMTP_PORT),
        (hermes, SMTP_PORT + BEHIND),
        (arlington, SMTP_PORT),
        (arlington, SMTP_PORT + BEHIND),
        (arlington, POP3_PORT),
        (sink, SMTP_PORT),
    ]


def _probe(addresses: Sequence[Address]) -> list[Address]:
    """Binds all at once and lets go of them again; port 0 becomes a free one. Raises OSError."""
    with ExitStack() as held:
        found = []
        for address in addresses:
            sock = held.enter_context(socket.socket())
            sock.bind(address)
            found.append(sock.getsockname())
        return found
