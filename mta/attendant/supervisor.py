"""Keeps the services running: restarts the dead, kills the stuck, drains all at the end.

Owns: the services and what is wanted of each. Never does: bind, read configuration, speak HTTP.
"""

import asyncio
import signal
from collections.abc import Callable

from mta.attendant.restart import RestartPolicy
from mta.attendant.service import Service
from mta.clock import Clock
from mta.errors import UnavailableError, UsageError

#: A tick this many seconds late tells that the attendant itself slept; silence meanwhile proves nothing.
LATE_TICK = 3.0
TICK = 1.0
#: A service that is away for longer than this has its listeners parked.
PARK_AFTER = 1.0
#: Seconds that a service with a failed spool has to say 421 to its clients.
FAILING_LIMIT = 2.0


class Supervisor:
    """Supervises services by the restart policy. ``say`` takes a line for the operator; ``park`` and ``release`` are
    told when a service's listeners are left alone for long, and when they are not. Loop thread only."""

    def __init__(
        self,
        clock: Clock,
        say: Callable[[str], None],
        park: Callable[[Service], None],
        release: Callable[[Service], None],
    ) -> None:
        self.services: dict[str, Service] = {}
        self.all_ready = asyncio.Event()
        self._clock = clock
        self._say = say
        self._park = park
        self._release = release
        self._policies: dict[str, RestartPolicy] = {}
        self._wanted: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._last_tick = clock.monotonic()

    def add(self, service: Service) -> None:
        self.services[service.name] = service
        self._policies[service.name] = RestartPolicy()

    def start_all(self) -> None:
        for name in self.services:
            self.start(name)

    # What an operator may ask.

    def start(self, name: str) -> None:
        """Raises UsageError when there is no such service or it runs."""
        service = self._named(name)
        if name in self._wanted and service.pid is not None:
            raise UsageError(f"{name} is {service.state} already")
        self._wanted.add(name)
        self._policies[name].forgive()
        self._cancel_timer(name)
        if service.pid is None:
            self._start(service)

    async def stop(self, name: str, limit: float) -> None:
        """Drains it and keeps it stopped; after ``limit`` seconds it is killed."""
        service = self._named(name)
        self._wanted.discard(name)
        self._cancel_timer(name)
        self._park(service)
        await self._end(service, limit)

    async def restart(self, name: str, limit: float) -> None:
        """Drains it, starts it again, returns when it is ready. Raises UnavailableError when it does not come up."""
        service = self._named(name)
        self._wanted.discard(name)
        self._cancel_timer(name)
        await self._end(service, limit)
        service.restarts += 1
        self.start(name)
        waits = [asyncio.ensure_future(service.became_ready.wait()), asyncio.ensure_future(service.stopped.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not service.became_ready.is_set():
            raise UnavailableError(f"{name} does not come up again; the log says why")

    async def drain_all(self, limit: float) -> None:
        self._wanted.clear()
        for name in self.services:
            self._cancel_timer(name)
        await asyncio.gather(*(self._end(service, limit) for service in self.services.values()))

    def kill_all(self) -> None:
        self._wanted.clear()
        for service in self.services.values():
            service.kill()

    def tick(self) -> None:
        """Once every TICK seconds: who has been silent for too long?"""
        now = self._clock.monotonic()
        slept = now - self._last_tick > LATE_TICK
        self._last_tick = now
        for name, service in self.services.items():
            if service.pid is None:
                continue
            if slept:
                self._policies[name].heard(now)
            elif self._policies[name].stuck(now):
                self._say(f"{name} (pid {service.pid}) is stuck: no sign of life; killing it")
                self._policies[name].heard(now)
                service.kill()

    def ready(self) -> bool:
        """Every service that is wanted says it is ready."""
        return bool(self._wanted) and all(self.services[name].state == "running" for name in self._wanted)

    # What services tell (service.Watcher).

    def on_ready(self, service: Service) -> None:
        self._policies[service.name].ready(self._clock.monotonic())
        self._release(service)
        if self.ready():
            self.all_ready.set()

    def on_heard(self, service: Service) -> None:
        self._policies[service.name].heard(self._clock.monotonic())

    def on_failing(self, service: Service, reason: str) -> None:
        self._say(f"{service.name} (pid {service.pid}) asks for a restart: {reason}")
        service.drain()
        asyncio.get_running_loop().call_later(FAILING_LIMIT, self._kill_if_same, service, service.pid)

    def on_exit(self, service: Service, code: int) -> None:
        policy = self._policies[service.name]
        if service.name not in self._wanted:
            if code:
                self._say(f"{service.name} ended before it had drained: {_how(code)}")
            policy.forgive()
            return
        delay = policy.died(self._clock.monotonic())
        when = "restarting now" if delay == 0 else f"restarting in {delay:.1f} s ({policy.deaths} deaths in a row)"
        self._say(f"{service.name} ended: {_how(code)}; {when}")
        service.restarts += 1
        if delay == 0:
            self._start(service)
            return
        service.set_state("waiting")
        if delay >= PARK_AFTER:
            self._park(service)
        self._timers[service.name] = asyncio.get_running_loop().call_later(delay, self._start, service)

    def _start(self, service: Service) -> None:
        self._timers.pop(service.name, None)
        if service.name not in self._wanted:
            return
        self._policies[service.name].started(self._clock.monotonic())
        try:
            service.start()
        except OSError as e:
            self._say(f"{service.name} cannot be started: {e.strerror}")
            self.on_exit(service, 71)

    async def _end(self, service: Service, limit: float) -> None:
        if service.pid is None:
            service.set_state("stopped")
            return
        service.drain()
        try:
            await asyncio.wait_for(service.stopped.wait(), limit)
        except TimeoutError:
            self._say(f"{service.name} (pid {service.pid}) did not drain within {limit:.0f} s; killing it")
            service.kill()
            await service.stopped.wait()

    def _kill_if_same(self, service: Service, pid: int | None) -> None:
        if service.pid == pid:
            service.kill()

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _named(self, name: str) -> Service:
        service = self.services.get(name)
        if service is None:
            raise UsageError(f"there is no service {name!r}: {', '.join(self.services)}")
        return service


def _how(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
