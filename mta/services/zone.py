"""A tiny authoritative DNS server on loopback, for the demo and for tests: zones from a dict or a zone text.

Owns: answering over UDP and TCP on one port, CNAME chains within its records, wildcards, truncation, and the faults
that a test switches on. Never does: recursion, zone transfers, or anything on the open Internet.
Loop thread only.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

from mta.errors import DataError, UnavailableError

#: Octets of an answer by UDP when the query has no EDNS (RFC 1035 §4.2.1).
PLAIN_UDP: Final = 512
#: Seconds; what the dict form uses for all of its records, and for its negative answers.
DEFAULT_TTL: Final = 300
#: Octets that the length before a message over TCP can say (RFC 1035 §4.2.2).
MAX_TCP: Final = 65_535
MAX_CHAIN: Final = 8
#: Seconds that a DELAY lasts.
DELAY: Final = 1.0
#: Ports that are free for UDP and taken for TCP, in a row, until start gives up.
PORT_TRIES: Final = 20


class Fault(Enum):
    """What may go wrong, per name (``*``: every name)."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    SILENCE = "no answer at all"
    TRUNCATION = "TC and nothing else by UDP, the truth by TCP"
    DELAY = "the answer comes late"
    GARBAGE = "octets that are no message follow the right id and question"
    FLAP = "NXDOMAIN and the truth in turn, NXDOMAIN first"


class ZoneServer:
    """``start`` binds; ``address`` is then ``127.0.0.1:port``, as ``[dns] servers`` takes it.

    ``faults`` maps names (lower case, no final dot) to faults and may change at any time. ``queries`` counts what was
    asked, as (name, type).
    """

    def __init__(self, zones: Iterable[dns.zone.Zone], host: str = "127.0.0.1", port: int = 0) -> None:
        self.faults: dict[str, Fault] = {}
        self.queries: Counter[tuple[str, str]] = Counter()
        #: datagrams and connections that brought a query
        self.transports: Counter[str] = Counter()
        self._zones = sorted(zones, key=lambda zone: -len(_origin(zone).labels))
        self._host = host
        self._port = port
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._flapped: set[str] = set()

    @property
    def address(self) -> str:
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Binds UDP and TCP to the same port. Raises UnavailableError when the address is taken."""
        for _ in range(PORT_TRIES):
            try:
                await self._bind()
                return
            except OSError as error:
                reason = error
                if self._port:
                    break
        raise UnavailableError(f"DNS server: cannot listen on {self.address}: {reason}")

    async def stop(self) -> None:
        """Closes both sockets. Idempotent; ``start`` binds the same port again."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        self._udp = self._tcp = None
        await asyncio.sleep(0)  # the loop closes a datagram socket in its next round

    async def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (self._host, self._port))
        port = udp.get_extra_info("sockname")[1]
        try:
            self._tcp = await asyncio.start_server(self._connected, self._host, port)
        except OSError:
            udp.close()
            raise
        self._udp, self._port = udp, port

    def answer_datagram(self, data: bytes, transport: asyncio.DatagramTransport, client: Any) -> None:
        query = _parsed(data)
        if query is None:
            return
        self.transports["udp"] += 1
        fault = self._fault(query)
        if fault is Fault.SILENCE:
            return
        wire = self._udp_wire(query, fault)
        if fault is Fault.DELAY:
            asyncio.get_running_loop().call_later(DELAY, _send, transport, wire, client)
        else:
            transport.sendto(wire, client)

    def _udp_wire(self, query: dns.message.Message, fault: Fault | None) -> bytes:
        response = self._response(query, fault)
        if fault is Fault.GARBAGE:
            return response.to_wire()[: len(query.question[0].name.to_digestable()) + 16] + b"\xff" * 9
        if fault is not Fault.TRUNCATION:
            try:
                return response.to_wire(max_size=max(query.payload, PLAIN_UDP))
            except dns.exception.TooBig:
                pass  # RFC 2181 §9: TC, and the client asks again by TCP
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        return cut.to_wire()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transports["tcp"] += 1
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                query = _parsed(await reader.readexactly(length))
                if query is None:
                    break
                fault = self._fault(query)
                if fault is not Fault.SILENCE:
                    writer.write(self._response(query, fault).to_wire(max_size=MAX_TCP, prepend_length=True))
        except (OSError, EOFError):
            pass  # the client has what it wanted
        finally:
            writer.close()

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """The whole answer, faults and transport aside."""
        return self._response(query, None)

    def _fault(self, query: dns.message.Message) -> Fault | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.queries[name, dns.rdatatype.to_text(question.rdtype)] += 1
        return self.faults.get(name, self.faults.get("*"))

    def _response(self, query: dns.message.Message, fault: Fault | None) -> dns.message.Message:
        response = dns.message.make_response(query)
        question = query.question[0]
        if fault in (Fault.SERVFAIL, Fault.REFUSED):
            response.set_rcode(dns.rcode.SERVFAIL if fault is Fault.SERVFAIL else dns.rcode.REFUSED)
            return response
        response.flags |= dns.flags.AA
        zone = self._zone_of(question.name)
        if zone is None:
            response.set_rcode(dns.rcode.REFUSED)
        elif fault is Fault.FLAP and self._flaps(str(question.name)):
            response.set_rcode(dns.rcode.NXDOMAIN)
            response.authority.append(_soa(zone))
        else:
            _fill(response, zone, question.name, question.rdtype)
        return response

    def _zone_of(self, name: dns.name.Name) -> dns.zone.Zone | None:
        return next((zone for zone in self._zones if name.is_subdomain(_origin(zone))), None)

    def _flaps(self, name: str) -> bool:
        """True the first time and every other time after that."""
        self._flapped ^= {name}
        return name in self._flapped


