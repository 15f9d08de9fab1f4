"""Dialing: one connection to one host, from its name to a session that is ready, or the reason why there is none.

Owns: how a connection does TLS, and which hosts get mail in the clear for a while because no handshake came about.
Never does: choose the host, count connections, or decide what follows a failure (``mta.services.delivery``). Loop
thread only.
"""

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple, cast

from mta.clock import Clock
from mta.errors import ConfigError
from mta.net.connect import connect_first
from mta.net.deadlines import Wheel
from mta.net.remote import RemoteConnection, RemoteDeadlines, RemoteOwner
from mta.net.tls_client import CHECKED, HANDSHAKE, NO_TLS, ClientContext, ClientTls, Mode, client_context
from mta.policy.trouble import Kind, Problem
from mta.routing.destination import Destination, Host
from mta.routing.router import Router, RoutingError

_log = logging.getLogger("mta.delivery")

#: Stages of a connection that end in a handshake that did not come about.
HANDSHAKES = ("TLS", "CERTIFICATE")
#: Seconds for which a host whose handshake failed gets mail in the clear, where TLS is only opportunistic.
WITHOUT_TLS = 3600.0


class DeliverySettings(NamedTuple):
    """From ``[delivery]``; times in seconds. ``connections`` to a site from all workers together; ``fixed_share`` of
    them is for this worker alone, where the shared table has no room for the site."""

    ehlo_name: str
    connections: int
    fixed_share: int
    messages_per_connection: int
    connect_timeout: float
    deadlines: RemoteDeadlines
    ready_limit: int
    pause: float
    tls: Mode = "opportunistic"
    tls_authorities: Path | None = None


class Dialer:
    """One per worker."""

    def __init__(self, settings: DeliverySettings, router: Router, wheel: Wheel, clock: Clock) -> None:
        self._settings = settings
        self._router = router
        self._wheel = wheel
        self._clock = clock
        #: Hosts with which no handshake came about lately, and until when they get mail in the clear (monotonic).
        self._without_tls: dict[str, float] = {}
        self._contexts: dict[bool, ClientContext] = {}

    def forget(self) -> None:
        """TLS may be tried again with everybody at once."""
        self._without_tls.clear()

    def try_tls(self, host: Host) -> None:
        """This one takes no mail in the clear."""
        self._without_tls.pop(host.name, None)

    async def dial(
        self, owner: RemoteOwner, destination: Destination, host: Host
    ) -> tuple[RemoteConnection | None, Problem]:
        """Opportunistic TLS that fails is left away: a second connection in the clear, and the host is remembered."""
        try:
            tls = self._tls_for(destination, host)
        except ConfigError as error:
            return None, Problem(Kind.TLS, text=error.findings[0])
        remote, problem = await self._dial_with(owner, destination, host, tls)
        if remote is None and tls.mode == "opportunistic" and problem.stage in HANDSHAKES:
            _log.warning("%s: %s; it gets mail in the clear for %g s", destination.site, problem.text, WITHOUT_TLS)
            self._no_handshake_with(host)
            return await self._dial_with(owner, destination, host, NO_TLS)
        return remote, problem

    def _tls_for(self, destination: Destination, host: Host) -> ClientTls:
        """How a connection to this host does TLS. Raises ConfigError when the authorities cannot be read."""
        settings = self._settings
        mode = cast(Mode, destination.tls or settings.tls)
        if mode == "none" or host.port == 0:
            return NO_TLS
        if mode == "opportunistic" and self._without_tls.get(host.name, 0.0) > self._clock.monotonic():
            return NO_TLS
        check = mode in CHECKED
        context = self._contexts.get(check)
        if context is None:
            context = client_context(check=check, authorities=settings.tls_authorities)
            self._contexts[check] = context
        return ClientTls(mode, context, min(HANDSHAKE, settings.deadlines.command))

    def _no_handshake_with(self, host: Host) -> None:
        """Mail for it goes in the clear for a while, where that is allowed."""
        now = self._clock.monotonic()
        self._without_tls = {name: until for name, until in self._without_tls.items() if until > now}
        self._without_tls[host.name] = now + WITHOUT_TLS

    async def _dial_with(
        self, owner: RemoteOwner, destination: Destination, host: Host, tls: ClientTls
    ) -> tuple[RemoteConnection | None, Problem]:
        settings = self._settings

        def make() -> RemoteConnection:
            return RemoteConnection(
                owner,
                self._wheel,
                settings.deadlines,
                settings.ehlo_name,
                host,
                lmtp=destination.protocol == "lmtp",
                tls=tls,
                login=destination.login,
            )

        try:
            addresses = await self._router.addresses(host)
            remote = await connect_first(make, addresses, timeout=settings.connect_timeout)
        except RoutingError as error:
            return None, Problem(Kind.ROUTING if error.permanent else Kind.DNS, status=error.status, text=error.text)
        except TimeoutError:
            return None, Problem(Kind.CONNECT, text=f"connect to {host.name}: timed out")
        except OSError as error:
            return None, Problem(Kind.CONNECT, text=f"connect to {host.name}: {error.strerror or error}")
        try:
            refused = await remote.handshake
        except asyncio.CancelledError:
            remote.abort()
            raise
        if refused is None and remote.session.room:
            return remote, Problem(Kind.CONNECT)
        return None, _problem_of(remote, destination, refused)


def _problem_of(remote: RemoteConnection, destination: Destination, refused: str | None) -> Problem:
    host, stage = remote.host, remote.failed_at
    kind = Kind.LOGIN if stage == "AUTH" else Kind.TLS if stage in (*HANDSHAKES, "STARTTLS") else Kind.GREETING
    says = "" if kind is Kind.TLS else " said"
    text = f"{host}{says}: {refused}" if refused else f"{host} closed the connection"
    if destination.requiretls and stage in ("STARTTLS", "CERTIFICATE") and not 400 <= remote.failed_code < 500:
        # Who was asked and cannot, or cannot prove who it is: it will not be able to later (RFC 8689 §4.2.1).
        return Problem(Kind.LACKING, status="5.7.30", text=f"REQUIRETLS: {text}", stage=stage)
    return Problem(kind, text=text, stage=stage)
