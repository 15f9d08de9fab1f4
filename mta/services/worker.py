"""The worker process: reception, queue and delivery on one uvloop loop, with the shards it owns.

Owns: the wiring of one worker, its start, drain and end. Never does: bind, fork, or change user; the attendant has
done that and hands over sockets. Started as ``python -m mta.services.worker FD``, FD being the control socket.
"""

import asyncio
import logging
import math
import os
import random
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mta.clock import SystemClock
from mta.config import Config
from mta.config.sections import Listener
from mta.errors import UnavailableError
from mta.metrics import MetricsTable
from mta.metrics.layout import (
    COMMIT_MESSAGES,
    COMMIT_MESSAGES_HANDLE,
    COMMIT_SECONDS,
    COMMIT_SECONDS_HANDLE,
    LEDGER_DRIFT,
)
from mta.model.message import split_due_key
from mta.net.deadlines import Wheel
from mta.net.proxied import Proxies
from mta.net.remote import RemoteDeadlines
from mta.net.server import Deadlines, ServerConnection
from mta.net.tls import bindings_of, tls_of
from mta.policy.relay import RelayPolicy
from mta.policy.retry import RetryPolicy
from mta.routing.nameservers import NameServer, name_servers
from mta.routing.resolver import Resolver
from mta.routing.router import Router
from mta.routing.routes import Routes
from mta.services.access import access_of
from mta.services.control import ControlChannel
from mta.services.delivery import TICK, Delivery
from mta.services.dialing import DeliverySettings
from mta.services.gauges import Gauges, StressGauge
from mta.services.guard import make_guard
from mta.services.hooking import events_for, load_hooks
from mta.services.local import NO_LOCAL_MAIL, LocalMail, routes
from mta.services.naming import own_addresses, own_names
from mta.services.process import DRAIN_SHARE, HEARTBEAT, Orders, main, watch_loop, with_probe
from mta.services.reception import Reception
from mta.services.sessions import FAILING, settings_of
from mta.services.shard import Shard
from mta.services.verbs import QueueVerbs
from mta.spool.protocol import Spool, SpoolFailed

if TYPE_CHECKING:
    from mta.directory.reader import DirectoryReader
    from mta.services.login import Logins
    from mta.services.submission import Submission

_log = logging.getLogger("mta.worker")

#: Entries that one worker keeps in memory, ready or in flight, over all its shards.
LIVE = 20_000
#: Heartbeats between two audits of our own books, and the queue above which only ``mta audit`` makes one.
AUDIT_EVERY = 60
AUDIT_UP_TO = 100_000
#: Seconds since the scheduler's last round after which a probe finds something wrong; it comes ten times a second.
TICK_LATE = 5.0
#: File descriptors that incoming connections leave over, at least.
DESCRIPTORS_KEPT = 64
#: A queue of connections that the kernel completes before we accept them.
BACKLOG = 4096


