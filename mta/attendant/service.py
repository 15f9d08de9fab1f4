"""One supervised process: starting it, talking to it, seeing it end.

Owns: the process, its pidfd and its control channel, and what ``mta status`` shows of it. Never does: decide whether
it starts again (``supervisor`` does, with ``restart``). Processes are made by exec, never by a fork of the loop.
"""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mta.attendant.control import Channel, Row
from mta.clock import Clock

#: Where our own packages lie. ``python -m`` looks into its working directory first, so it had better be this one.
PACKAGES = Path(__file__).parents[2]


class Launch(NamedTuple):
    """What one start needs: the command without its last argument (the control descriptor), the first message, and
    the descriptors that the process inherits."""

    command: list[str]
    configure: Row
    descriptors: list[int]


class Watcher(Protocol):
    """Who is told what happens to services."""

    def on_ready(self, service: "Service") -> None: ...

    def on_failing(self, service: "Service", reason: str) -> None: ...

    def on_heard(self, service: "Service") -> None: ...

    def on_flush(self, domain: str) -> None:
        """A client of one worker asks for all that waits for a domain."""

    def on_exit(self, service: "Service", code: int) -> None:
        """``code``: as subprocess has it, negative for a signal."""


class Service:
    """A named process and its state: ``stopped starting running draining waiting quarantined``; the ``number``-th of
    its role, with a ``row`` of the metrics table. ``listens``: clients come to it. Loop thread only.

    ``reason``: why it does not run, or what is wrong with it; "" when all is well. ``retry_at``: wall milliseconds of
    the next start, 0 when none is planned. ``last_words``: the error that it ended with, in its own words.
    """

    def __init__(
        self,
        name: str,
        role: str,
        description: str,
        number: int,
        row: int,
        launch: Callable[[], Launch],
        watcher: Watcher,
        clock: Clock,
        listens: bool = True,
    ) -> None:
        self.name = name
        self.role = role
        self.description = description
        self.number = number
        self.row = row
        self.listens = listens
        self.state = "stopped"
        self.reason = ""
        self.retry_at = 0
        self.last_words = ""
        self.restarts = 0
        self.beat: Row = {}
        self.stopped = asyncio.Event()
        self.stopped.set()
        self.became_ready = asyncio.Event()
        #: Its first start has come to an end, good or bad; who depends on it need not wait any longer.
        self.tried = asyncio.Event()
        self._launch = launch
        self._watcher = watcher
        self._clock = clock
        self._since = clock.now_ms()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._channel: Channel | None = None
        self._end: socket.socket | None = None
        self._connecting: asyncio.Task[Any] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def channel(self) -> Channel | None:
        """None while there is no process."""
        return self._channel

    def set_state(self, state: str) -> None:
        """The only writer of ``state``."""
        self.state = state
        self._since = self._clock.now_ms()

    def start(self) -> None:
        """Only when no process is there. Raises OSError when the machine cannot start one."""
        launch = self._launch()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [*launch.command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(), *launch.descriptors),
                stdin=subprocess.DEVNULL,
                cwd=PACKAGES,
                process_group=0,  # Ctrl-C at the terminal is for the attendant alone
            )
        self.stopped.clear()
        self.became_ready.clear()
        self.beat = {}
        self.last_words = ""
        self.retry_at = 0
        self.set_state("starting")
        loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._ended)
        self._channel, self._end = Channel(self.name, self._heard), ours
        self._connecting = loop.create_task(self._connect(self._channel, ours, launch.configure))

    async def _connect(self, channel: Channel, sock: socket.socket, configure: Row) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=sock)
        channel.send(configure)

    def drain(self) -> None:
        """Asks it to finish what it has and to end."""
        if self._channel is not None and self.state != "draining":
            self.set_state("draining")
            self._channel.send({"verb": "drain"})

    def kill(self) -> None:
        """SIGKILL; what it had not committed was never acknowledged."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def shown(self) -> Row:
        """For ``mta status``."""
        return {
            "name": self.name,
            "state": self.state,
            "pid": self.pid,
            "since": self._since / 1000,
            "restarts": self.restarts,
            "description": self.description,
            "reason": self.reason,
            "retry_at": self.retry_at / 1000 if self.retry_at else None,
            "lag": self.beat.get("lag"),
            "queued": self.beat.get("queued"),
        }

    def _heard(self, message: Row) -> None:
        event = message["event"]
        self._watcher.on_heard(self)
        if event == "ready":
            if self.state == "starting":
                self.set_state("running")
            self.reason = ""
            self.became_ready.set()
            self.tried.set()
            self._watcher.on_ready(self)
        elif event == "heartbeat":
            self.beat = message
        elif event == "failing":
            self._watcher.on_failing(self, str(message.get("reason", "no reason given")))
        elif event == "flush":
            self._watcher.on_flush(str(message.get("domain", "")))
        elif event == "fatal":
            self.last_words = str(message.get("reason", ""))

    def _hear_the_rest(self) -> None:
        """What it said last may still lie in the channel: its end is often seen first."""
        assert self._channel is not None
        assert self._end is not None
        try:
            while rest := self._end.recv(65536, socket.MSG_DONTWAIT):
                self._channel.data_received(rest)
        except OSError:
            pass  # nothing is left, or the channel has been closed on our side

    def _ended(self) -> None:
        assert self._process is not None
        self._hear_the_rest()
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        if self._channel is not None:
            self._channel.close()
        self._process, self._channel, self._end, self._pidfd = None, None, None, -1
        self.set_state("stopped")
        self.stopped.set()
        self.tried.set()
        self._watcher.on_exit(self, code)
