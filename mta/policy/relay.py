"""Who may relay, and for which domains mail is accepted from anyone.

Owns: the decision, from the client's address and the forward-path's domain. Never does: look anything up.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address


class RelayPolicy:
    """From ``[relay]``. Domains are compared in lower case without a trailing dot. Any thread."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network], domains: Iterable[str]) -> None:
        self._networks = tuple(networks)
        self._domains = frozenset(domain.lower().rstrip(".") for domain in domains)

    def trusts(self, client: str) -> bool:
        """Whether the client may relay to any domain; once per connection. A unix socket's client may ("unix")."""
        if client == "unix":
            return True
        try:
            address = ip_address(client.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def admits(self, domain: str, *, trusted: bool) -> bool:
        """Whether a recipient in ``domain`` (lower case) is accepted from this client."""
        return trusted or domain in self._domains
