"""The guard at the door: asks limits, block lists and hooks about the clients of one worker, and lets go under stress.

Owns: one ``Visitor`` for each connection that something is to be asked about. Clients we know (``relay.networks``,
``policy.allow``, a unix socket) have one only when there are hooks. Never does: decide by itself; ``mta.policy``
decides (``throttle``, ``blocklists``, ``stress``), and hooks do. Loop thread only.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from mta.clock import Clock
from mta.config import Config
from mta.log import Event, EventLog, PeerAddress, Response
from mta.metrics import MetricsTable
from mta.metrics.layout import HOOK_FAILURES, REFUSED, REJECTED, STRESS, TARPITTED
from mta.net.server import Deadlines, ServerConnection
from mta.policy import stress as pressing
from mta.policy.blocklists import BlockList, label_of, verdict
from mta.policy.stress import Look, Stress
from mta.policy.throttle import Client, Deed, Known, Throttle
from mta.routing.answers import DnsTrouble
from mta.services.hooking import Hooks
from mta.services.visitor import Host, Visitor
from mta_ext.counters import Counters
from mta_ext.session import PENDING, _Pending
from mta_ext.throttle import REFUSED as NO_MORE
from mta_ext.throttle import UNCOUNTED

_log = logging.getLogger("mta.guard")

TOO_MANY: Final = b"421 4.3.2 too many connections, try again later\r\n"
BUSY: Final = b"421 4.3.2 too busy now, try again later\r\n"


class Lists(Protocol):
    """Where lists of addresses are asked (``mta.routing.resolver``)."""

    async def listing(self, name: str) -> tuple[str, ...]:
        """Raises DnsTrouble."""


class GuardSettings(NamedTuple):
    """From ``[policy]`` and ``[limits]``; durations in seconds, 0: none."""

    deadlines: Deadlines
    tarpit: float = 0.0
    greet_pause: float = 0.0
    session_timeout: float = 0.0
    reserve: float = 0.0
    threshold: float = 1.0
    list_timeout: float = 5.0
    stress_connections: float = 0.8


class Guard:
    """One per worker."""

    def __init__(
        self,
        settings: GuardSettings,
        known: Known,
        throttle: Throttle,
        events: EventLog,
        counters: Counters,
        clock: Clock,
        *,
        lists: Sequence[BlockList] = (),
        resolver: Lists | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self.settings = settings
        self.known = known
        self.throttle = throttle
        self.counters = counters
        self.clock = clock
        self.lists = tuple(lists)
        self.hooks = hooks
        self.stress = Stress(settings.stress_connections)
        #: Those we do not know, in the order in which they came.
        self.strangers: dict[ServerConnection, Visitor] = {}
        self._events = events
        self._resolver = resolver
        stressed = (pressing.COMMAND_TIMEOUT, pressing.CONTENT_TIMEOUT)
        usual = settings.deadlines
        self._hurried = usual._replace(command=min(usual.command, stressed[0]), content=min(usual.content, stressed[1]))
        if hooks is not None:
            hooks.on_failure = lambda: counters.add(HOOK_FAILURES, 1)

    def enter(self, connection: ServerConnection, host: Host, share: float, *, greeted: bool = False) -> bytes | None:
        """A client has connected; ``share`` of the connections are taken. None: it may come in, else a last word,
        and the visitor has to be told that it has left."""
        known = host.trusted or host.address in self.known
        if known:
            host.row = self.throttle.enter_known(host.address)
            if host.row == NO_MORE:
                return self.refused("connections", TOO_MANY)
            if self.hooks is None:
                return None
        client: Client | None = None
        if not known:
            if share >= 1 - self.settings.reserve:
                return self.refused("stress", BUSY)
            entered = self.throttle.enter(host.address, self.clock.monotonic())
            if isinstance(entered, str):
                return self.refused(entered, _limited(entered))
            client = entered
        host.visitor = visitor = Visitor(self, connection, host, client, greeted=greeted)
        if client is not None:
            self._take_in(connection, visitor, greeted=greeted)
        return visitor.begin()

    def leave(self, host: Host) -> None:
        """The connection is over, or another client's; idempotent."""
        if host.visitor is not None:
            host.visitor.left()
        self.throttle.leave_row(host.row)
        host.row = UNCOUNTED

    def enter_as_another(self, connection: ServerConnection, host: Host) -> bytes | _Pending | None:
        """A proxy has told who its client is: everything is asked about that one, but for the pause."""
        self.leave(host)
        connection.stay()
        refusal = self.enter(connection, host, 0.0, greeted=True)
        if refusal is None and host.visitor is not None and host.visitor.deciding:
            return PENDING
        return refusal

    def _take_in(self, connection: ServerConnection, visitor: Visitor, *, greeted: bool) -> None:
        """What holds for those we do not know."""
        settings = self.settings
        self.strangers[connection] = visitor
        connection.on_mistakes = visitor.mistaken
        if settings.session_timeout:
            connection.end_by(settings.session_timeout)
        if self.stress:
            connection.hurry(self._hurried)
        elif settings.greet_pause and not greeted:
            visitor.pause(settings.greet_pause)

    def refused(self, reason: str, reply: bytes) -> bytes:
        """Counts; gives the reply back."""
        self.counters.add(REFUSED[reason], 1)
        return reply

    def reject(self, host: Host, reason: str, reply: bytes, command: str, sender: str, recipient: str) -> bytes:
        """Counts and writes it down; gives the reply back."""
        now = self.clock.now_ms() / 1000
        code, status, text = reply.decode().rstrip("\r\n").split(" ", 2)  # a hook's text may be empty
        self.counters.add(REJECTED, command == "RCPT")
        self._events.write(
            Event(
                type="Rejection",
                sender=sender,
                recipient=recipient,
                timestamp=now,
                created=now,
                session_id=host.label,
                peer_address=PeerAddress(host.session.hello_name, host.address),
                response=Response(int(code), status, text, command),
                reception_protocol="ESMTP" if host.session.esmtp else "SMTP",
                reason=reason,
            )
        )
        return self.refused(reason.partition(":")[0], reply)

    def tarpitted(self) -> None:
        self.counters.add(TARPITTED, 1)

    # Lists of addresses.

    async def listed(self, address: str) -> str | None:
        """The zone to blame, or None. A list that does not answer in time says nothing."""
        label = label_of(address)
        if label is None:
            return None
        answers = await asyncio.gather(*(self._answer(f"{label}.{entry.zone}") for entry in self.lists))
        return verdict(self.lists, answers, self.settings.threshold)

    async def _answer(self, name: str) -> tuple[str, ...] | None:
        assert self._resolver is not None
        try:
            async with asyncio.timeout(self.settings.list_timeout):
                return await self._resolver.listing(name)
        except (DnsTrouble, TimeoutError):
            return None

    # Stress.

    def look(self, seen: Look) -> None:
        """Once a second."""
        if self.stress.look(seen):
            self.counters.set(STRESS, int(bool(self.stress)))
            for connection in list(self.strangers):
                connection.hurry(self._hurried if self.stress else self.settings.deadlines)
            if self.stress:
                _log.warning("stress begins: %s; clients that are not known get less", self.stress.reason)
            else:
                _log.warning("stress ends")
        if self.stress:
            self._shed()

    def _shed(self) -> None:
        """Lets some of the newest idle clients go."""
        idle = [connection for connection in self.strangers if not connection.leaving and connection.session.idle]
        for connection in reversed(idle[len(idle) - self.stress.shed(len(idle)) :]):
            connection.shut(self.refused("stress", BUSY))


