"""Which addresses are our own SMTP listeners: mail must not be delivered to them.

Owns: the comparison of address AND port, so that a test set-up can deliver to other servers on the same machine.
Pure; any thread. Never does: find out which addresses the machine has (the caller does).
"""

from collections.abc import Iterable

from mta.routing.names import IpAddress, parse_ip
from mta.routing.nameservers import parse_server


class Ourselves:
    """Made from ``ip:port`` texts, IPv6 in brackets. An unspecified address stands for every loopback address too."""

    def __init__(self, own_addresses: Iterable[str]) -> None:
        self._own: set[tuple[IpAddress, int]] = set()
        self._ports_of_wildcards: set[int] = set()
        for text in own_addresses:
            listener = parse_server(text)
            address = None if listener is None else parse_ip(listener.address)
            if listener is None or address is None:
                raise ValueError(f'{text!r} is not "ip:port"')
            self._own.add((address, listener.port))
            if address.is_unspecified:
                self._ports_of_wildcards.add(listener.port)

    def listen_on(self, port: int) -> bool:
        """Whether any listener has this port: if not, no look-up is needed to tell."""
        return any(own == port for _, own in self._own)

    def are(self, address: str, port: int) -> bool:
        """Whether this is one of our listeners."""
        parsed = parse_ip(address)
        if parsed is None:
            return False
        return (parsed, port) in self._own or (parsed.is_loopback and port in self._ports_of_wildcards)
