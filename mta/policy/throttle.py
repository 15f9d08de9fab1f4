"""What a client may do and how fast, over all workers; who is exempt from that.

Owns: what counts as one client (a network, or the address of a known one), the limits by name, and their replies.
Never does: read a clock (moments are passed in, seconds that all processes share), or keep counts: they lie in the
tables of ``mta_ext.throttle``, bounded there (``RATE_SETS``, ``CLIENTS`` in ``mta/metrics/table.py``).
"""

import hashlib
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from mta_ext.throttle import REFUSED, UNCOUNTED, Presence, Rates

#: Seconds: a rate's worth of this time may come at once.
BURST: Final = 60.0
#: Errors of a session that are answered at once, and seconds that one reply is held back at most.
TARPIT_AFTER: Final = 3
TARPIT_LIMIT: Final = 10.0
_KEY_MASK: Final = (1 << 64) - 1
#: Stands for the length of the prefix in the key of a known client, which is one address.
_ONE_ADDRESS: Final = 255
#: Known clients whose keys a worker remembers.
_REMEMBERED: Final = 1024


class Deed(IntEnum):
    """What is counted. The value tells the keys of one client apart."""

    CONNECTION = 1
    MESSAGE = 2
    RECIPIENT = 3
    FAILURE = 4
    ERROR = 5


class Limit(NamedTuple):
    """Microseconds between two deeds for long, and how many may come at once."""

    interval: int
    burst: int


class Client(NamedTuple):
    """A client we do not know: the key of its network, its row of connections (UNCOUNTED: none)."""

    key: int
    row: int = UNCOUNTED


def limit_of(rate: float) -> Limit | None:
    """From deeds per second; None: there is no limit."""
    return Limit(max(1, round(1e6 / rate)), max(1, round(rate * BURST))) if rate else None


class Known:
    """The networks that no limit of this module is for. A unix socket's client is known as well."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    def __contains__(self, address: str) -> bool:
        parsed = parse(address)
        return parsed is None or any(parsed in network for network in self._networks)


def parse(address: str) -> IPv4Address | IPv6Address | None:
    """None for what is no IP address. An IPv4 address in IPv6's clothes is an IPv4 address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


class Throttle:
    """The limits of one worker's clients. ``rates``: deeds per second by kind, 0 or missing: no limit."""

    def __init__(
        self,
        rates: Rates,
        presence: Presence,
        secret: bytes,
        limits: dict[Deed, float],
        *,
        connections: int,
        ipv4_prefix: int = 32,
        ipv6_prefix: int = 64,
    ) -> None:
        self._rates = rates
        self._presence = presence
        self._secret = secret
        self._limits = {deed: limit for deed, rate in limits.items() if (limit := limit_of(rate)) is not None}
        self._connections = connections
        self._prefixes = (ipv4_prefix, ipv6_prefix)
        self._key_of_known = lru_cache(_REMEMBERED)(self._key_of_address)

    def key_of(self, address: str) -> int:
        """The key of the client's network; the same in all workers."""
        parsed = parse(address)
        if parsed is None:
            return 0
        bits = self._prefixes[parsed.version == 6]
        network = int(parsed) >> parsed.max_prefixlen - bits
        return self._key(parsed.version, bits, network)

    def _key_of_address(self, address: str) -> int:
        parsed = parse(address)
        return 0 if parsed is None else self._key(parsed.version, _ONE_ADDRESS, int(parsed))

    def _key(self, version: int, bits: int, network: int) -> int:
        packed = bytes([version, bits]) + network.to_bytes(16, "big")
        return int.from_bytes(hashlib.blake2b(packed, digest_size=8, key=self._secret).digest(), "big")

    def enter(self, address: str, now: float) -> Client | str:
        """One more connection: the client, for ``leave``, or the name of the limit that it has reached."""
        key = self.key_of(address)
        for deed, name in ((Deed.FAILURE, "failure_rate"), (Deed.ERROR, "error_rate")):
            if self.exhausted(key, deed, now):
                return name
        if not self.spend(key, Deed.CONNECTION, now):
            return "connection_rate"
        row = self._presence.enter(key, self._connections)
        return "connections" if row == REFUSED else Client(key, row)

    def leave(self, client: Client) -> None:
        self.leave_row(client.row)

    def enter_known(self, address: str) -> int:
        """One more connection of an address that is known, to which nothing else applies: its row, for ``leave_row``.
        REFUSED: it has as many as it may. UNCOUNTED: it has no address (a unix socket), or there is no row for it."""
        key = self._key_of_known(address)
        return self._presence.enter(key, self._connections) if key else UNCOUNTED

    def leave_row(self, row: int) -> None:
        """Harmless for UNCOUNTED."""
        if row >= 0:
            self._presence.leave(row)

    def spend(self, key: int, deed: Deed, now: float, amount: int = 1) -> bool:
        """False: that is faster than it may be. What is refused does not count."""
        limit = self._limits.get(deed)
        if limit is None:
            return True
        return self._rates.spend(_of_deed(key, deed), int(now * 1e6), limit.interval, limit.burst, amount)

    def exhausted(self, key: int, deed: Deed, now: float) -> bool:
        """Whether the next such deed would be one too many."""
        limit = self._limits.get(deed)
        if limit is None:
            return False
        return self._rates.owes(_of_deed(key, deed), int(now * 1e6), limit.interval) >= limit.burst


def _of_deed(key: int, deed: Deed) -> int:
    return (key ^ deed * 0x9E3779B97F4A7C15) & _KEY_MASK


def tarpit(before: int, mistakes: int, step: float) -> float:
    """Seconds by which a reply is late when a session's mistakes have grown: ``step`` for the fourth, twice that for
    the fifth, and so on; never more than TARPIT_LIMIT. Mistakes of one read are paid together."""
    first, last = max(before, TARPIT_AFTER) - TARPIT_AFTER, mistakes - TARPIT_AFTER
    if last <= first:
        return 0.0
    return min(TARPIT_LIMIT, step * (last * (last + 1) - first * (first + 1)) / 2)
