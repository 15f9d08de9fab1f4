"""Delivery: takes what is due to its site, keeps connections warm, and hands outcomes on.

Owns: the sites of this worker, their connections and the look-ups under way. Never does: parse SMTP, decide what
follows a failure (``mta.services.outcomes`` with ``mta.policy.trouble``), or write to the spool. Loop thread only.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from mta.clock import Clock
from mta.metrics.layout import CONNECTIONS_OUT, OCTETS_OUT, OPENED_OUT
from mta.model.message import Message, Recipient
from mta.model.spoolid import format_id
from mta.net.deadlines import Wheel
from mta.net.remote import RemoteConnection
from mta.policy.offer import PLAIN, Sending, is_plain, sending
from mta.policy.trouble import Kind, Problem, asks_for_tls, lacks, permanent, tries_next_host
from mta.queue.entry import Attempt, Entry
from mta.queue.site import Site
from mta.routing.destination import checked, without
from mta.routing.router import Destination, Host, Router, RoutingError
from mta.services.conversions import Conversions
from mta.services.dialing import DeliverySettings, Dialer
from mta.services.local import NO_LOCAL_MAIL, LocalMail
from mta_ext.counters import Counters
from mta_ext.reply import Reply
from mta_ext.shares import Shares

_log = logging.getLogger("mta.delivery")

#: Recipients in one transaction: what every server must take (RFC 5321 §4.5.3.1.8).
RECIPIENTS = 100
#: To a store more of them, for it keeps one content for all recipients of a transaction.
LMTP_RECIPIENTS = 1000
#: Octets of content that are read into memory for delivery; larger content is pulled from the spool in pieces.
WHOLE_CONTENT = 262_144
#: Entries of one domain that wait in memory for its look-up; the others come when it has ended.
RESOLVING = 256
#: Seconds between looks at ready queues that wait for one more connection.
TICK = 0.1
#: Seconds after which a site without work is forgotten.
SITE_MEMORY = 300.0


class Delivery:
    """All sites of a worker. ``take`` is the scheduler's way in."""

    def __init__(
        self,
        settings: DeliverySettings,
        router: Router,
        wheel: Wheel,
        clock: Clock,
        counters: Counters,
        shares: Shares,
        local: LocalMail = NO_LOCAL_MAIL,
    ) -> None:
        self.settings = settings
        self.router = router
        self.wheel = wheel
        self.clock = clock
        self.counters = counters
        self.shares = shares
        self.local = local
        self.sites: dict[str, SiteDelivery] = {}
        self.resolving: dict[str, list[Entry]] = {}
        self.draining = False
        self.dialer = Dialer(settings, router, wheel, clock)
        self.tasks: set[asyncio.Task[None]] = set()

    def has_room(self, domain: str, free: int) -> bool:
        """Whether one more entry for ``domain`` may become live: not while its site is paused or has enough.

        No line may be longer than what is left over (``free``): however many destinations hang, there is room for
        one more that does not."""
        destination = self.router.cached(domain)
        if destination is None:
            return len(self.resolving.get(domain, ())) < min(RESOLVING, free)
        if not isinstance(destination, Destination):
            return free > 0
        site = self.sites.get(destination.site)
        if site is None:
            return free > 0
        queue = site.queue
        if queue.paused_until and not queue.connections and self.clock.monotonic() < queue.paused_until:
            return False
        line = len(queue.ready)
        if site.parts:
            line += sum(len(part.queue.ready) for part in site.parts)
        return line < min(self.settings.ready_limit, free)

    def take(self, entry: Entry) -> None:
        """An entry became live: to its site at once when the route is known, else after the look-up."""
        if entry.domain in self.local.domains and not self.local.prepare(entry):
            return
        destination = self.router.cached(entry.domain)
        if isinstance(destination, Destination):
            self.place(entry, destination)
        elif destination is None:
            waiting = self.resolving.get(entry.domain)
            if waiting is None:
                self.resolving[entry.domain] = [entry]
                self.spawn(self._resolve(entry.domain))
            else:
                waiting.append(entry)
        else:
            self._unroutable([entry], destination)

    def place(self, entry: Entry, destination: Destination) -> None:
        """Into the line of its site."""
        if destination.protocol == "discard":
            entry.home.outcomes.discarded(entry)
            return
        self.site_of(destination).add(entry, destination)

    def site_of(self, destination: Destination, whole: "SiteDelivery | None" = None) -> "SiteDelivery":
        """Made when there is none; ``whole``: what it is then a part of."""
        site = self.sites.get(destination.site)
        if site is None:
            site = self.sites[destination.site] = SiteDelivery(self, destination, whole)
        return site

    async def _resolve(self, domain: str) -> None:
        try:
            destination = await self.router.resolve(domain)
        except RoutingError as error:
            self._unroutable(self.resolving.pop(domain), error)
        except Exception as error:
            # A bug: whoever waits here must not wait for ever.
            _log.error("look-up of %s: %r", domain, error, exc_info=error)
            self._unroutable(self.resolving.pop(domain), RoutingError(False, "4.3.0", "internal error"))
        else:
            for entry in self.resolving.pop(domain):
                if not entry.dropped:
                    self.place(entry, destination)

    def _unroutable(self, entries: list[Entry], error: RoutingError) -> None:
        kind = Kind.ROUTING if error.permanent else Kind.DNS
        problem = Problem(kind, status=error.status, text=error.text)
        for entry in entries:
            if not entry.dropped:
                entry.home.outcomes.failed_whole(entry, "", "", problem)

    def spawn(self, job: "asyncio.coroutines.Coroutine[None, None, None]") -> None:  # type: ignore[name-defined]
        task = asyncio.get_running_loop().create_task(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def tick(self) -> None:
        """Every TICK seconds: opens connections for ready queues that have waited, forgets quiet sites."""
        now = self.clock.monotonic()
        forgotten = []
        for name, site in list(self.sites.items()):
            if site.queue.ready:
                site.pump()
            elif site.queue.quiet() and not site.parts and now - site.queue.used_at > SITE_MEMORY:
                forgotten.append(name)
        for name in forgotten:
            self.sites.pop(name).forgotten()

    def constraint(self, domain: str, entry: Entry | None) -> dict[str, Any]:
        """What a due entry for ``domain`` waits for, for ``mta why``; ``entry`` None: it is not in memory."""
        row: dict[str, Any] = {"domain": domain, "until": None, "detail": ""}
        if entry is not None and entry.in_flight:
            return row | {"waiting_for": "the remote's reply", "detail": "an attempt is in flight"}
        if domain in self.resolving:
            return row | {"waiting_for": "DNS", "detail": f"looking up the mail exchangers of {domain}"}
        destination = self.router.cached(domain)
        site = self.sites.get(destination.site) if isinstance(destination, Destination) else None
        if site is None:
            return row | {"waiting_for": "its turn", "detail": "no connection was needed yet"}
        return row | next((part for part in site.parts if entry in part.queue.ready), site).constraint(self.clock)

    def lift_suspensions(self) -> None:
        """Sites whose hosts were all in trouble may be tried again at once, and so may TLS."""
        self.dialer.forget()
        for site in self.sites.values():
            site.queue.succeeded()
            site.shunned.clear()

    def in_flight(self) -> int:
        """Transactions with a remote that have no outcome yet."""
        return sum(remote.session.outstanding for site in self.sites.values() for remote in site.members)

    def drain(self) -> None:
        """Begins nothing new; connections say QUIT when their transaction is over."""
        self.draining = True
        for site in self.sites.values():
            for remote in site.queue.idle[:]:
                site.leave(remote)

    def abort(self) -> None:
        """Drops every connection and opens none: what was in flight comes back as trouble or after a restart."""
        self.draining = True
        for task in self.tasks:
            task.cancel()
        for site in self.sites.values():
            for remote in list(site.members):
                remote.abort()


class SiteDelivery:
    """One site's ready queue and its connections; the owner that ``mta.net.remote`` speaks of.

    Mail for which one host of a site lacks something goes on to a *part* of it: a site of its own with the hosts that
    are left (``without``). ``parts``: those, and the one for REQUIRETLS; their lines count as one with ``whole``."""

    def __init__(self, delivery: Delivery, destination: Destination, whole: "SiteDelivery | None" = None) -> None:
        self.parts: list[SiteDelivery] = []
        self.whole = whole or self
        if whole is not None:
            whole.parts.append(self)
        self._delivery = delivery
        self.destination = destination
        self._row = delivery.shares.row(destination.site)
        limit = delivery.settings.connections if self._row >= 0 else delivery.settings.fixed_share
        self.queue: Site[RemoteConnection] = Site(destination.site, limit)
        self.members: set[RemoteConnection] = set()
        self.shunned: dict[str, float] = {}
        self._conversions = Conversions(delivery.spawn, self._taken_up)

    def forgotten(self) -> None:
        """No entry comes here any more."""
        if self.whole is not self:
            self.whole.parts.remove(self)

    def add(self, entry: Entry, destination: Destination) -> None:
        """One more ready entry: to an idle connection at once, or into the line."""
        queue = self.queue
        self.destination = destination
        now = queue.used_at = entry.ready_at
        queue.ready.append(entry)
        if queue.idle:
            self._employ()
        elif queue.wants_connection(now) and not self._delivery.draining:
            self._open()

    def constraint(self, clock: Clock) -> dict[str, Any]:
        """What the line of this site waits for; ``until`` in milliseconds since 1970."""
        queue = self.queue
        left = queue.paused_until - clock.monotonic()
        if left > 0 and not queue.connections:
            until = clock.now_ms() + int(left * 1000)
            return {"waiting_for": "suspension", "until": until, "detail": f"{queue.name}: {queue.reason}"}
        busy = self._delivery.shares.total(self._row) if self._row >= 0 else queue.connections
        if busy >= queue.limit:
            detail = f"{busy} of {queue.limit} connections to {queue.name} are busy"
            return {"waiting_for": "the connection limit", "detail": f"{detail}, {len(queue.ready)} in line"}
        return {"waiting_for": "a connection", "detail": f"{len(queue.ready)} in line for {queue.name}"}

    def pump(self) -> None:
        """Gives ready entries to idle connections, and opens one more when that is not enough."""
        queue = self.queue
        while queue.ready and queue.idle:
            self._employ()
        if queue.wants_connection(self._delivery.clock.monotonic()) and not self._delivery.draining:
            self._open()

    # Giving work to a connection.

    def _employ(self) -> None:
        """The connection that idled last gets the head of the line."""
        remote = self.queue.idle.pop()
        remote.idle = False
        self.room(remote)
        remote.pump()

    def room(self, remote: RemoteConnection) -> None:
        """The connection can take one more transaction: the next ready entry, or it idles."""
        if remote not in self.members or not remote.session.room:
            return
        delivery = self._delivery
        ready = self.queue.ready
        while ready and not delivery.draining and remote.sent < remote.most:
            entry = ready.popleft()
            if not remote.goes_to(entry.domain):
                ready.appendleft(entry)
                remote.most = remote.sent  # it is for another connection, and this one's time is over
            elif not entry.dropped and self._given(remote, entry):
                return
        if remote.session.outstanding:
            return
        if delivery.draining or remote.sent >= remote.most:
            self.leave(remote)
        elif not remote.idle:
            remote.idle = True
            self.queue.idle.append(remote)

    def _given(self, remote: RemoteConnection, entry: Entry) -> bool:
        """False: the entry went another way. One that cannot be read now is tried again later, and holds up nobody."""
        try:
            return self._give(remote, entry)
        except Exception as error:
            _log.error("%s: message %s: %r", self.queue.name, format_id(entry.spool_id), error, exc_info=error)
            entry.in_flight = False
            problem = Problem(Kind.LOST, status="4.3.0", text=f"internal error: {error}")
            entry.home.outcomes.failed_whole(entry, self.queue.name, remote.host, problem)
            return False

    def _give(self, remote: RemoteConnection, entry: Entry) -> bool:
        delivery = self._delivery
        message = entry.home.scheduler.open(entry)
        if message is None:
            entry.home.scheduler.close(entry)
            return False
        most = LMTP_RECIPIENTS if self.destination.protocol == "lmtp" else RECIPIENTS
        recipients = entry.recipients(min(most, remote.offer.limit or most))
        if not recipients:
            entry.home.outcomes.advance(entry, message)
            return False
        how: Sending | None = PLAIN
        content: bytes | Iterator[bytes] | None = entry.content
        size, dotted = message.size, message.dotted
        if not is_plain(message, recipients, remote.offer):
            how = self._how(remote, entry, message, recipients)
            if how is not None and how.convert:
                content = self._conversions.take(entry, message, remote.place)
                if content is None:
                    return False
                size, dotted = len(content), content.startswith(b".") or b"\n." in content
        if how is None or not self._small_enough(remote, entry, size):
            return False
        if content is None:
            pieces: Iterator[bytes] = entry.home.spool.content(message)
            content = b"".join(pieces) if message.size <= WHOLE_CONTENT else pieces
        attempt = Attempt(entry, recipients, delivery.clock.monotonic())
        entry.in_flight = True
        remote.sent += 1
        delivery.counters.add(OCTETS_OUT, size)
        remote.session.deliver(
            attempt,
            message.reverse_path,
            [r.forward_path for r in recipients],
            content,
            size=size,
            dotted=dotted,
            eight_bit=message.eight_bit and not how.convert,
            parameters=how.parameters,
            recipient_parameters=how.recipient_parameters,
            binary=how.binary,
            smtputf8=how.smtputf8,
        )
        return True

    def _small_enough(self, remote: RemoteConnection, entry: Entry, size: int) -> bool:
        limit = remote.session.size_limit
        if not limit or size <= limit:
            return True
        problem = Problem(Kind.TOO_LARGE, status="5.3.4", text=f"{size} octets, the remote takes {limit}")
        self._refused(entry, remote.place, problem)
        return False

    def _how(
        self, remote: RemoteConnection, entry: Entry, message: Message, recipients: list[Recipient]
    ) -> Sending | None:
        """What is said about a message that asks for something; None: it goes another way."""
        destination = self.destination
        if message.requiretls and destination.protocol == "smtp" and not remote.verified and destination.tls != "none":
            self._send_on(entry, checked(destination), remote.host)
            return None
        outcomes = entry.home.outcomes
        found = sending(
            message, recipients, remote.offer, self._delivery.clock.now_ms(), lambda: outcomes.head(message, entry)
        )
        if isinstance(found, Sending):
            return found
        self._refused(entry, remote.place, found)
        return None

    def _refused(self, entry: Entry, host: Host, problem: Problem) -> None:
        """The message cannot go to this host. Another may have what is lacking, so each is asked, once an attempt."""
        if lacks(problem):
            entry.lacking = (*entry.lacking, host)
            left = without(self.destination, entry.lacking)
            if left is not None:
                self._send_on(entry, left, host.name)
                return
        entry.home.outcomes.failed_whole(entry, self.queue.name, host.name, problem)

    def _send_on(self, entry: Entry, destination: Destination, host: str) -> None:
        """To another part of this site. One that is known to be out of reach is no line to stand in: whoever comes
        there waits for the next attempt as if it had tried."""
        part = self._delivery.site_of(destination, self.whole)
        queue = part.queue
        if not queue.connections and self._delivery.clock.monotonic() < queue.paused_until:
            problem = Problem(Kind.CONNECT, text=queue.reason)
            entry.home.outcomes.failed_whole(entry, queue.name, host, problem)
        else:
            part.add(entry, destination)

    def _taken_up(self, entry: Entry, host: Host, problem: Problem | None) -> None:
        """The conversion of large content has ended."""
        if problem is not None:
            self._refused(entry, host, problem)
        elif not entry.dropped:
            self.queue.ready.appendleft(entry)
            self.pump()

    # What came of it.

    def outcome(
        self, remote: RemoteConnection, attempt: Attempt, stage: str, reply: Reply, recipients: list[Reply] | None
    ) -> None:
        attempt.entry.in_flight = False
        outcomes = attempt.entry.home.outcomes
        if stage == "MAIL" and asks_for_tls(reply) and self._left_tls_away(remote):
            self._delivery.dialer.try_tls(remote.place)
            remote.most = remote.sent  # nothing goes over this one
            text = f"{remote.host} wants TLS, and no handshake came about: {reply}"
            outcomes.interrupted(self.queue.name, remote, attempt, Problem(Kind.TLS, text=text, stage=stage))
        elif outcomes.settle(self.queue.name, remote, attempt, stage, reply, recipients):
            self.queue.ready.appendleft(attempt.entry)

    def _left_tls_away(self, remote: RemoteConnection) -> bool:
        """The host offers TLS and we would take it, but a handshake has failed, or STARTTLS was refused."""
        mode = self.destination.tls or self._delivery.settings.tls
        return mode == "opportunistic" and remote.tls is None and "STARTTLS" in remote.session.extensions

    def trouble(
        self, remote: RemoteConnection, stage: str, reply: Reply | None, reason: str, lost: list[tuple[object, bool]]
    ) -> None:
        """The connection ended with transactions under way, or before it was ready (then ``_connect`` goes on)."""
        self._no_longer_idle(remote)
        # A remote may close a warm connection at any time; that says nothing of the next one to the same host.
        warm = remote.sent > len(lost)
        for token, uncertain in lost:
            assert isinstance(token, Attempt)
            entry = token.entry
            entry.in_flight = False
            problem = Problem(Kind.UNCERTAIN if uncertain else Kind.LOST, text=reason, stage=stage)
            answered = stage == "CONTENT" and token is lost[0][0]
            if reply is not None and not uncertain and (reply.code == 421 or answered):
                # Any other speaks of the session (RSET was refused), or of the content ahead of this one.
                problem = Problem.of_reply(stage, reply)
            if tries_next_host(problem) and entry.handed_on < len(self.destination.hosts) - (not warm):
                entry.handed_on += 1
                if not warm:
                    self._shun(remote.host)
                self.queue.ready.appendleft(entry)
            else:
                entry.home.outcomes.interrupted(self.queue.name, remote, token, problem)
        if not remote.handshake.done():
            remote.handshake.set_result(str(reply) if reply is not None else reason)

    def ready(self, remote: RemoteConnection) -> None:
        most = self._delivery.settings.messages_per_connection
        remote.most = min(most, remote.offer.messages or most)
        if not remote.handshake.done():
            remote.handshake.set_result(None)

    def leave(self, remote: RemoteConnection) -> None:
        """No more work for this one: it says QUIT, and counts until it is gone."""
        self._no_longer_idle(remote)
        remote.quit()

    def closed(self, remote: RemoteConnection) -> None:
        """The connection is gone: it counts no more."""
        self._no_longer_idle(remote)
        if remote in self.members:
            self.members.discard(remote)
            self._gave_back()
            self._delivery.counters.add(CONNECTIONS_OUT, -1)
        if not remote.handshake.done():
            remote.handshake.set_result("connection closed")
        if self.queue.ready:
            self.pump()

    def _no_longer_idle(self, remote: RemoteConnection) -> None:
        if remote.idle:
            remote.idle = False
            self.queue.idle.remove(remote)

    def _gave_back(self) -> None:
        """One connection less, here and in the table of all workers."""
        self.queue.connections -= 1
        if self._row >= 0:
            self._delivery.shares.leave(self._row)

    # Opening connections.

    def _open(self) -> None:
        """One more connection, if the limit over all workers allows it."""
        if self._row >= 0 and not self._delivery.shares.enter(self._row, self.queue.limit):
            return
        self.queue.connections += 1
        self.queue.opening += 1
        self._delivery.spawn(self._connect())

    async def _connect(self) -> None:
        """One more connection to the first host that takes one; when none does, the site pauses."""
        began = self._delivery.clock.monotonic()
        remote: RemoteConnection | None = None
        problem = Problem(Kind.CONNECT, text="no host")
        host_name = ""
        try:
            for host in self._hosts(began):
                remote, found = await self._delivery.dialer.dial(self, self.destination, host)
                if remote is not None:
                    break
                self._shun(host.name)
                if not host_name or permanent(problem):
                    # A failure of all hosts is final only if each of them is: one that may pass by itself wins.
                    host_name, problem = host.name, found
        finally:
            self.queue.opening -= 1
            if remote is None:
                self._gave_back()
        if remote is None:
            self._unreachable(host_name, problem)
            return
        self.queue.succeeded()
        self.members.add(remote)
        self._delivery.counters.add(CONNECTIONS_OUT, 1)
        self._delivery.counters.add(OPENED_OUT, 1)
        remote.connect_seconds = self._delivery.clock.monotonic() - began
        self.room(remote)
        remote.pump()

    def _hosts(self, now: float) -> list[Host]:
        """By preference, but those that were in trouble a moment ago come last. In a part always in the same order, so
        that mail for which many hosts lack something goes the same way, over connections that are there."""
        self.shunned = {name: until for name, until in self.shunned.items() if until > now}
        hosts = self.destination.hosts if self.destination.whole else self._delivery.router.in_order(self.destination)
        return sorted(hosts, key=lambda host: host.name in self.shunned)

    def _shun(self, host: str) -> None:
        if len(self.destination.hosts) > 1:
            self.shunned[host] = self._delivery.clock.monotonic() + self._delivery.settings.pause

    def _unreachable(self, host: str, problem: Problem) -> None:
        """No host took a connection. With others alive the site goes on with those; else all that is ready waits."""
        queue = self.queue
        now = self._delivery.clock.monotonic()
        if now >= queue.paused_until:  # the other connections of the same attempt have nothing new to say
            pause = self._delivery.settings.pause
            _log.warning("%s: %s; no new connection for %g s", queue.name, problem.text, pause)
        queue.pause(now + self._delivery.settings.pause, problem.text)
        if queue.connections:
            return
        ready, count = queue.ready, len(queue.ready)
        for _ in range(count):
            entry = ready.popleft()
            if not entry.dropped:
                entry.home.outcomes.failed_whole(entry, queue.name, host, problem)
