"""Lists of addresses in the DNS (RFC 5782): what to ask, and what the answers of several lists come to.

Owns: names, weights and the sum. Never does: ask; who does says for each list which addresses came back, or None when
it cannot tell. A list that cannot tell has no weight.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple


class BlockList(NamedTuple):
    """``zone`` without a final dot; ``answers`` that mean "listed". ``weight`` below zero: a list of the good."""

    zone: str
    weight: float
    answers: tuple[IPv4Network | IPv6Network, ...]

    def lists(self, answers: Sequence[str]) -> bool:
        """Whether one of the A records that came back says so."""
        return any(address in network for address in map(IPv4Address, answers) for network in self.answers)


def label_of(client: str) -> str | None:
    """The address as lists spell it: octets or hexadecimal digits from behind, with dots. None: it is no address."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return ".".join(reversed(address.exploded.replace(":", "")))
        address = address.ipv4_mapped
    return ".".join(reversed(str(address).split(".")))


def verdict(lists: Sequence[BlockList], answers: Sequence[Sequence[str] | None], threshold: float) -> str | None:
    """The zone that weighs most against the client, when the sum over all lists reaches ``threshold``; else None."""
    found = [entry for entry, said in zip(lists, answers, strict=True) if said is not None and entry.lists(said)]
    if not found or sum(entry.weight for entry in found) < threshold:
        return None
    return max(found, key=lambda entry: entry.weight).zone
