"""The header that a proxy puts in front of a connection: PROXY protocol, versions 1 and 2 (haproxy.org, 2.6).

Owns: its syntax, strictly. Never does: IO, or decide whose headers are believed. Addresses come out as
``ipaddress`` writes them, IPv4 in its own form also where it was mapped into IPv6, so that limits count a client once.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final, NamedTuple

#: Octets of a header of version 1, line end included, and of version 2 with everything behind its addresses.
V1_LIMIT: Final = 107
V2_LIMIT: Final = 4_096
#: The address of a client that the proxy does not know: in no network that anybody trusts.
UNKNOWN: Final = "0.0.0.0"
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1: Final = b"PROXY "
_HEAD: Final = Struct("!12sBBH")
_V1_LINE: Final = re.compile(r"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5})")
#: Family → octets of its addresses and ports: AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX.
_SIZES: Final = {0: 0, 1: 12, 2: 36, 3: 216}
_LOCAL, _PROXY, _STREAM = 0, 1, 1
_COMMANDS: Final = (0x20 | _LOCAL, 0x20 | _PROXY)


class Malformed(ValueError):
    """No header, or one that no proxy writes. The text is for the log and holds nothing of what came."""


class Proxied(NamedTuple):
    """Who is behind the proxy. ``address`` "": the proxy speaks for itself (LOCAL), as in its checks of our health;
    ``UNKNOWN``: it does not know. ``size``: octets of the header."""

    address: str
    port: int
    size: int


def read_header(data: bytes) -> Proxied | None:
    """The header at the beginning of ``data``; None: as far as it goes it may be one. Raises Malformed."""
    if data.startswith(_V1[: len(data)]):
        return _read_v1(data)
    if data.startswith(_V2[: len(data)]):
        return _read_v2(data)
    raise Malformed("no PROXY header")


def _read_v1(data: bytes) -> Proxied | None:
    end = data.find(b"\n", 0, V1_LIMIT)
    if end < 0:
        if len(data) >= V1_LIMIT:
            raise Malformed("a header of version 1 without an end")
        return None
    try:
        line = data[: end + 1].decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("a header of version 1 that is not ASCII") from None
    if not line.endswith("\r\n"):
        raise Malformed("a header of version 1 that ends in a bare LF")
    if line.startswith(("PROXY UNKNOWN\r", "PROXY UNKNOWN ")):
        return Proxied(UNKNOWN, 0, len(line))
    found = _V1_LINE.fullmatch(line, 0, len(line) - 2)
    if found is None:
        raise Malformed("a header of version 1 with other than five fields")
    kind, source, destination, *ports = found.groups()
    client, _ = _address(source, kind), _address(destination, kind)
    if any(int(port) > 65_535 or str(int(port)) != port for port in ports):
        raise Malformed("a header of version 1 with a port that is none")
    return Proxied(_shown(client), int(ports[0]), len(line))


def _address(text: str, kind: str) -> IPv4Address | IPv6Address:
    try:
        return IPv4Address(text) if kind == "TCP4" else IPv6Address(text)
    except ValueError:
        raise Malformed("a header of version 1 with an address that is none") from None


def _read_v2(data: bytes) -> Proxied | None:
    if len(data) > len(_V2) and data[len(_V2)] not in _COMMANDS:
        raise Malformed("a header of version 2 with a version or command that is none")
    if len(data) < _HEAD.size:
        return None
    _, command, kind, length = _HEAD.unpack_from(data)
    size = _HEAD.size + length
    if size > V2_LIMIT:
        raise Malformed("a header of version 2 that is too long")
    family, transport = kind >> 4, kind & 15
    addresses = _SIZES.get(family)
    if addresses is None or transport > 2:
        raise Malformed("a header of version 2 with a family that is none")
    if command & 15 == _LOCAL:  # whatever follows is to be skipped
        return Proxied("", 0, size) if len(data) >= size else None
    if transport != _STREAM and kind != 0:
        raise Malformed("a header of version 2 for no stream")
    if length < addresses:
        raise Malformed("a header of version 2 that is too short for its addresses")
    if len(data) < size:
        return None
    body = data[_HEAD.size : size]
    _check_rest(body[addresses:])
    if family not in (1, 2):
        return Proxied(UNKNOWN, 0, size)
    octets = 4 if family == 1 else 16
    port = int.from_bytes(body[2 * octets : 2 * octets + 2], "big")
    return Proxied(_shown(ip_address(body[:octets])), port, size)


def _check_rest(rest: bytes) -> None:
    """What is behind the addresses: type, length, value, and again. We read none of it, but it must fit."""
    at = 0
    while at < len(rest):
        end = at + 3 + int.from_bytes(rest[at + 1 : at + 3], "big")
        if at + 3 > len(rest) or end > len(rest):
            raise Malformed("a header of version 2 whose last part is cut off")
        at = end


def _shown(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