class _Datagrams(asyncio.DatagramProtocol):
    """Hands datagrams over; an unreachable client is not our trouble."""

    def __init__(self, server: ZoneServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transport is no subclass of asyncio's

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._transport is not None:
            self._server.answer_datagram(data, self._transport, addr)


def zone_from_text(text: str, origin: str) -> dns.zone.Zone:
    """A zone in the form of RFC 1035 §5. Raises DataError with the line that is wrong."""
    try:
        return dns.zone.from_text(text, origin=dns.name.from_text(origin), relativize=False, check_origin=False)
    except dns.exception.DNSException as error:
        raise DataError(f"zone {origin}: {error}") from error


def zone_from_dict(records: Mapping[str, Iterable[str]], ttl: int = DEFAULT_TTL) -> dns.zone.Zone:
    """Everything below the root: name → lines such as ``MX 10 mx.example.``; names in them are absolute.

    Raises DataError for a line that does not parse.
    """
    lines = [f"$TTL {ttl}", f". SOA ns. hostmaster. 1 3600 600 86400 {ttl}", ". NS ns."]
    lines += [f"{name.rstrip('.')}. {line}" for name, entries in records.items() for line in entries]
    return zone_from_text("\n".join(lines) + "\n", ".")


def _send(transport: asyncio.DatagramTransport, wire: bytes, client: Any) -> None:
    if not transport.is_closing():
        transport.sendto(wire, client)


def _fill(response: dns.message.Message, zone: dns.zone.Zone, name: dns.name.Name, rdtype: Any) -> None:
    for _ in range(MAX_CHAIN):
        node = _node(zone, name)
        if node is None:
            if not _has_names_below(zone, name):
                response.set_rcode(dns.rcode.NXDOMAIN)
            break
        for wanted in (rdtype, dns.rdatatype.CNAME):
            rdataset = node.get_rdataset(dns.rdataclass.IN, wanted)
            if rdataset is not None:
                response.answer.append(dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset)))
                break
        if rdataset is None:
            break
        if wanted == rdtype:
            return
        name = rdataset[0].target
        if not name.is_subdomain(_origin(zone)):
            return
    response.authority.append(_soa(zone))


def _node(zone: dns.zone.Zone, name: dns.name.Name) -> dns.node.Node | None:
    """The node of the name, else that of the closest wildcard above it (RFC 4592)."""
    node = zone.get_node(name)
    while node is None and not _has_names_below(zone, name) and name != _origin(zone):
        name = name.parent()
        if (node := zone.get_node(dns.name.Name((b"*", *name.labels)))) is None and zone.get_node(name) is not None:
            return None
    return node


def _has_names_below(zone: dns.zone.Zone, name: dns.name.Name) -> bool:
    return any(other.is_subdomain(name) for other in zone)


def _soa(zone: dns.zone.Zone) -> dns.rrset.RRset:
    soa = zone.get_rdataset(_origin(zone), dns.rdatatype.SOA)
    if soa is None:
        raise DataError(f"zone {_origin(zone)}: has no SOA record")
    return dns.rrset.from_rdata_list(_origin(zone), soa.ttl, list(soa))


def _origin(zone: dns.zone.Zone) -> dns.name.Name:
    assert zone.origin is not None, "every zone here is made with an origin"
    return zone.origin


def _parsed(data: bytes) -> dns.message.Message | None:
    try:
        query = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return None
    return query if len(query.question) == 1 and not query.flags & dns.flags.QR else None
