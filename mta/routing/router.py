"""The face of routing for delivery: domain → destination → addresses to connect to.

Owns: the order of decisions (route, address literal, MX), the table of known domains that makes the hot path one dict
look-up, and what DNS trouble means for mail (always transient). Never does: connect, schedule, or retry.
Loop thread only.
"""

from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from math import inf
from random import Random
from typing import Final

import msgspec

from mta.clock import Clock
from mta.routing.answers import DnsTrouble
from mta.routing.cache import Counts, Lookup, Result, put_bounded
from mta.routing.destination import Destination, Host, RoutingError, site_name
from mta.routing.flights import Flights, together
from mta.routing.mx import better_than_ours, hosts_of, shuffled
from mta.routing.names import ascii_domain, parse_literal
from mta.routing.ourselves import Ourselves
from mta.routing.resolver import Resolver
from mta.routing.routes import Routes

__all__ = ["Destination", "Host", "Router", "RoutingError"]

#: Domains whose destination is at hand; about 0.5 KiB each beside the resolver's cache.
MAX_KNOWN: Final = 16_384
#: Addresses of one host that are worth a try.
MAX_ADDRESSES: Final = 10

Outcome = Destination | RoutingError


class _Known(msgspec.Struct, frozen=True):
    """What is known of a domain, until when (monotonic seconds), and from when on it is worth a refresh."""

    outcome: Outcome
    refresh_at: float = inf
    expires: float = inf


