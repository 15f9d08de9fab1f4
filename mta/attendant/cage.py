"""Where the canary lives: in the attendant, who outlives the services that a canary passes.

Owns: whether canaries fly, by the configuration; the event log for those that are lost, which is open only then; and
their figures as metrics and as a row of the status. Never does: the flights (``mta.services.canary``).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from typing import Any

from mta.attendant.listeners import Listeners
from mta.clock import Clock
from mta.config import Config
from mta.config.units import Address
from mta.log import EventLog
from mta.metrics import Sample
from mta.metrics.layout import CANARY_FAILURES, CANARY_SECONDS, CANARY_SENT
from mta.services.canary import LOCAL_PART, Canaries, Target

#: Protocols by which mail comes in, from whoever is trusted; the canary has no password, and is no proxy.
TAKES_MAIL = ("smtp", "lmtp")


class Cage:
    """``listeners``: by role, as bound. Loop thread only."""

    def __init__(
        self,
        listeners: Mapping[str, Listeners],
        ask: Callable[[str, str, dict[str, Any]], AsyncIterator[Mapping[str, Any]]],
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._say = say
        self._listeners = listeners
        self._ask = ask
        self._clock = clock
        self._canaries: Canaries | None = None
        self._flying: asyncio.Task[None] | None = None
        self._events: EventLog | None = None

    def open(self, config: Config) -> None:
        """Lets canaries fly as this configuration wants it; called anew after a reload, it begins anew."""
        self.close()
        if not config.canary.interval or not config.local.domains:
            return
        self._events = EventLog(config.log.events, rotate_size=config.log.rotate_size, keep=config.log.keep)
        self._canaries = Canaries(
            self._targets(config),
            f"{LOCAL_PART}@{config.local.domains[0]}",
            self._ask,
            self._events.write,
            self._say,
            self._clock,
            Random(),
            hostname=config.hostname,
            interval=config.canary.interval,
            timeout=config.canary.timeout,
        )
        self._flying = asyncio.get_running_loop().create_task(self._canaries.run())
        self._flying.add_done_callback(_ended)

    def close(self) -> None:
        """Idempotent."""
        if self._flying is not None:
            self._flying.cancel()
        if self._events is not None:
            self._events.close()
        self._canaries = self._flying = self._events = None

    def status(self) -> list[dict[str, Any]]:
        """One row, or none where no canary flies."""
        return [self._canaries.status()] if self._canaries is not None else []

    def samples(self) -> list[Sample]:
        flights = self._canaries.flights if self._canaries is not None else {}
        samples = []
        for name, figures in flights.items():
            labels = {"listener": name}
            samples.append(Sample(CANARY_SENT, labels, figures.sent))
            samples.append(Sample(CANARY_FAILURES, labels, figures.failed))
            samples.append(Sample(CANARY_SECONDS, labels, figures.seconds))
        return samples

    def _targets(self, config: Config) -> list[Target]:
        """The listeners of the configuration that take mail, as they are bound."""
        places = sorted(place for bound in self._listeners.values() for place in bound.places() if place.number >= 0)
        found = []
        for number, host, port, path, _ in places:
            listener = config.listener[number]
            if listener.protocol in TAKES_MAIL and not listener.proxy_protocol:
                name = str(listener.address if path or listener.port else Address(host, port))
                found.append(Target(name, listener.protocol, host, port, path, listener.tls))
        return found


def _ended(task: "asyncio.Task[None]") -> None:
    """A bug must not end the canaries in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler({"message": "the canary failed", "exception": error})
