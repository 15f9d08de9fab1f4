"""A clock that tests set, and a transport that answers from a zone without any network."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from random import Random

import dns.message
import dns.zone
from dns.rdatatype import RdataType

from mta.routing.answers import DnsTrouble, Reason
from mta.routing.resolver import Resolver
from mta.routing.router import Router
from mta.routing.routes import Routes
from mta.services.zone import ZoneServer, zone_from_dict
from tests.harness.clocks import SetClock


class ZoneTransport:
    """Answers from a dict of records. ``trouble``: name (``*``: all) → reason; ``gate`` holds answers back."""

    def __init__(self, records: Mapping[str, list[str]], ttl: int = 300) -> None:
        self.load(records, ttl)
        self.trouble: dict[str, Reason] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    def load(self, records: Mapping[str, list[str]], ttl: int = 300) -> None:
        self.serve(zone_from_dict(records, ttl))

    def serve(self, *zones: dns.zone.Zone) -> None:
        self._zone = ZoneServer(zones)

    async def query(self, name: str, rdtype: RdataType) -> dns.message.Message:
        self.asked[name, rdtype.name] += 1
        await self.gate.wait()
        reason = self.trouble.get(name, self.trouble.get("*"))
        if reason is not None:
            raise DnsTrouble(reason, name, "192.0.2.53:53")
        return dns.message.from_wire(self._zone.answer(dns.message.make_query(name, rdtype)).to_wire())

    def close(self) -> None:
        self.closed = True


def resolver_on(transport: ZoneTransport, clock: SetClock) -> Resolver:
    return Resolver((), 5.0, clock, random=Random(1), transport=transport)


def router_on(
    transport: ZoneTransport,
    clock: SetClock,
    *,
    routes: list[tuple[str, str]] | None = None,
    port: int = 25,
    own_names: frozenset[str] = frozenset(),
    own_addresses: frozenset[str] = frozenset(),
) -> Router:
    return Router(
        Routes(routes or []),
        resolver_on(transport, clock),
        port=port,
        own_names=own_names,
        own_addresses=own_addresses,
        random=Random(1),
        clock=clock,
    )


async def settled() -> None:
    """Lets tasks that nobody waits for run to their end; they have no IO to wait for."""
    for _ in range(20):
        await asyncio.sleep(0)
