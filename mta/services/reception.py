"""Reception: what all incoming connections of a worker share, and who is let in.

Owns: the connections, admission by limits, and whether transactions may begin; the end of it all. Never does: decide
about a command, which is the business of a connection's own policy (``services/receiving.py``). Loop thread only.
"""

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from mta.clock import Clock
from mta.log import EventLog
from mta.metrics.layout import ACCEPTED_IN, CONNECTIONS_IN
from mta.model.spoolid import IdSource
from mta.net.server import ServerConnection
from mta.policy.relay import RelayPolicy
from mta.queue.scheduler import Scheduler
from mta.services.access import Access
from mta.services.guard import TOO_MANY, Guard
from mta.services.inquiries import Inquiries
from mta.services.local import NO_LOCAL_MAIL, LocalMail
from mta.services.receiving import DISK_LOW, ReceptionSession
from mta.services.sessions import DRAINING, Opened, SessionSettings
from mta.spool.protocol import Spool
from mta_ext.counters import Counters
from mta_ext.smtp_replies import without_codes
from mta_ext.smtp_server import SmtpServerSession

_log = logging.getLogger("mta.reception")

#: Seconds for which the look at the disk's free space is trusted.
SPACE_CHECK = 1.0
#: Seconds between two lines in the log about a disk that stays full.
SPACE_REMIND = 60.0


class Reception:
    """One per worker: what all its incoming connections share."""

    def __init__(
        self,
        settings: SessionSettings,
        relay: RelayPolicy,
        spool: Spool,
        scheduler: Scheduler,
        ids: IdSource,
        events: EventLog,
        counters: Counters,
        clock: Clock,
        local: LocalMail = NO_LOCAL_MAIL,
        guard: Guard | None = None,
    ) -> None:
        self.settings = settings
        self.guard = guard
        self.inquiries = Inquiries(local)
        self.relay = relay
        self.local = local
        self.spool = spool
        self.scheduler = scheduler
        self.ids = ids
        self.events = events
        self.counters = counters
        self.clock = clock
        self.sessions: dict[ServerConnection, ReceptionSession] = {}
        self.clients: Counter[str] = Counter()
        #: The 421 for new connections and transactions: draining, spool failed. None: all is well.
        self.refusal: bytes | None = None
        self._space_until = 0.0
        self._space = True
        self._remind_at = float("-inf")
        self._told = False

    def listener(self, access: Access) -> Opened:
        """``opened`` for the connections of one listener."""
        return partial(self.open, access, ReceptionSession)

    def opened(self, connection: ServerConnection, peer: tuple[str, int]) -> SmtpServerSession | bytes:
        """As ``listener(Access())`` has it."""
        return self.open(Access(), ReceptionSession, connection, peer)

    def open(
        self, access: Access, make: "Make", connection: ServerConnection, peer: tuple[str, int]
    ) -> SmtpServerSession | bytes:
        """A connection came in: its session, or the reply that turns it away."""
        opened = self._open(access, make, connection, peer)
        return without_codes(opened) if isinstance(opened, bytes) and not access.coded else opened

    def _open(
        self, access: Access, make: "Make", connection: ServerConnection, peer: tuple[str, int]
    ) -> SmtpServerSession | bytes:
        address = peer[0]
        settings = self.settings
        if self.refusal is not None:
            return self.refusal
        if len(self.sessions) >= settings.connections:
            return TOO_MANY
        handler = make(self, connection, address, access)
        options = access.options(self.clock.now_ms())
        handler.session = settings.session(handler, in_step=access.in_step, **options)
        if self.guard is not None:
            refusal = self.guard.enter(connection, handler, len(self.sessions) / settings.connections)
            if refusal is not None:
                return handler.turn_away(refusal)
        # Over all workers the guard has counted. Clients of a unix socket are our own.
        if address != "unix" and self.clients[address] >= settings.connections_per_client:
            return handler.turn_away(TOO_MANY)
        self.count_as(handler, address)
        self.counters.add(CONNECTIONS_IN, 1)
        self.counters.add(ACCEPTED_IN, 1)
        self.sessions[connection] = handler
        return handler.session

    def closed(self, connection: ServerConnection) -> None:
        handler = self.sessions.pop(connection, None)
        if handler is not None:
            handler.leave()
            handler.left()
            self.counters.add(CONNECTIONS_IN, -1)
            self.count_as(handler, "")

    def count_as(self, handler: ReceptionSession, address: str) -> None:
        """A connection is this client's from now on, "": nobody's; behind a proxy it is not the proxy's any more."""
        before, handler.counted = handler.counted, address
        if address:
            self.clients[address] += 1
        if before:
            self.clients[before] -= 1
            if not self.clients[before]:
                del self.clients[before]

    def refusal_now(self) -> bytes | None:
        """Whether a transaction may begin: not while draining, after a failed commit, or with the disk low."""
        if self.refusal is not None:
            return self.refusal
        now = self.clock.monotonic()
        if now > self._space_until:
            self._space_until = now + SPACE_CHECK
            self._space = self.spool.free_octets() > 0
            self._tell_space(now)
        return None if self._space else DISK_LOW

    def _tell_space(self, now: float) -> None:
        if not self._space and now >= self._remind_at:
            self._remind_at = now + SPACE_REMIND
            self._told = True
            _log.warning(
                "the disk of data_dir has less room than spool.free_space keeps: mail is refused with 452 until there "
                "is more"
            )
        elif self._space and self._told:
            self._told = False
            _log.info("the disk of data_dir has room again: mail is taken")

    def busy(self) -> int:
        """Connections that have not heard our last word yet."""
        return sum(not connection.leaving for connection in self.sessions)

    def drain(self, reply: bytes = DRAINING) -> None:
        """Takes nothing new; idle connections are closed now, the others after their transaction."""
        self.refusal = reply
        for connection, handler in list(self.sessions.items()):
            if handler.session.idle and not connection.leaving:
                connection.shut(reply)

    def cut_off(self) -> None:
        """Whoever is still here after the drain hears it, in the middle of a transaction or not."""
        for connection in list(self.sessions):
            connection.shut(self.refusal or DRAINING)


Make = Callable[[Reception, ServerConnection, str, Access], ReceptionSession]
