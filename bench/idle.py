"""What idle connections cost: ``python -m bench idle --connections 10000``.

Owns: one Hermes with one worker, as many connections to it as asked for and allowed (each has said EHLO, or has handed
over a message), and what the kernel says of the worker before and after. Never does: judge; the reader knows the bound.
Both ends of a connection are in this machine, so it takes twice as many descriptors, half of them in this process.
"""

import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.hermes import Hermes
from mta.errors import UnavailableError

#: Descriptors of this process that are not connections.
_OTHERS = 100
#: Ports that one address has for outgoing connections, some left over.
_PORTS = 20_000
_PATIENCE = 30.0
_TRANSACTION = b"MAIL FROM:<a@bench.example>\r\nRCPT TO:<b@bench.example>\r\nDATA\r\n"
_TOML = """\
hostname = "hermes.test"
data_dir = "{{directory}}/data"
workers = {{workers}}
limits.connections = {room}
limits.connections_per_client = {room}
listener = [{{{{address = "127.0.0.1:{{port}}"}}}}]
route = [{{{{domain = "*", to = "discard:"}}}}]
"""


class Cost(NamedTuple):
    """Octets per connection, and seconds of a good client's transaction (worst of some) before and beside them."""

    connections: int
    pss: float
    private: float
    alone: float
    beside: float


class IdleClient:
    """One connection that has said EHLO and then nothing."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), _PATIENCE, (source, 0))
        self._expect(b"220 ")
        self._sock.sendall(b"EHLO idle.example\r\n")
        self._expect(b"250 ")

    def _expect(self, code: bytes) -> None:
        """Reads up to the last line of a reply, which must begin with ``code``."""
        said = b""
        while not re.search(rb"(?m)^\d\d\d .*\r\n", said):
            data = self._sock.recv(4096)
            if not data:
                raise UnavailableError(f"the server closed an idle connection; it said {said!r}")
            said += data
        if not re.search(rb"(?m)^" + code, said):
            raise UnavailableError(f"the server said {said!r}")

    def transaction(self, octets: int) -> None:
        """Hands over one message of so many octets."""
        self._sock.sendall(_TRANSACTION)
        said = b""
        while not re.search(rb"(?m)^[345]\d\d .*\r\n", said):
            said += self._sock.recv(4096)
        lines = (b"x" * 70 + b"\r\n") * (octets // 72)
        self._sock.sendall(b"Subject: idle\r\n\r\n" + lines + b".\r\n")
        self._expect(b"250 ")

    def close(self) -> None:
        self._sock.close()


def allowed(wanted: int) -> int:
    """As many of the wanted connections as the limit on descriptors allows this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard - _OTHERS)


def memory(pid: int) -> tuple[int, int]:
    """Proportional and private octets of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return sizes["Pss"], sizes["Private_Dirty"] + sizes["Private_Clean"]


def worst_transaction(port: int, count: int = 20) -> float:
    """Seconds of the slowest of some transactions, connection included."""
    worst = 0.0
    for _ in range(count):
        began = time.monotonic()
        client = IdleClient(port)
        client.transaction(1000)
        client.close()
        worst = max(worst, time.monotonic() - began)
    return worst


@contextmanager
def idle_clients(port: int, count: int, octets: int) -> Iterator[None]:
    """``octets``: of a message that each hands over first; 0: none. Spread over addresses when ports are few."""
    clients: list[IdleClient] = []
    try:
        for n in range(count):
            clients.append(IdleClient(port, f"127.0.0.{1 + n // _PORTS}"))
            if octets:
                clients[-1].transaction(octets)
        yield
    finally:
        for client in clients:
            client.close()


def measure(port: int, pid: int, count: int, octets: int) -> Cost:
    """Against a worker that listens on ``port``. A few connections come first, so that pools and caches are warm."""
    with idle_clients(port, 50, octets):
        alone = worst_transaction(port)
    before = memory(pid)
    with idle_clients(port, count, octets):
        after = memory(pid)
        beside = worst_transaction(port)
    pss, private = ((b - a) / count for a, b in zip(before, after, strict=True))
    return Cost(count, pss, private, alone, beside)


def run(place: Path, wanted: int, octets: int) -> Cost:
    """Starts a Hermes under ``place`` for it. Raises UnavailableError."""
    count = allowed(wanted)
    hermes = Hermes("hermes-1", place / "idle", 0, _TOML.format(room=count + 1000))
    port = hermes.start()
    try:
        return measure(port, hermes.worker_pid(), count, octets)
    finally:
        hermes.stop()
