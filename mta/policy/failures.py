"""Who has given wrong passwords lately, and how long its answers are held back for it.

Owns: a token bucket per client and the network that counts as one client. Never does: wait, or judge a password.
A client may fail ``rate`` times a minute's worth at once; each failure beyond holds its answers back by a second more,
up to ``DELAY_LIMIT``. Failures are forgotten at ``rate``.
"""

from ipaddress import IPv6Address, ip_address
from typing import Final

#: Seconds that each failure beyond the allowed ones adds, and the most that they add up to.
DELAY_STEP: Final = 1.0
DELAY_LIMIT: Final = 30.0
#: Clients that are remembered; beyond it those that failed longest ago are forgotten.
CLIENTS_LIMIT: Final = 50_000
#: A whole network of this prefix length is one client: who has one IPv6 address has all of these.
IPV6_PREFIX: Final = 64


def client_of(address: str) -> str:
    """What counts as one client: an IPv4 address, an IPv6 network; what is neither (a unix socket) is one as well."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{parsed.exploded[:19]}::/{IPV6_PREFIX}"


class Failures:
    """``rate``: failures per second that are forgotten, 0: nobody is ever held back. ``now``: monotonic seconds."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._allowed = max(1.0, rate * 60)
        self._worst = self._allowed + DELAY_LIMIT / DELAY_STEP
        self._clients: dict[str, tuple[float, float]] = {}  # failures not yet forgotten, and when that was reckoned

    def record(self, client: str, now: float) -> None:
        """One more wrong password."""
        if not self._rate:
            return
        count = min(self._worst, self._count(client, now) + 1)
        self._clients.pop(client, None)  # to the end: who failed last is forgotten last
        self._clients[client] = (count, now)
        if len(self._clients) > CLIENTS_LIMIT:
            del self._clients[next(iter(self._clients))]

    def delay(self, client: str, now: float) -> float:
        """Seconds by which its answers are to be late."""
        return max(0.0, self._count(client, now) - self._allowed) * DELAY_STEP

    def suspect(self, client: str, now: float) -> bool:
        """Whether it has failed lately at all."""
        return self._count(client, now) > 0

    def _count(self, client: str, now: float) -> float:
        met = self._clients.get(client)
        if met is None:
            return 0.0
        count, at = met
        count -= (now - at) * self._rate
        if count > 0:
            return count
        del self._clients[client]
        return 0.0
