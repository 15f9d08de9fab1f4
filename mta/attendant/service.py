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

    def on_exit(self, service: "Service", code: int) -> None:
        """``code``: as subprocess has it, negative for a signal."""


class Service:
    """A named process and its state: ``stopped starting running draining waiting``; the ``number``-th of its role, with
    a ``row`` of the metrics table. Loop thread only."""

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
    ) -> None:
        self.name = name
        self.role = role
        self.description = description
        self.number = number
        self.row = row
        self.state = "stopped"
        self.restarts = 0
        self.beat: Row = {}
        self.stopped = asyncio.Event()
        self.stopped.set()
        self.became_ready = asyncio.Event()
        self._launch = launch
        self._watcher = watcher
        self._clock = clock
        self._since = clock.now_ms()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._channel: Channel | None = None
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
        self.set_state("starting")
        loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._ended)
        self._channel = Channel(self.name, self._heard)
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
            "lag": self.beat.get("lag"),
            "queued": self.beat.get("queued"),
        }

    def _heard(self, message: Row) -> None:
        event = message["event"]
        self._watcher.on_heard(self)
        if event == "ready":
            if self.state == "starting":
                self.set_state("running")
            self.became_ready.set()
            self._watcher.on_ready(self)
        elif event == "heartbeat":
            self.beat = message
        elif event == "failing":
            self._watcher.on_failing(self, str(message.get("reason", "no reason given")))

    def _ended(self) -> None:
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        if self._channel is not None:
            self._channel.close()
        self._process, self._channel, self._pidfd = None, None, -1
        self.set_state("stopped")
        self.stopped.set()
        self._watcher.on_exit(self, code)