class Worker:
    """One worker; ``run`` returns when it has drained."""

    def __init__(self, orders: Orders, config: Config, end: socket.socket) -> None:
        self._orders = orders
        self._config = config
        self._end = end
        self._done = asyncio.Event()
        self._clock = SystemClock()
        table = MetricsTable.attach(orders.metrics_fd)
        self._table = table
        self._counters = table.row(orders.row)
        self._hooks = load_hooks(config)
        self._shares = table.shares(orders.row)
        self._events = events_for(config, self._hooks)
        self._bound = orders.sockets()
        self._proxies: list[Proxies] = []
        self._directory: DirectoryReader | None = None
        self._logins: Logins | None = None
        self._submitting: Submission | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._shards: list[Shard] = []
        self._draining = False
        self._lag = 0.0
        self._slowest = 0.0
        self._beats = 0
        self._beat_due = math.inf
        self._auditing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._wheel = Wheel(loop)
        self._build()
        for shard in self._shards:
            shard.start(self._spool_failed, self._committed)
        self._wheel.start()
        await self._listen()
        self._gauges = Gauges(self._shards, self._delivery, self._events, self._counters, self._clock)
        self._verbs = verbs = QueueVerbs(self._shards, self._delivery, self._events, self._clock)
        self._reception.inquiries.on_flush = self._flush
        self._control = ControlChannel(
            with_probe(verbs.answer, self._probe), {"drain": self.drain}, lambda: os._exit(0)
        )
        await self._control.start(self._end)
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        self._control.notify("ready")
        self._watchdog = watch_loop(self._orders)
        self._beat()
        self._tick()
        await self._done.wait()
        await self._stop()

    def _build(self) -> None:
        """Everything that has no socket yet."""
        config, orders, clock = self._config, self._orders, self._clock
        delivery = config.delivery
        retry = RetryPolicy(delivery.retry_after, delivery.give_up_after, delivery.warn_after, random.random)
        local = self._local_mail()
        self._delivery = Delivery(
            self._delivery_settings(), self._router(), self._wheel, clock, self._counters, self._shares, local
        )
        for number in orders.shards:
            self._shards.append(
                Shard(
                    open_spool(config, number),
                    retry,
                    self._delivery,
                    self._events,
                    self._counters,
                    clock,
                    hostname=config.hostname,
                    live=LIVE // len(orders.shards),
                    content_memory=config.limits.content_memory // len(orders.shards),
                    give_up_after=delivery.give_up_after,
                )
            )
        own = self._shards[0]
        limits = config.limits
        settings = settings_of(config)._replace(
            connections=connections_within(-(-limits.connections // config.workers))
        )
        self._deadlines = Deadlines(limits.command_timeout, limits.content_timeout, limits.minimum_rate)
        self._guard = make_guard(
            config,
            self._deadlines,
            self._table,
            orders.row,
            self._events,
            self._counters,
            clock,
            self._resolver,
            self._hooks,
        )
        self._stress = StressGauge(settings.connections, config.policy.stress_memory)
        relay = RelayPolicy(config.relay.networks, config.relay.domains)
        self._reception = Reception(
            settings, relay, own.spool, own.scheduler, own.ids, self._events, self._counters, clock, local, self._guard
        )

    def _local_mail(self) -> LocalMail:
        config = self._config
        if not config.local.domains:
            return NO_LOCAL_MAIL
        local = config.local
        return LocalMail(
            frozenset(local.domains), self._open_directory(), postmaster=local.postmaster, clock=self._clock
        )

    def _open_directory(self) -> "DirectoryReader":
        """One for all who ask: a process may open an environment only once."""
        if self._directory is None:
            from mta.directory.reader import DirectoryReader
            from mta.directory.tables import directory_path

            local, path = self._config.local, directory_path(self._config.data_dir)
            self._directory = DirectoryReader(
                path, separator=local.subaddress, postmaster=local.postmaster, clock=self._clock
            )
        return self._directory

    def _submission(self) -> "Submission":
        """For listeners where people log in; the same for all of them."""
        if self._submitting is None:
            from mta.services.login import Logins
            from mta.services.submission import Allowance, Submission

            config, directory = self._config, self._open_directory()
            self._logins = Logins(directory, config, self._clock)
            limits = config.submission
            allowance = Allowance(
                self._table.rates(), self._table.secret, limits.messages_per_user, limits.recipients_per_user
            )
            self._submitting = Submission(self._reception, self._logins, directory, allowance)
        return self._submitting

    def _delivery_settings(self) -> DeliverySettings:
        delivery = self._config.delivery
        return DeliverySettings(
            self._config.hostname,
            delivery.max_connections_per_site,
            max(1, delivery.max_connections_per_site // self._config.workers),
            delivery.max_messages_per_connection,
            delivery.connect_timeout,
            RemoteDeadlines(delivery.command_timeout, delivery.content_timeout),
            delivery.ready_limit,
            min(60.0, delivery.retry_after[0]),
            delivery.tls,
            delivery.tls_authorities,
        )

    def _router(self) -> Router:
        config = self._config
        servers = tuple(NameServer(host, port) for host, port in config.dns.servers) or name_servers(())
        self._resolver = Resolver(servers, config.dns.timeout, self._clock, random=random.Random())
        return Router(
            Routes(routes(config)),
            self._resolver,
            port=config.delivery.port,
            own_names=own_names(config),
            own_addresses=own_addresses([sock for _, sock in self._bound]),
            random=random.Random(),
            clock=self._clock,
        )

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for index, bound in self._bound:
            door = self._door(self._config.listener[index])
            if bound.family == socket.AF_UNIX:
                server = await loop.create_unix_server(door, sock=bound, backlog=BACKLOG)
            else:
                server = await loop.create_server(door, sock=bound, backlog=BACKLOG)
            self._servers.append(server)

    def _door(self, listener: Listener) -> Callable[[], asyncio.Protocol]:
        """What makes the connections of one listener."""
        tls, access = tls_of(listener, self._clock), access_of(listener, self._config)
        if access.submission:
            submission = self._submission()
            assert self._logins is not None
            opened = submission.listener(access._replace(mechanisms=self._logins.mechanisms(bindings_of(tls))))
        else:
            opened = self._reception.listener(access)
        closed, wheel, deadlines = self._reception.closed, self._wheel, self._deadlines

        def make(peer: tuple[str, int] | None = None) -> ServerConnection:
            return ServerConnection(opened, closed, wheel, deadlines, tls, peer)

        if not listener.proxy_protocol:
            return make
        self._proxies.append(Proxies(listener.proxy_networks, make))
        return self._proxies[-1].door

    async def _flush(self, node: str) -> int:
        """For ETRN: our own shards now; the attendant tells the other workers."""
        met = await self._verbs.flush(node)
        if self._config.workers > 1:
            self._control.notify("flush", domain=node.removeprefix("@"))
            return max(met, 1)  # what the others have is not known here
        return met

    # Running.

    def _tick(self) -> None:
        """Ten times a second: what has become due, and sites that want one more connection."""
        loop = asyncio.get_running_loop()
        if not self._draining:
            for shard in self._shards:
                shard.scheduler.refill()
        self._delivery.tick()
        self._ticked = loop.time()
        self._ticking = loop.call_later(TICK, self._tick)

    def _committed(self, seconds: float, messages: int) -> None:
        counters = self._counters
        self._slowest = max(self._slowest, seconds)
        counters.observe(COMMIT_SECONDS, COMMIT_SECONDS_HANDLE, seconds)
        counters.observe(COMMIT_MESSAGES, COMMIT_MESSAGES_HANDLE, messages)

    def _beat(self) -> None:
        """Heartbeat with the loop's lag: how late this very call came (seconds)."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._watchdog.beat()
        self._lag = max(0.0, now - self._beat_due)
        live = sum(len(shard.scheduler) for shard in self._shards)
        self._control.notify(
            "heartbeat", lag=round(self._lag, 4), queued=live, connections=len(self._reception.sessions)
        )
        self._gauges.update()
        self._guard.look(self._stress.look(len(self._reception.sessions), self._lag, self._slowest))
        self._slowest = 0.0
        self._beats += 1
        if self._beats % AUDIT_EVERY == 0 and self._gauges.outstanding <= AUDIT_UP_TO:
            self._auditing = loop.create_task(self._audit())
        self._beat_due = now + HEARTBEAT
        self._beating = loop.call_later(HEARTBEAT, self._beat)

    async def _probe(self) -> None:
        """What a worker cannot do without: it listens, its queue can be read, its scheduler comes round."""
        if self._draining:
            return
        if not all(server.is_serving() for server in self._servers):
            raise UnavailableError("a listener is closed")
        if asyncio.get_running_loop().time() - self._ticked > TICK_LATE:
            raise UnavailableError(f"the scheduler has not come round for {TICK_LATE:.0f} s")
        now = self._clock.now_ms()
        for shard in self._shards:
            for key, _ in shard.spool.due(b"", now, 1):
                shard.spool.load(split_due_key(key)[1])

    async def _audit(self) -> None:
        """Our own books, once a minute: a drift is said aloud and shown as a metric."""
        drift = await self._verbs.drift()
        self._counters.set(LEDGER_DRIFT, drift)
        if drift:
            _log.error("the ledger cannot account for %d recipients: run mta audit, and keep the spool's files", drift)

    def _spool_failed(self, error: SpoolFailed) -> None:
        """A commit failed: nothing is taken or delivered any more, and the attendant starts us anew."""
        self._reception.drain(FAILING)
        self._delivery.drain()
        self._delivery.abort()
        _log.error("%s", error)
        self._control.notify("failing", reason=str(error))

    # Ending.

    def drain(self) -> None:
        """Accepts no more, lets transactions end both ways, then stops. Idempotent."""
        if self._draining:
            return
        self._draining = True
        for server in self._servers:
            server.close()
        for proxies in self._proxies:
            proxies.close()
        self._reception.drain()
        self._delivery.drain()
        self._drain_until = asyncio.get_running_loop().time() + self._config.drain_timeout * DRAIN_SHARE
        self._drained()

    def _drained(self) -> None:
        loop = asyncio.get_running_loop()
        busy = self._reception.busy() + self._delivery.in_flight()
        if busy and loop.time() < self._drain_until:
            self._reception.drain()
            loop.call_later(0.02, self._drained)
        else:
            self._reception.cut_off()
            self._done.set()

    async def _stop(self) -> None:
        for handle in (self._ticking, self._beating, self._auditing):
            if handle is not None:
                handle.cancel()
        self._watchdog.stop()
        self._wheel.stop()
        self._delivery.abort()
        await self._delivery.router.close()
        await self._resolver.close()
        if self._hooks is not None:
            await self._hooks.close()
        if self._logins is not None:
            self._logins.stop()
        for shard in self._shards:
            await shard.stop()
        self._events.close()
        self._control.notify("drained")
        await self._control.stop()


def open_spool(config: Config, number: int) -> Spool:
    """The spool of a shard, by ``spool.backend``; only the disk keeps anything."""
    backend = config.spool.backend
    if backend == "dangerously-memory":
        from mta.spool.memory import MemorySpool

        return MemorySpool(number)
    if backend == "dangerously-null":
        from mta.spool.null import NullSpool

        return NullSpool(number)
    from mta.spool.disk import DiskSpool

    return DiskSpool(
        Path(config.data_dir) / "spool" / str(number),
        number,
        clock=SystemClock(),
        durability=config.spool.durability,
        free_space=config.spool.free_space,
    )


def connections_within(wanted: int) -> int:
    """How many incoming connections the limit on file descriptors leaves room for: an eighth of it, and at least a
    few, are for deliveries, look-ups and files, so that a flood of clients cannot stop what is accepted."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = max(1, descriptors - max(DESCRIPTORS_KEPT, descriptors // 8))
    if room < wanted:
        _log.warning(
            "limits.connections: this worker's share is %d, but a limit of %d file descriptors leaves room for %d; "
            "raise the limit (LimitNOFILE, ulimit -n)",
            wanted,
            descriptors,
            room,
        )
    return min(wanted, room)


async def run(orders: Orders, config: Config, end: socket.socket) -> None:
    await Worker(orders, config, end).run()


if __name__ == "__main__":
    main(run)
