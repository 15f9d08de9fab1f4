"""A shard at work in this process: real scheduler, delivery and sessions, on a spool in memory and a router that a test
sets.

Owns: the wiring, and waiting for what counters say. Never does: judge.
"""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

from mta.clock import SystemClock
from mta.log import EventLog
from mta.metrics import MetricsTable
from mta.metrics.layout import CONNECTIONS_OUT
from mta.model.message import Message, Recipient
from mta.net.deadlines import Wheel
from mta.net.remote import RemoteDeadlines
from mta.policy.retry import RetryPolicy
from mta.routing.destination import Destination, Host, RoutingError
from mta.services.delivery import Delivery
from mta.services.dialing import DeliverySettings
from mta.services.enqueue import enqueue
from mta.services.local import NO_LOCAL_MAIL
from mta.services.shard import Shard
from mta.spool.memory import MemorySpool
from mta.spool.protocol import Ticket

CLOCK = SystemClock()
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
LIMIT = 3
SETTINGS = DeliverySettings("hermes.example", LIMIT, LIMIT, 1000, 5.0, RemoteDeadlines(5.0, 5.0), 2000, 1.0)


class StandIn:
    """Every domain is the one destination; an exception in its place is raised."""

    def __init__(self) -> None:
        self.destination: Destination | Exception = RoutingError(False, "4.4.3", "nothing is known yet")
        self.known = True

    def lead_to(self, *ports: int) -> None:
        hosts = tuple(Host(f"mx{n}.example", port, n, ("127.0.0.1",)) for n, port in enumerate(ports))
        self.destination = Destination("site.example", "smtp", hosts)

    def cached(self, domain: str) -> Destination | None:
        return self.destination if self.known and isinstance(self.destination, Destination) else None

    async def resolve(self, domain: str) -> Destination:
        await asyncio.sleep(0)
        if isinstance(self.destination, Exception):
            raise self.destination
        return self.destination

    def in_order(self, destination: Destination) -> list[Host]:
        return list(destination.hosts)

    async def addresses(self, host: Host) -> list[tuple[str, int]]:
        return [(host.addresses[0], host.port)]


class Works:
    """One shard and its deliveries. ``problems``: what the loop had to complain about."""

    def __init__(self, directory: Path, settings: DeliverySettings = SETTINGS, local: Any = NO_LOCAL_MAIL) -> None:
        loop = asyncio.get_running_loop()
        self.problems: list[str] = []
        loop.set_exception_handler(lambda _, context: self.problems.append(str(context)))
        table = MetricsTable.create(1)
        self.counters = table.row(0)
        self.shares = table.shares(0)
        self.router = StandIn()
        self.spool = MemorySpool(0)
        self.wheel = Wheel(loop)
        self.wheel.start()
        self._log = directory / "events.jsonl"
        self.events = EventLog(str(self._log))
        self.delivery = Delivery(settings, self.router, self.wheel, CLOCK, self.counters, self.shares, local)
        self.shard = Shard(
            self.spool, RetryPolicy((0.05,), 86400.0, 0.0, Random(1).random), self.delivery, self.events,
            self.counters, CLOCK, hostname="mta.example", live=1000, content_memory=1 << 20, give_up_after=86400.0,
        )  # fmt: skip
        self.shard.start(lambda error: None, lambda seconds, messages: None)
        self._number = 0

    def send(self, *domains: str) -> Message:
        """A message to somebody in each domain, committed at once."""
        return self.send_to([f"r{n}@{domain}" for n, domain in enumerate(domains or ("b.example",))])

    def send_to(self, paths: list[str], reverse_path: str = "") -> Message:
        """A message, committed at once."""
        self._number += 1
        now = CLOCK.now_ms()
        recipients = [Recipient(path, path.rpartition("@")[2]) for path in paths]
        message = Message(self._number, reverse_path, recipients, len(CONTENT), now)
        entries = enqueue(message, now)

        def settled(ticket: Ticket, error: Exception | None) -> None:
            self.shard.scheduler.admit(message, CONTENT, entries, 0.0)

        self.spool.accept(Ticket(message, CONTENT, entries, settled))
        return message

    def post(
        self, *recipients: Recipient, content: bytes = CONTENT, reverse_path: str = "a@b.example", **facts: Any
    ) -> Message:
        """A message with all that its sender may have asked for, committed at once."""
        self._number += 1
        now = CLOCK.now_ms()
        message = Message(self._number, reverse_path, list(recipients), len(content), now, **facts)
        message.dotted = content.startswith(b".") or b"\n." in content
        entries = enqueue(message, now)

        def settled(ticket: Ticket, error: Exception | None) -> None:
            self.shard.scheduler.admit(message, content, entries, 0.0)

        self.spool.accept(Ticket(message, content, entries, settled))
        return message

    def happened(self) -> list[dict[str, Any]]:
        """What the event log has at the end."""
        self.events.close()
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    async def until(self, slot: int, count: int, *, refill: bool = True) -> None:
        """The counter has come to ``count``; time goes on as in a worker, ten times a second."""
        async with asyncio.timeout(20):
            while self.counters.get(slot) != count:
                if refill:
                    self.shard.scheduler.refill()
                self.delivery.tick()
                await asyncio.sleep(0.01)

    async def turn(self) -> None:
        """Time goes on a little."""
        self.delivery.tick()
        await asyncio.sleep(0.01)

    async def connections_end(self) -> None:
        sites = self.delivery.sites
        async with asyncio.timeout(20):
            while any(site.members for site in sites.values()) or self.delivery.tasks:
                await asyncio.sleep(0.01)
        assert "site.example" in sites
        for name, site in sites.items():
            assert (site.queue.connections, site.queue.opening, site.queue.idle) == (0, 0, [])
            assert self.shares.total(self.shares.row(name)) == 0
        assert self.counters.get(CONNECTIONS_OUT) == 0

    async def end(self) -> None:
        self.delivery.abort()
        self.wheel.stop()
        await asyncio.sleep(0.01)
        await self.shard.stop()
        self.events.close()

    def nothing_left(self) -> None:
        assert self.problems == []
        assert len(self.shard.scheduler) == 0
        assert self.spool.ledger().outstanding() == 0
        scheduler = self.shard.scheduler
        assert (scheduler._holders, scheduler._shared, scheduler._charged) == ({}, {}, {})
        assert scheduler._room == 1 << 20, "the memory for content has come back"
