"""A service as a process of its own: its orders from the attendant, its heartbeat, its drain and its end.

Owns: what every service process does alike (the first message, dying with the attendant, descriptors, the collector)
and ``serve``, the life of a service that is a plain object. Never does: the service's work; never binds, forks or
changes user: the attendant has done that and hands over sockets. ``python -m <module> FD``: FD is the control socket.
"""

import asyncio
import ctypes
import gc
import logging
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import msgspec
import uvloop

from mta import config as configuration
from mta.clock import SystemClock
from mta.config import Config
from mta.errors import MtaError
from mta.log import diagnostics
from mta.services.control import Answer, ControlChannel
from mta.services.watchdog import LoopWatchdog, to_stderr

_log = logging.getLogger("mta.process")

#: Seconds between heartbeats to the attendant.
HEARTBEAT = 1.0
#: Part of the drain timeout after which we end by ourselves: at its end the attendant kills us, perhaps in a commit.
DRAIN_SHARE = 0.8
#: What the attendant asks every service from time to time; no row, or an error that says what is wrong.
PROBE = "probe"
#: Octets from which an allocation is a mapping of its own, returned as soon as it is freed.
MAPPED_FROM = 512 << 10
#: Octets free at the top of the heap that are kept for the next messages.
HEAP_KEPT = 4 << 20
#: Characters of the reason that a dying service leaves behind.
REASON_LIMIT = 2000
#: From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class Orders(msgspec.Struct):
    """What the attendant says first: the whole configuration, and what this process gets of the shared things.
    ``worker``: its number in its role. ``listeners``: ``{"fd", "index"}``; an index below 0 is not a configured one."""

    config: Any
    service: str
    worker: int
    shards: list[int]
    listeners: list[dict[str, int]]
    metrics_fd: int
    row: int
    verb: str = "configure"

    def sockets(self) -> list[tuple[int, socket.socket]]:
        """(index in ``config.listener``, listening socket), non-blocking. Once only."""
        bound = [(given["index"], socket.socket(fileno=given["fd"])) for given in self.listeners]
        for _, sock in bound:
            sock.setblocking(False)
        return bound


class Served(Protocol):
    """A service that ``serve`` runs. Loop thread only."""

    async def start(self, failing: Callable[[str], None]) -> None:
        """Opens and listens; raises MtaError. ``failing(reason)``: it cannot go on and must be started anew."""

    async def stop(self, patience: float) -> None:
        """Takes nothing new, lets what is under way end for ``patience`` seconds, and closes."""

    def answer(self, verb: str, args: Mapping[str, Any], shard: int) -> AsyncIterator[Mapping[str, Any]]:
        """The rows of a request from the attendant. Raises MtaError."""

    def facts(self) -> dict[str, Any]:
        """What the heartbeat tells beside ``lag``; once a second."""


@runtime_checkable
class Probed(Protocol):
    """A service that can tell more about its health than that its loop runs."""

    async def probe(self) -> None:
        """Exercises what the service cannot do without (a read of its environment, a writer that is alive), cheaply:
        it comes every few seconds. Raises MtaError that says what is wrong; taking long is wrong, too."""


