"""Who may relay, and for which domains mail is accepted from anyone.

Owns: the decision, from the client's address and the forward-path. Never does: look anything up.

No relaying by the back door: what stands before the last "@" must not be a route of its own (``user%elsewhere@ours``,
``elsewhere!user@ours``, ``"user@elsewhere"@ours``), since the host behind us might follow it.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

#: Characters in a local part that some mail system takes for a route.
_ROUTES_ON = frozenset("@%!")


class RelayPolicy:
    """From ``[relay]``: networks, and domains as ``example.org`` or ``*.example.org`` (names below). Any thread."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network], domains: Iterable[str]) -> None:
        self._networks = tuple(networks)
        names = [domain.lower().rstrip(".") for domain in domains]
        self._domains = frozenset(name for name in names if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def trusts(self, client: str) -> bool:
        """Whether the client may relay to any domain; once per connection. A unix socket's client may ("unix")."""
        return client == "unix" or within(client, self._networks)

    def admits(self, domain: str, *, trusted: bool, forward_path: str = "") -> bool:
        """Whether a recipient in ``domain`` (lower case, as the session gives it) is accepted from this client.

        A trailing dot, an address literal or an empty domain is none of ours. ``forward_path``: the whole path; with
        it, a local part that routes on is refused to clients that may not relay."""
        if trusted:
            return True
        if _ROUTES_ON.intersection(forward_path.rpartition("@")[0]):
            return False
        return domain in self._domains or bool(self._suffixes and domain.endswith(self._suffixes))


def within(client: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether an IP address is in one of the networks; IPv4 in its mapped form as well. False for what is none."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
