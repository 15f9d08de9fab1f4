"""Looks up MX and address records: cache first, then the name servers, then what is stale.

Owns: the order of these three, the CNAME chains that a server does not finish, refreshing ahead of expiry, and the
counters per result. Never does: decide what an answer means for mail (``mta.routing.mx``). Loop thread only.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Protocol

import dns.message
from dns.rdatatype import RdataType
from msgspec.structs import replace

from mta.clock import Clock
from mta.routing.answers import MAX_CHAIN, Alias, Answer, DnsTrouble, Kind, MxRecord, Reason, read_answer
from mta.routing.cache import CACHE_SIZE, Cache, Counts, Lookup, Result
from mta.routing.flights import Flights, together
from mta.routing.names import is_reachable, parse_ip
from mta.routing.nameservers import NameServer
from mta.routing.transport import Transport

_log = logging.getLogger("mta.dns")

#: What says something about our servers, and not only about a name.
_SILENT = (Reason.TIMEOUT, Reason.UNREACHABLE)
#: Seconds between two lines in the log about servers that do not answer.
REMIND = 60.0
_ADDRESS_TYPES = (RdataType.AAAA, RdataType.A)
Key = tuple[str, RdataType]


class Asks(Protocol):
    """What the resolver needs of a transport."""

    async def query(self, name: str, rdtype: RdataType) -> dns.message.Message: ...

    def close(self) -> None: ...


class Resolver:
    """Names are in lower case, ASCII, without a final dot. ``timeout``: seconds per look-up, all tries included."""

    def __init__(
        self,
        servers: Sequence[NameServer],
        timeout: float,
        clock: Clock,
        *,
        random: Random,
        cache_size: int = CACHE_SIZE,
        transport: Asks | None = None,
    ) -> None:
        #: How look-ups ended, per result; every look-up counts once, a refresh besides.
        self.counts: Counts = Counter(dict.fromkeys(Result, 0))
        self._clock = clock
        self._transport: Asks = transport or Transport(servers, timeout, random)
        self._cache = Cache(random, cache_size)
        self._flights: Flights[Lookup | DnsTrouble] = Flights()
        self._remind_at = float("-inf")

    async def close(self) -> None:
        """Ends every look-up under way and closes the sockets."""
        await self._flights.close()
        self._transport.close()

    async def mx(self, domain: str, *, renew: bool = False) -> Lookup:
        """The MX records of ``domain`` (MxRecord). ``renew``: ask even though the cached ones are still fresh.

        Raises DnsTrouble when DNS cannot say and there is no stale answer either.
        """
        key = (domain, RdataType.MX)
        if renew:
            return await self._renewed(key)
        return self._fresh(key) or await self._look_up(key)

    async def addresses(self, host: str) -> list[str]:
        """IPv6 and IPv4 addresses of ``host`` in text; empty when it certainly has none.

        Raises DnsTrouble when none was found and one of the two look-ups failed or brought only stale news.
        """
        keys = [(host, rdtype) for rdtype in _ADDRESS_TYPES]
        known = [self._fresh(key) for key in keys]
        if all(known):
            return _addresses(known)
        lookups = await together(*(self._or_trouble(key, fresh) for key, fresh in zip(keys, known, strict=True)))
        found = _addresses(lookups)
        for lookup in lookups:
            if not found and isinstance(lookup, DnsTrouble):
                raise _again(lookup)
            if not found and isinstance(lookup, Lookup) and lookup.stale:
                raise DnsTrouble(Reason.TIMEOUT, host)
        return found

    async def listing(self, name: str) -> tuple[str, ...]:
        """The A records of a name in a list of addresses, whatever network they are in; empty: it is not listed.

        Raises DnsTrouble when DNS cannot say now: what is stale is none of our business."""
        key = (name, RdataType.A)
        lookup = self._fresh(key) or await self._look_up(key)
        if lookup.stale:
            raise DnsTrouble(Reason.TIMEOUT, name)
        return tuple(str(record) for record in lookup.answer.records)

    async def _or_trouble(self, key: Key, fresh: Lookup | None) -> Lookup | DnsTrouble:
        try:
            return fresh or await self._look_up(key)
        except DnsTrouble as trouble:
            return trouble

    async def _look_up(self, key: Key) -> Lookup:
        """As when the cache has nothing fresh."""
        trouble = self._cache.failure(key, self._clock.monotonic())
        if trouble is None:
            self.counts[Result.COALESCED if key in self._flights else Result.MISS] += 1
            outcome = await self._flights.join(key, partial(self._ask, key))
            if isinstance(outcome, Lookup):
                return outcome
            trouble = outcome
        return self._stale(key, trouble)

    async def _renewed(self, key: Key) -> Lookup:
        self.counts[Result.REFRESH] += key not in self._flights
        outcome = await self._flights.join(key, partial(self._ask, key))
        if isinstance(outcome, Lookup):
            return outcome
        return self._cache.fresh(key, self._clock.monotonic()) or self._stale(key, outcome)

    def _fresh(self, key: Key) -> Lookup | None:
        now = self._clock.monotonic()
        lookup = self._cache.fresh(key, now)
        if lookup is None:
            return None
        self.counts[Result.HIT if lookup.answer.kind is Kind.FOUND else Result.NEGATIVE] += 1
        if now >= lookup.refresh_at and key not in self._flights and self._cache.failure(key, now) is None:
            self.counts[Result.REFRESH] += 1
            self._flights.start(key, partial(self._ask, key))
        return lookup

    def _stale(self, key: Key, trouble: DnsTrouble) -> Lookup:
        stale = self._cache.stale(key, self._clock.monotonic())
        if stale is None:
            self.counts[Result.ERROR] += 1
            raise _again(trouble)
        self.counts[Result.STALE] += 1
        return stale

    async def _ask(self, key: Key) -> Lookup | DnsTrouble:
        try:
            answer = await self._to_the_end(*key)
        except DnsTrouble as trouble:
            self._cache.fail(key, trouble, self._clock.monotonic())
            self._tell(trouble)
            return trouble
        return self._cache.store(key, answer, self._clock.monotonic())

    def _tell(self, trouble: DnsTrouble) -> None:
        now = self._clock.monotonic()
        if trouble.reason in _SILENT and now >= self._remind_at:
            self._remind_at = now + REMIND
            _log.warning("DNS: %s; what needs an answer waits (dns.servers, dns.timeout)", trouble)

    async def _to_the_end(self, name: str, rdtype: RdataType) -> Answer[MxRecord] | Answer[str]:
        """Follows the chain on where a server has left off."""
        target, ttl = name, None
        for _ in range(MAX_CHAIN):
            said = read_answer(await self._transport.query(target, rdtype), target, rdtype)
            ttl = said.ttl if ttl is None else min(ttl, said.ttl)
            if not isinstance(said, Alias):
                return replace(said, ttl=ttl)
            target = said.target
        raise DnsTrouble(Reason.LOOP, name)


def _again(trouble: DnsTrouble) -> DnsTrouble:
    """A copy to raise: the kept one would gather a traceback with every raise."""
    return DnsTrouble(trouble.reason, trouble.name, trouble.remote)


def _addresses(lookups: Sequence[Lookup | DnsTrouble | None]) -> list[str]:
    """Each address once, as text; none that no host can have."""
    known = (lookup for lookup in lookups if isinstance(lookup, Lookup))
    parsed = (parse_ip(record) for lookup in known for record in lookup.answer.records)
    return list(dict.fromkeys(str(address) for address in parsed if address is not None and is_reachable(address)))