def _limited(name: str) -> bytes:
    key = "limits.connections_per_client" if name == "connections" else f"policy.{name}"
    return f"421 4.7.0 too many for your network now ({key}), try again later\r\n".encode()


def make_guard(
    config: Config,
    deadlines: Deadlines,
    table: MetricsTable,
    row: int,
    events: EventLog,
    counters: Counters,
    clock: Clock,
    resolver: Lists,
    hooks: Hooks | None,
) -> Guard:
    """From the configuration."""
    policy = config.policy
    limits = {
        Deed.CONNECTION: policy.connection_rate,
        Deed.MESSAGE: policy.message_rate,
        Deed.RECIPIENT: policy.recipient_rate,
        Deed.FAILURE: policy.failure_rate,
        Deed.ERROR: policy.error_rate,
    }
    throttle = Throttle(
        table.rates(),
        table.presence(row),
        table.secret,
        limits,
        connections=config.limits.connections_per_client,
        ipv4_prefix=policy.ipv4_prefix,
        ipv6_prefix=policy.ipv6_prefix,
    )
    settings = GuardSettings(
        deadlines,
        policy.tarpit,
        policy.greet_pause,
        policy.session_timeout,
        policy.reserve,
        policy.dnsbl_threshold,
        policy.dnsbl_timeout,
        policy.stress_connections,
    )
    return Guard(
        settings,
        Known((*policy.allow, *config.relay.networks)),
        throttle,
        events,
        counters,
        clock,
        lists=[BlockList(entry.zone, entry.weight, entry.answers) for entry in config.dnsbl],
        resolver=resolver,
        hooks=hooks,
    )