async def serve(orders: Orders, config: Config, end: socket.socket, service: Served) -> None:
    """The life of a service: until the attendant says drain, or SIGTERM comes."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    probe = service.probe if isinstance(service, Probed) else None
    control = ControlChannel(with_probe(service.answer, probe), {"drain": done.set}, lambda: os._exit(0))
    await service.start(lambda reason: control.notify("failing", reason=reason))
    await control.start(end)
    loop.add_signal_handler(signal.SIGTERM, done.set)
    control.notify("ready")
    watchdog = watch_loop(orders)
    beating = loop.create_task(_beat(control, service, watchdog))
    await done.wait()
    await service.stop(config.drain_timeout * DRAIN_SHARE)
    beating.cancel()
    watchdog.stop()
    control.notify("drained")
    await control.stop()


def watch_loop(orders: Orders) -> LoopWatchdog:
    """A watchdog for the running loop, which has to call its ``beat`` with every heartbeat."""
    watchdog = LoopWatchdog(orders.service, SystemClock(), to_stderr)
    watchdog.start()
    return watchdog


def with_probe(answers: Answer, probe: Callable[[], Coroutine[Any, Any, None]] | None) -> Answer:
    """The service's own answers, and one to the attendant's probe: no row when all is well."""

    async def answer(verb: str, args: Mapping[str, Any], shard: int) -> AsyncIterator[Mapping[str, Any]]:
        if verb == PROBE:
            if probe is not None:
                await probe()
            return
        async for row in answers(verb, args, shard):
            yield row

    return answer


async def _beat(control: ControlChannel, service: Served, watchdog: LoopWatchdog) -> None:
    """Heartbeats with the loop's lag: how late each one came (seconds)."""
    loop = asyncio.get_running_loop()
    lag = 0.0
    while True:
        watchdog.beat()
        control.notify("heartbeat", lag=round(lag, 4), **service.facts())
        due = loop.time() + HEARTBEAT
        await asyncio.sleep(HEARTBEAT)
        lag = max(0.0, loop.time() - due)


def main(run: Callable[[Orders, Config, socket.socket], Coroutine[Any, Any, None]]) -> None:
    """Entry point of a service process. Its errors go to the attendant's stderr, one line each."""
    end = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the attendant drains us
    orders = read_orders(end)
    config = configuration.from_json(msgspec.json.encode(orders.config))
    raise_descriptor_limit()
    calm_collector()
    steady_allocator()
    diagnostics(config.log.level, process=orders.service)
    last_words = os.dup(end.fileno())
    try:
        uvloop.run(run(orders, config, end))
    except MtaError as error:
        _tell_fatal(last_words, str(error), error.exit_code)
        print(f"mta: {orders.service}: {error}", file=sys.stderr)
        end.close()
        raise SystemExit(error.exit_code) from None
    except Exception as bug:
        _tell_fatal(last_words, f"a bug: {bug!r}; the log has its traceback", 1)
        raise


def _tell_fatal(channel: int, reason: str, code: int) -> None:
    """The last line on the control channel: why this process ends. The loop is gone, and nobody waits for us."""
    line = msgspec.json.encode({"event": "fatal", "reason": reason[:REASON_LIMIT], "exit": code})
    with suppress(OSError):  # the attendant is gone, or does not read: its own log has the reason as well
        os.write(channel, line + b"\n")


def die_with_parent(end: socket.socket) -> None:
    """SIGKILL for us when the attendant dies (Linux prctl PR_SET_PDEATHSIG = 1). It may be dead already: then its end
    of the channel is closed, although orders may still lie in ours, and nothing of its files may be touched."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    poll = select.poll()
    poll.register(end, select.POLLRDHUP)
    if poll.poll(0):
        raise SystemExit(os.EX_UNAVAILABLE)


def read_orders(end: socket.socket) -> Orders:
    """The first line of the control channel, read before there is a loop."""
    line = b""
    while not line.endswith(b"\n"):
        octet = end.recv(1)
        if not octet:
            raise SystemExit(os.EX_UNAVAILABLE)
        line += octet
    return msgspec.json.decode(line, type=Orders)


def calm_collector() -> None:
    """What is loaded now stays: the cycle collector need not look at it again. Few of our objects form cycles, so it
    may come seldom; connections that ended are what it finds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def steady_allocator() -> None:
    """Contents of many megabytes leave no holes in the heap. By itself glibc takes ever larger blocks from it, once
    one such was freed, and a small block above them keeps them resident for as long as it lives. Where the C library
    has no mallopt, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        mallopt(_M_TRIM_THRESHOLD, HEAP_KEPT)  # setting the other one has fixed this at 128 KiB


def raise_descriptor_limit() -> None:
    """As many file descriptors as we may have: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
