"""The attendant itself: wires supervisor, listeners, metrics and admin API together, and lives as long as the server.

Owns: the life from the first spawn to the last drain, signals, reload. Never does: bind or drop privileges
(``prepare``), or decide about restarts (``supervisor``).
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from random import Random
from typing import Any

import msgspec

from mta import __version__
from mta.attendant.cage import Cage
from mta.attendant.fanout import Fanout
from mta.attendant.filecheck import check_files
from mta.attendant.listeners import Place
from mta.attendant.notify import Notifier
from mta.attendant.parked import ParkedListeners
from mta.attendant.prepare import Prepared, close_admin
from mta.attendant.prober import GREETING, Prober
from mta.attendant.roles import WORKER, Role, roles_of
from mta.attendant.service import Launch, Service
from mta.attendant.shards import assign
from mta.attendant.supervisor import TICK, Supervisor
from mta.clock import Clock
from mta.config import Config, to_json, warnings
from mta.errors import ConfigError, MtaError, TemporaryError, UnavailableError, UsageError
from mta.metrics import MetricsTable, Sample, render
from mta.metrics.layout import BUILD_INFO, PROBE_FAILURES, SERVICE_RESTARTS, SERVICE_UP, WORKER_UP

Row = dict[str, Any]

#: Sections that a running server cannot change: sockets, files and processes hang on them.
FIXED = ("data_dir", "user", "workers", "listener", "admin", "local")


class Attendant:
    """One server. ``load`` reads the configuration again (SIGHUP); ``existing`` are the shards on disk.

    ``command``: how a role's module is started; tests put a process of their own there.
    """

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        clock: Clock,
        notifier: Notifier,
        *,
        load: Callable[[], Config],
        existing: list[int],
        say: Callable[[str], None],
        command: Callable[[Role], list[str]] | None = None,
    ) -> None:
        self._config = config
        self._prepared = prepared
        self._clock = clock
        self._notifier = notifier
        self._load = load
        self._say = say
        self._command = command or (lambda role: [sys.executable, "-m", role.module])
        self._owned = assign(config.workers, existing)
        self._since = clock.now_ms()
        self._stopping = asyncio.Event()
        self._told_to_stop = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = False
        self._roles = roles_of(config)
        self._metrics = MetricsTable.create(sum(role.processes(config) for role in self._roles))
        self._parked = ParkedListeners(config.hostname)
        self._supervisor = Supervisor(
            clock, say, self._park, lambda service: self._parked.release(service.name), self._flush_soon
        )
        self._prober = Prober(self._greeting_places, self._supervisor.on_ill, Random())
        self._cage = Cage(prepared.listeners, self.ask, say, clock)
        self.fanout = Fanout(self._shards, self._ask, clock.now_ms)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, and the drain after it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        for role in self._roles:
            for number in range(role.processes(self._config)):
                self._add(role, number)
        self._spawn(self._supervisor.start_all())
        self._spawn(self._tell_ready())
        await asyncio.sleep(0)  # the first processes are there now, and start while we import
        for service in self._supervisor.services.values():
            self._spawn(self._prober.watch(service))
        self._spawn(self._tick())
        runner = await self._serve_admin()
        await self._stopping.wait()
        await self._drain()
        await runner.cleanup()
        for task in self._tasks:
            task.cancel()
        for listeners in self._prepared.listeners.values():
            listeners.close()
        close_admin(self._config, self._prepared.admin)

    def stop(self) -> None:
        """Drains; said a second time, kills."""
        self._told_to_stop += 1
        self._stopping.set()
        if self._told_to_stop > 1:
            self._supervisor.kill_all()

    # What the admin API asks (api.Server).

    def status(self) -> Row:
        state = "draining" if self._stopping.is_set() else "running" if self.ready() else "starting"
        attendant = {
            "name": "attendant",
            "state": state,
            "pid": os.getpid(),
            "since": self._since / 1000,
            "restarts": 0,
            "description": "supervises all other services, administration and metrics",
            "reason": "",
            "retry_at": None,
        }
        services = [attendant, *(service.shown() for service in self._supervisor.services.values())]
        services += self._cage.status()
        bound = sorted(pair for group in self._prepared.listeners.values() for pair in group.addresses())
        listeners = [{"protocol": self._config.listener[n].protocol, "address": address} for n, address in bound]
        return {
            "hostname": self._config.hostname,
            "version": __version__,
            "listeners": listeners,
            "services": services,
        }

    def ready(self) -> bool:
        return not self._stopping.is_set() and self._supervisor.ready()

    def metrics(self) -> bytes:
        """The text of ``/metrics``."""
        services = self._supervisor.services.values()
        for service in services:
            if service.pid is None:
                self._metrics.retire(service.row)  # its gauges went with it, and it may stay away for long
        workers = [service for service in services if service.role == WORKER.name]
        samples = [Sample(WORKER_UP, {"worker": w.name}, float(w.state == "running")) for w in workers]
        for service in services:
            labels = {"service": service.name}
            samples += [
                Sample(SERVICE_UP, labels, float(service.state == "running")),
                Sample(SERVICE_RESTARTS, labels, service.restarts),
                Sample(PROBE_FAILURES, labels, self._prober.failures.get(service.name, 0)),
            ]
        samples += self._cage.samples()
        return render(self._metrics, [*samples, Sample(BUILD_INFO, {"version": __version__}, 1)])

    async def act(self, name: str, action: str) -> None:
        """See api.Server. The attendant can only be stopped: who restarts it is the service manager."""
        if name == "attendant":
            if action != "stop":
                raise UsageError(f"the attendant cannot {action} itself: use your service manager, or `mta run`")
            self.stop()
        elif self._stopping.is_set():
            raise TemporaryError("the server is draining")
        elif action == "start":
            self._supervisor.start(name)
        elif action == "stop":
            await self._supervisor.stop(name, self._config.drain_timeout)
        else:
            await self._supervisor.restart(name, self._config.drain_timeout)

    # Processes.

    def _add(self, role: Role, number: int) -> None:
        name = f"{role.name}-{number}" if role.one_each else role.name
        row = len(self._supervisor.services)
        self._supervisor.add(
            Service(
                name,
                role.name,
                role.description,
                number,
                row,
                lambda: self._launch(role, number, row),
                self._supervisor,
                self._clock,
                any(place.number >= 0 for place in role.places(self._config)),
            )
        )

    def _launch(self, role: Role, number: int, row: int) -> Launch:
        self._metrics.retire(row)
        sockets = self._prepared.listeners[role.name].of(number)
        configure = {
            "verb": "configure",
            "config": msgspec.Raw(to_json(self._config)),
            "service": f"{role.name}-{number}" if role.one_each else role.name,
            "worker": number,
            "shards": self._owned[number] if role is WORKER else [],
            "metrics_fd": self._metrics.fd,
            "row": row,
            "listeners": [{"fd": fd, "index": index} for fd, index in sockets],
        }
        descriptors = [fd for fd, _ in sockets]
        return Launch(self._command(role), configure, [*descriptors, self._metrics.fd, self._prepared.lock])

    def _park(self, service: Service) -> None:
        if not self._stopping.is_set():
            own = self._prepared.listeners[service.role].own(service.number)
            # Who waits for a handshake understands no word.
            spoken = [("" if self._shakes_hands(index) else self._protocol(index), sock) for index, sock in own]
            self._parked.park(service.name, spoken)

    def _protocol(self, index: int) -> str:
        """Of a listener; the one that is not configured is the store's own (LMTP)."""
        return self._config.listener[index].protocol if index >= 0 else "lmtp"

    def _flush_soon(self, domain: str) -> None:
        """ETRN, said to one worker, is meant for the shards of all."""
        self._spawn(self._flush(domain))

    async def _flush(self, domain: str) -> None:
        try:
            async for _ in self.fanout.edit("flush", {"domain": domain}):
                pass
        except MtaError as error:
            self._say(f"ETRN {domain}: {error}")

    def _greeting_places(self, service: Service) -> list[tuple[str, Place]]:
        """Listeners whose greeting tells how this very service is."""
        if service.role == WORKER.name:
            return []
        places = self._prepared.listeners[service.role].places()
        spoken = [(self._protocol(place.number), place) for place in places if not self._is_hidden(place.number)]
        return [(protocol, place) for protocol, place in spoken if protocol in GREETING]

    def _is_hidden(self, index: int) -> bool:
        """Its greeting comes only after something that the client says first: a TLS handshake, a PROXY header."""
        return self._shakes_hands(index) or (index >= 0 and self._config.listener[index].proxy_protocol)

    def _shakes_hands(self, index: int) -> bool:
        return index >= 0 and self._config.listener[index].tls == "implicit"

    def _shards(self) -> list[int]:
        return sorted(shard for owned in self._owned for shard in owned)

    def _ask(self, verb: str, args: Row, shard: int) -> AsyncIterator[Row]:
        number = next(n for n, owned in enumerate(self._owned) if shard in owned)
        return self.ask(f"worker-{number}", verb, args, shard)

    def ask(self, name: str, verb: str, args: Row, shard: int = 0) -> AsyncIterator[Row]:
        """The rows that a service answers. Raises UnavailableError when this server has none of that name,
        TemporaryError when it is not running."""
        service = self._supervisor.services.get(name)
        if service is None:
            raise UnavailableError(
                f"this server has no {name}: its configuration has no local.domains, see `mta check`"
            )
        if service.channel is None:
            raise TemporaryError(f"{name} is not running; try again, or see `mta status`")
        return service.channel.request(verb, args, shard)

    # Life.

    async def _serve_admin(self) -> Any:
        """Imported and started after the spawn: the workers need their time to start anyway."""
        from aiohttp import web

        from mta.attendant.api import application

        runner = web.AppRunner(application(self, self._prepared.token), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, self._prepared.admin).start()
        if not self._config.admin.address.path:
            self._say(f"admin API at {self._config.admin.address.host}:{self._prepared.admin.getsockname()[1]}")
        return runner

    async def _tell_ready(self) -> None:
        await self._supervisor.all_ready.wait()
        for service in self._supervisor.services.values():
            if service.state != "running":
                self._say(f"{service.name} does not run: {service.reason or service.state}; see `mta status`")
        self._say("ready")
        self._notifier.ready()
        self._cage.open(self._config)

    async def _tick(self) -> None:
        """Supervision and the service manager's watchdog share one beat."""
        since_alive = 0.0
        while True:
            await asyncio.sleep(TICK)
            self._supervisor.tick()
            since_alive += TICK
            if self._notifier.watchdog and since_alive >= min(self._notifier.watchdog, 10.0):
                self._notifier.alive()
                since_alive = 0.0

    async def _drain(self) -> None:
        self._notifier.stopping()
        self._say("draining")
        self._cage.close()
        await self._supervisor.drain_all(self._config.drain_timeout)
        self._say("stopped")

    def _reload_soon(self) -> None:
        if self._reloading or self._stopping.is_set():
            self._say("reload: one is under way; say it again afterwards")
            return
        self._reloading = True
        self._spawn(self._reload())

    async def _reload(self) -> None:
        """Checks the new configuration; when it may be applied, restarts the workers one after the other."""
        self._notifier.reloading()
        try:
            config = self._load()
            untimely = await asyncio.to_thread(check_files, config, self._clock)
            for line in (*warnings(config), *untimely):
                self._say(line)
            self._take_config(config)
            for name in list(self._supervisor.services):
                if not self._stopping.is_set():
                    await self._restart_for_reload(name)
            self._cage.open(self._config)
            self._say("reload: done")
        except ConfigError as e:
            for finding in e.findings:
                self._say(f"reload: {finding}")
            self._say("reload: nothing was changed")
        except MtaError as e:
            self._say(f"reload: {e}")
        finally:
            self._reloading = False
            self._notifier.ready()

    async def _restart_for_reload(self, name: str) -> None:
        """A worker that does not come up ends the reload: the others go on with what they have. A directory or store
        that was down before stays a matter of its own."""
        try:
            await self._supervisor.restart(name, self._config.drain_timeout)
        except UnavailableError as e:
            if self._supervisor.services[name].role == WORKER.name:
                raise
            self._say(f"reload: {e}")

    def _take_config(self, config: Config) -> None:
        changed = [name for name in FIXED if getattr(config, name) != getattr(self._config, name)]
        if changed:
            raise ConfigError([f"{name}: changing it takes a restart of mta" for name in changed])
        self._config = config

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a task of the attendant failed", "exception": error, "task": task}
            )
