"""Children: started, awaited without polling, and stopped by their own pid, never by name.

Owns: the life of one child process, what the kernel says it cost, and ports for it. Never does: know what it is for.
Waiting uses pidfds, so that this process takes no CPU time while the machine's is being counted. Linux only.
"""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mta.errors import UnavailableError

#: Below the range that the kernel takes for outgoing connections, so that a stopped peer finds its port free again.
FIRST_PORT, LAST_PORT = 20_000, 29_999
#: Ports that one process gives out at a time; no other process on this machine gives out the same.
PORT_BLOCK = 250
_GRACE = 5.0
_ports: "Iterator[int] | None" = None
_running: "set[Child]" = set()


class Child:
    """One child process. After its end: ``ended`` (monotonic s), ``cpu`` (user + system s) and ``status``."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        output: IO[bytes] | int = subprocess.DEVNULL,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd, env=env
        )
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.ended: float | None = None
        self.cpu = 0.0
        self.status: int | None = None
        _running.add(self)

    def reap(self) -> None:
        """After its end only: blocks until then."""
        now = time.monotonic()
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.pidfd)
        self.ended, self.cpu = now, usage.ru_utime + usage.ru_stime
        self.status = self._process.returncode = os.waitstatus_to_exitcode(status)
        _running.discard(self)

    def wait(self, deadline: float) -> bool:
        """Until it has ended (True) or the moment has come (False)."""
        return await_first([self], deadline) is self

    def stop(self, grace: float = _GRACE) -> None:
        """SIGTERM, then SIGKILL after ``grace`` seconds. Does nothing to one that has ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.status is None:
                os.kill(self.pid, number)
                self.wait(time.monotonic() + grace)


def await_first(children: Sequence[Child], deadline: float) -> Child | None:
    """The child that ends first, reaped; None when the moment came before. One that has ended counts at once."""
    waiting = {child.pidfd: child for child in children if child.status is None}
    if len(waiting) < len(children):
        return next(child for child in children if child.status is not None)
    poll = select.poll()
    for pidfd in waiting:
        poll.register(pidfd, select.POLLIN)
    ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    if not ready:
        return None
    child = waiting[ready[0][0]]
    child.reap()
    return child


def stop_all() -> None:
    """Every child that still runs, wherever an interrupt left it."""
    for child in list(_running):
        child.stop()


def free_port() -> int:
    """A port of TCP and UDP that nobody has bound, on any address; each call gives another one. Raises
    UnavailableError."""
    global _ports
    if _ports is None:
        _ports = _ports_of_our_own()
    for port in _ports:
        if _is_free(port):
            return port
    raise UnavailableError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def _ports_of_our_own() -> Iterator[int]:
    """Of one block after the other that no other process has taken. Names of unix sockets without a file are what says
    so: the kernel gives each to one process, until that has ended, whatever its end."""
    for start in range(FIRST_PORT, LAST_PORT + 1, PORT_BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0hermes-ports-{start}")
        except OSError:
            claim.close()
            continue
        claim.detach()  # open as long as this process lives
        yield from range(start, start + PORT_BLOCK)


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(("", port))
            udp.bind(("", port))
        except OSError:
            return False
    return True


def await_listener(port: int, deadline: float, child: Child | None = None) -> None:
    """Until 127.0.0.1:port takes connections. Raises UnavailableError when it does not, or when ``child`` ends."""
    while time.monotonic() < deadline:
        if child is not None and child.wait(0.0):
            raise UnavailableError(f"the program for port {port} ended at once with status {child.status}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise UnavailableError(f"nothing answers on 127.0.0.1:{port}")
