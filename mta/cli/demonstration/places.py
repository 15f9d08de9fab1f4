"""Addresses for the servers of the demonstration, so that several can run at once and no root is needed.

Owns: the choice. On Linux every 127.x.y.z is this machine, so each server gets an address of its own and all SMTP
servers share one port, as on the Internet; elsewhere all are on 127.0.0.1 with a port each. Never does: keep a socket.
"""

import errno
import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from mta.errors import UnavailableError

SMTP_PORT = 2525
DNS_PORT = 1053
#: The tap that reads along what Athena says to Hermes, on Hermes's address.
TAP_PORT = 2526
TRIES = 20

Address = tuple[str, int]


class Places(NamedTuple):
    """Host and port of every server."""

    dns: Address
    athena: Address
    hermes: Address
    tap: Address
    arlington: Address
    home: Address


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
    dns, athena, hermes, arlington, home = (f"{network}.{number}" for number in (1, 2, 3, 4, 5))
    return [
        (dns, DNS_PORT),
        (athena, SMTP_PORT),
        (hermes, SMTP_PORT),
        (hermes, TAP_PORT),
        (arlington, SMTP_PORT),
        (home, SMTP_PORT),
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
