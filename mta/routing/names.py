"""Names as DNS and SMTP write them: which text can be looked up, which can be a host, what an address literal says.

Owns: the checks on names that come from strangers (recipient domains, MX targets). Pure; any thread.
Never does: look anything up.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import dns.exception
import dns.name

#: RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text without the final dot.
MAX_NAME: Final = 253
#: Underscores are no host names by RFC 952, but they exist and resolve.
_LABEL: Final = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_IPV6_TAG: Final = "ipv6:"
_BROADCAST: Final = b"\xff" * 4

IpAddress = IPv4Address | IPv6Address


def parse_ip(text: str) -> IpAddress | None:
    """The address that ``text`` spells, IPv4-mapped IPv6 as the IPv4 it means; None when it spells none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_host_name(text: str) -> bool:
    """True for an ASCII name of at most 253 characters whose last label is no number (as in an address)."""
    if len(text) > MAX_NAME or _NAME.fullmatch(text) is None:
        return False
    return not text.rpartition(".")[2].isdecimal()


def ascii_domain(text: str) -> str | None:
    """``text`` in lower case, without a final dot, U-labels as A-labels (RFC 5890); None for what is no domain."""
    text = text.removesuffix(".")
    if not text or len(text) > MAX_NAME:
        return None
    if not text.isascii():
        try:
            text = dns.name.from_text(text, idna_codec=dns.name.IDNA_2008_UTS_46).to_text(omit_final_dot=True)
        except (dns.exception.DNSException, UnicodeError):
            return None
    return text.lower() if is_host_name(text) else None


def parse_literal(domain: str) -> str | None:
    """The address in ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]`` (RFC 5321 §4.1.3), normalised; None for others."""
    inside = domain[1:-1]
    if inside[: len(_IPV6_TAG)].lower() == _IPV6_TAG:
        inside = inside[len(_IPV6_TAG) :]
        if ":" not in inside or "%" in inside:
            return None
    elif ":" in inside:
        return None
    address = parse_ip(inside)
    return None if address is None else str(address)


def is_reachable(address: IpAddress) -> bool:
    """False for what no single host can have: unspecified, multicast, broadcast. Loopback and private ones count."""
    if address.is_unspecified or address.is_multicast:
        return False
    return address.version == 6 or (address.packed[0] != 0 and address.packed != _BROADCAST)