class Router:
    """``port``: of MX hosts. ``own_names``: EHLO names of ours, lower case. ``own_addresses``: ``ip:port`` of our
    SMTP listeners, IPv6 in brackets, wildcards expanded by the caller."""

    def __init__(
        self,
        routes: Routes,
        resolver: Resolver,
        *,
        port: int,
        own_names: frozenset[str],
        own_addresses: frozenset[str],
        random: Random,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._resolver = resolver
        self._port = port
        self._own_names = own_names
        self._ourselves = Ourselves(own_addresses)
        self._compare_addresses = self._ourselves.listen_on(port)
        self._random = random
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._hits = 0
        self._flights: Flights[Outcome] = Flights()

    async def close(self) -> None:
        """Ends look-ups under way. The resolver is closed by who made it."""
        await self._flights.close()

    def cached(self, domain: str) -> Outcome | None:
        """Where ``domain`` (lower case) goes, or why it cannot, when that is known; None: ask :meth:`resolve`.

        Never blocks, never raises. The error is shared: raise its copy.
        """
        known = self._known.get(domain)
        if known is None:
            return self._without_dns(domain)
        if self._clock.monotonic() < known.refresh_at:
            self._hits += 1
            return known.outcome
        return self._ageing(domain, known)

    async def resolve(self, domain: str) -> Destination:
        """As :meth:`cached`, with look-ups. Raises RoutingError. Equal domains at the same time are one look-up."""
        outcome = self.cached(domain)
        if outcome is None:
            if domain in self._flights:
                self._resolver.counts[Result.COALESCED] += 1
            outcome = await self._flights.join(domain, partial(self._by_mx, domain))
        if isinstance(outcome, RoutingError):
            raise outcome.copy()
        return outcome

    def in_order(self, destination: Destination) -> list[Host]:
        """The hosts to try on a new connection: by preference, equal ones shuffled for every call."""
        return shuffled(destination.hosts, self._random)

    async def addresses(self, host: Host) -> list[tuple[str, int]]:
        """(address, port) to try in order, IPv6 and IPv4 in turn; for a unix socket (path, 0).

        Raises RoutingError, which is about this host only: try the next one, and call the destination failed for good
        only when the errors of all its hosts were permanent. 5.4.4: it has no address (4.4.4 when a route names it: a
        name that operators put right sends nobody's mail back); 5.4.6: it is ourselves.
        """
        if host.port == 0:
            return [(host.name, 0)]
        found = list(host.addresses) or await self._look_up(host)
        if not found and host.fixed:
            raise RoutingError(False, "4.4.4", f"the host {host.name} of a route has no address", host.name)
        if not found:
            raise RoutingError(True, "5.4.4", f"the host {host.name} has no address", host.name)
        if any(self._ourselves.are(address, host.port) for address in found):
            self._forget(host)
            raise RoutingError(True, "5.4.6", f"mail loops: the host {host.name} is this server", host.name)
        self._random.shuffle(found)
        return [(address, host.port) for address in _in_turn(found)][:MAX_ADDRESSES]

    def counts(self) -> Counts:
        """Look-ups per result since the start, for ``mta_dns_cache_total``."""
        counts = self._resolver.counts.copy()
        counts[Result.HIT] += self._hits
        return counts

    def _without_dns(self, domain: str) -> Outcome | None:
        name = domain if domain.startswith("[") else ascii_domain(domain)
        outcome: Outcome | None
        if name is None:
            outcome = RoutingError(True, "5.1.2", f"{domain[:100]!r} is not a domain name")
        else:
            outcome = self._routes.match(name)
            if outcome is None and domain.startswith("["):
                outcome = self._at_literal(domain)
        if outcome is not None:
            put_bounded(self._known, domain, _Known(outcome), MAX_KNOWN)
        return outcome

    def _at_literal(self, domain: str) -> Outcome:
        address = parse_literal(domain) if domain.endswith("]") else None
        if address is None:
            return RoutingError(True, "5.1.2", f"{domain[:100]!r} is not an address literal")
        return Destination(f"[{address}]", "smtp", (Host(address, self._port, 0, (address,)),))

    def _ageing(self, domain: str, known: _Known) -> Outcome | None:
        if self._clock.monotonic() >= known.expires:
            return None
        self._hits += 1
        self._flights.start(domain, partial(self._by_mx, domain, renew=True))
        return known.outcome

    async def _by_mx(self, domain: str, *, renew: bool = False) -> Outcome:
        name = ascii_domain(domain)
        assert name is not None, "cached() has answered for what is no name"
        try:
            lookup = await self._resolver.mx(name, renew=renew)
        except DnsTrouble as trouble:
            return RoutingError(False, "4.4.3", f"DNS look-up failed: {trouble}", trouble.remote)
        outcome = await self._decide(name, lookup)
        if isinstance(outcome, RoutingError) and lookup.stale:
            # No message is sent back on the strength of an answer that has expired.
            return RoutingError(False, "4.4.3", f"DNS is in trouble, and its last answer was: {outcome.text}")
        self._remember(domain, outcome, lookup)
        return outcome

    def _remember(self, domain: str, outcome: Outcome, lookup: Lookup) -> None:
        """An answer whose refresh is due already has had its one chance: the next look-up is at its end."""
        due = self._clock.monotonic() >= lookup.refresh_at
        known = _Known(outcome, lookup.expires if due else lookup.refresh_at, lookup.expires)
        put_bounded(self._known, domain, known, MAX_KNOWN)

    async def _decide(self, domain: str, lookup: Lookup) -> Outcome:
        try:
            hosts = hosts_of(domain, lookup.answer, port=self._port, own_names=self._own_names, random=self._random)
            if self._compare_addresses:
                ours = await self._ours_by_address(hosts)
                hosts = tuple(better_than_ours(domain, hosts, ours))
        except RoutingError as error:
            return error.copy()
        return Destination(site_name(host.name for host in hosts), "smtp", hosts)

    async def _ours_by_address(self, hosts: tuple[Host, ...]) -> set[str]:
        """A host whose look-up fails now is compared again by :meth:`addresses`."""
        found = await together(*(self._addresses_if_known(host) for host in hosts))
        return {
            host.name
            for host, addresses in zip(hosts, found, strict=True)
            if any(self._ourselves.are(address, host.port) for address in addresses)
        }

    async def _addresses_if_known(self, host: Host) -> list[str]:
        try:
            return await self._resolver.addresses(host.name)
        except DnsTrouble:
            return []

    async def _look_up(self, host: Host) -> list[str]:
        try:
            return await self._resolver.addresses(host.name)
        except DnsTrouble as trouble:
            raise RoutingError(False, "4.4.3", f"DNS look-up failed: {trouble}", trouble.remote) from trouble

    def _forget(self, host: Host) -> None:
        """The destinations that this host is in were made before its address was known to be ours."""
        for domain, known in list(self._known.items()):
            if isinstance(known.outcome, Destination) and known.expires < inf and host in known.outcome.hosts:
                del self._known[domain]


def _in_turn(addresses: list[str]) -> Iterator[str]:
    """IPv6, IPv4, IPv6, … so that one broken family costs one attempt (RFC 8305 §4)."""
    v6 = [address for address in addresses if ":" in address]
    v4 = [address for address in addresses if ":" not in address]
    for pair in zip_longest(v6, v4):
        yield from (address for address in pair if address is not None)
