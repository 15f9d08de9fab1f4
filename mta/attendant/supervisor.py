"""Keeps the services running: starts them in order, restarts the dead, kills the stuck, drains all at the end.

Owns: the services, what is wanted of each, and the order. Services of one role are a *stage*; stages start in the
order in which they were added, each when the one before is ready, has failed its start, or has taken too long, and they
drain in the reverse order. A stage that does not come up never keeps the next one from starting: the services can do
without each other, badly. Never does: bind, read configuration, speak HTTP.
"""

import asyncio
import signal
from collections.abc import Callable
from itertools import groupby

from mta.attendant.restart import QUARANTINE_RETRY, RestartPolicy
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
#: Seconds that a stage waits for the one before; it may be opening a large environment after a power cut.
STAGE_LIMIT = 20.0
#: Seconds that a stage has for its drain, also when those before it have used up the time for all.
STAGE_DRAIN = 5.0

#: What an exit code of sysexits.h means.
_EXITS = {
    64: "usage",
    65: "bad data",
    69: "something it needs is unavailable",
    71: "the system cannot start it",
    73: "a file cannot be made",
    74: "input or output error",
    75: "temporary trouble",
    77: "no permission",
    78: "configuration",
}


class Supervisor:
    """Supervises services by the restart policy. ``say`` takes a line for the operator; ``park`` and ``release`` are
    told when a service's listeners are left alone for long, and when they are not; ``flush`` of a domain whose queue a
    worker's client wants to be started. Loop thread only."""

    def __init__(
        self,
        clock: Clock,
        say: Callable[[str], None],
        park: Callable[[Service], None],
        release: Callable[[Service], None],
        flush: Callable[[str], None] = lambda domain: None,
    ) -> None:
        self.on_flush = flush
        self.services: dict[str, Service] = {}
        self.all_ready = asyncio.Event()
        self._clock = clock
        self._say = say
        self._park = park
        self._release = release
        self._policies: dict[str, RestartPolicy] = {}
        self._wanted: set[str] = set()
        self._all_begun = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._last_tick = clock.monotonic()

    def add(self, service: Service) -> None:
        self.services[service.name] = service
        self._policies[service.name] = RestartPolicy()

    async def start_all(self) -> None:
        """Stage by stage; returns when the last one has been started."""
        self._wanted.update(self.services)
        *before, last = self._stages()
        for stage in before:
            self._start_stage(stage)
            await self._tried(stage)
        self._start_stage(last)
        self._all_begun = True
        self._look_whether_ready()

    def _stages(self) -> list[list[Service]]:
        return [list(stage) for _, stage in groupby(self.services.values(), lambda service: service.role)]

    def _start_stage(self, stage: list[Service]) -> None:
        for service in stage:
            if service.pid is None and service.name not in self._timers:
                self._start(service)

    async def _tried(self, stage: list[Service]) -> None:
        """Until every service of the stage is ready or has failed, for STAGE_LIMIT seconds at most."""
        try:
            async with asyncio.timeout(STAGE_LIMIT):
                for service in stage:
                    if service.name in self._wanted:
                        await service.tried.wait()
        except TimeoutError:
            for service in stage:
                if not service.tried.is_set():
                    self._say(f"{service.name} is not ready after {STAGE_LIMIT:.0f} s; the others start without it")
                    service.tried.set()

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
            service.reason = ""  # what was wrong before an operator's word is not what it is starting with
            self._start(service)

    async def stop(self, name: str, limit: float) -> None:
        """Drains it and keeps it stopped; after ``limit`` seconds it is killed."""
        service = self._named(name)
        self._wanted.discard(name)
        self._cancel_timer(name)
        self._park(service)
        await self._end(service, limit)
        service.tried.set()
        service.reason = "stopped by an operator"

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
            raise UnavailableError(f"{name} does not come up again: {service.reason}")

    async def drain_all(self, limit: float) -> None:
        """The last stage first: what it still hands over is taken by those before it. ``limit`` seconds for all, and
        STAGE_DRAIN for each at least."""
        self._wanted.clear()
        for name in self.services:
            self._cancel_timer(name)
        end = self._clock.monotonic() + limit
        for stage in reversed(self._stages()):
            left = max(end - self._clock.monotonic(), min(limit, STAGE_DRAIN))
            await asyncio.gather(*(self._end(service, left) for service in stage))

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
        """Whoever clients come to says that it is ready, and the others have at least been tried: mail is taken and
        waits without a directory, and a service manager that gave up on us would only make that worse."""
        wanted = [self.services[name] for name in self._wanted]
        return self._all_begun and bool(wanted) and all(map(_serves, wanted))

    def _look_whether_ready(self) -> None:
        if self.ready():
            self.all_ready.set()

    # What services tell (service.Watcher).

    def on_ready(self, service: Service) -> None:
        self._policies[service.name].ready(self._clock.monotonic())
        self._release(service)
        self._look_whether_ready()

    def on_heard(self, service: Service) -> None:
        self._policies[service.name].heard(self._clock.monotonic())

    def on_failing(self, service: Service, reason: str) -> None:
        self._say(f"{service.name} (pid {service.pid}) asks for a restart: {reason}")
        self._replace(service)

    def on_ill(self, service: Service, reason: str) -> None:
        """It lives, but it has failed its probes."""
        self._say(f"{service.name} (pid {service.pid}) is ill and is replaced: {reason}")
        self._replace(service)

    def _replace(self, service: Service) -> None:
        service.drain()
        asyncio.get_running_loop().call_later(FAILING_LIMIT, self._kill_if_same, service, service.pid)

    def on_exit(self, service: Service, code: int) -> None:
        policy = self._policies[service.name]
        if service.name not in self._wanted:
            if code and service.became_ready.is_set():  # else it never had anything to drain
                self._say(f"{service.name} ended before it had drained: {_how(code)}")
            policy.forgive()
            return
        delay = policy.died(self._clock.monotonic())
        service.reason = f"{_how(code)}: {service.last_words}" if service.last_words else _how(code)
        self._say(f"{service.name} ended: {_how(code)}; {_what_next(policy, delay)}")
        service.restarts += 1
        if delay == 0:
            self._start(service)
        else:
            self._wait(service, policy, delay)
        self._look_whether_ready()

    def _wait(self, service: Service, policy: RestartPolicy, delay: float) -> None:
        if policy.quarantined:
            self._say(
                f"{service.name} is in quarantine, it has failed to start too often: {service.reason}. Put that right "
                f"and say `mta status start {service.name}`; meanwhile it is tried every "
                f"{QUARANTINE_RETRY / 60:.0f} minutes"
            )
        service.set_state("quarantined" if policy.quarantined else "waiting")
        service.retry_at = self._clock.now_ms() + int(delay * 1000)
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
            service.retry_at = 0
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


def _serves(service: Service) -> bool:
    return service.state == "running" or (not service.listens and service.tried.is_set())


def _what_next(policy: RestartPolicy, delay: float) -> str:
    if delay == 0:
        return "restarting now"
    return f"restarting in {delay:.1f} s ({policy.deaths} deaths in a row)"


def _how(code: int) -> str:
    if code >= 0:
        return f"exit {code} ({_EXITS[code]})" if code in _EXITS else f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
