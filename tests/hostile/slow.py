"""Slow clients in numbers: each keeps a connection busy with as little as it can, while a good client's time is taken.

``python -m tests.hostile.slow --attackers 2000`` starts a server of its own, plays each kind of slowness, one octet
each 10 s, and prints what came of it; exit 1 when the good client suffered, the worker's memory grew while they went on
dripping, or an attacker was still there behind its deadline. For a quiet machine. The attackers are a process of their
own, so that the good client's time is not theirs. Loopback only; takes about three minutes.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import ssl
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

from mta.clock import SystemClock
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.hostile import CONTENT, ENVELOPE, HELLO, Worker
from tests.harness.mta_server import MtaServer

#: Seconds by which a deadline may be late beside its eighth: two turns of the wheel, and the linger of the last word.
LATE: Final = 4.0
#: Seconds between two transactions of the good client, and of what is measured before the attack.
PAUSE: Final = 0.01
BEFORE: Final = 5.0
#: Octets by which a worker's memory may grow from when all have dripped once until the end of what is measured.
GROWTH: Final = 2 << 20
#: Seconds until all attackers are there.
PATIENCE: Final = 60.0
#: The attackers' address; the good client's is 127.0.0.1.
SOURCE: Final = "127.0.0.66"

_clock = SystemClock()


class Pace(NamedTuple):
    """Seconds: what the server allows a command and the smallest content, between two octets of an attacker, and how
    long the good client is measured once all attackers have dripped for the first time."""

    command: float = 20.0
    content: float = 30.0
    drip: float = 10.0
    during: float = 8.0


#: For a test: everything in seconds.
QUICK: Final = Pace(4.0, 6.0, 0.5, 2.0)


class Result(NamedTuple):
    """Seconds, and octets of the worker's own memory. ``usual`` and ``during``: the 99th percentile of a good client's
    transactions; ``gone``: when the last attacker had been let go, and by when it had to be; ``memory``: before the
    attack, when all had dripped once, at the end of what was measured, and when all were gone."""

    kind: str
    attackers: int
    usual: float
    during: float
    gone: float
    allowed: float
    memory: tuple[int, int, int, int]

    @property
    def fine(self) -> bool:
        return self.during < 2 * self.usual and self.gone <= self.allowed and self.memory[2] - self.memory[1] <= GROWTH

    def __str__(self) -> str:
        before, there, later, after = (octets / (1 << 20) for octets in self.memory)
        return (
            f"{self.kind:<10} {self.attackers:>5} attackers: p99 of a good client {self.usual * 1000:.1f} ms before, "
            f"{self.during * 1000:.1f} ms during; memory {before:.0f} MiB before, {there:.1f} with all, {later:.1f} "
            f"later, {after:.0f} after; all gone after {self.gone:.1f} s of {self.allowed:.1f} s"
            f"{'' if self.fine else '  <-- NOT FINE'}"
        )


Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def _in_command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(HELLO)
    await reader.readuntil(b"250 ")
    return b"N"


async def _in_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(HELLO)
    await reader.readuntil(b"250 ")
    writer.write(ENVELOPE)
    await reader.readuntil(b"354 ")
    return b"x"


async def _in_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Implicit TLS, and the beginning of a ClientHello that never ends: a record of 16 KiB is announced."""
    writer.write(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc")
    return b"\0"


async def _behind_starttls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The same after STARTTLS."""
    writer.write(HELLO)
    await reader.readuntil(b"\r\n250 ")
    await reader.readuntil(b"\n")
    writer.write(b"STARTTLS\r\n")
    await reader.readuntil(b"220 ")
    return await _in_handshake(reader, writer)


KINDS: Final[dict[str, Attack]] = {
    "commands": _in_command,
    "data": _in_content,
    "handshake": _in_handshake,
    "starttls": _behind_starttls,
}


def settings(certificate: Certificate, attackers: int, pace: Pace) -> dict[str, object]:
    """A server whose limits are seconds, and which has room for them all."""
    files = {"certificate": str(certificate.certificate), "private_key": str(certificate.private_key)}
    return {
        "listener": [
            {"address": "127.0.0.1:0", "tls": "starttls", **files},
            {"address": "127.0.0.1:0", "tls": "implicit", **files},
        ],
        "relay": {"networks": ["127.0.0.1/32"], "domains": ["arlington.example"]},
        "route": [{"domain": "*", "to": "discard:"}],
        "limits": {
            "command_timeout": pace.command,
            "content_timeout": pace.content,
            "minimum_rate": "100/s",
            "connections": 4 * attackers + 100,
            "connections_per_client": 2 * attackers,
        },
        "policy": {"connection_rate": 0},
    }


async def _good(port: int) -> float:
    """One message from connect to QUIT; its seconds."""
    began = _clock.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readuntil(b"220 ")
    writer.write(HELLO)
    await reader.readuntil(b"250 ")
    writer.write(ENVELOPE)
    await reader.readuntil(b"354 ")
    writer.write(CONTENT + b".\r\n")
    await reader.readuntil(b"queued")
    writer.write(b"QUIT\r\n")
    await reader.read()
    writer.close()
    return _clock.monotonic() - began


async def _goods(port: int, seconds: float) -> list[float]:
    took, until = [], _clock.monotonic() + seconds
    while _clock.monotonic() < until:
        took.append(await _good(port))
        await asyncio.sleep(PAUSE)
    return took


class _Attackers:
    """All of one kind, in a process of their own, which tells through ``pipe`` the moment when all were there, then the
    moment when the last was gone; None instead of the first: one was gone before all had come."""

    def __init__(self, port: int, kind: str, attackers: int, drip: float, pipe: Connection) -> None:
        self._port = port
        self._attack = KINDS[kind]
        self._left = self._attackers = attackers
        self._drip = drip
        self._pipe = pipe

    async def run(self) -> None:
        ended = await asyncio.gather(*(self._one() for _ in range(self._attackers)))
        if self._left:
            self._pipe.send(None)
        self._pipe.send(max(ended))

    async def _one(self) -> float:
        """Drips until the server has had enough; when that was."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(SOURCE, 0))
        if self._attack is not _in_handshake:
            await reader.readuntil(b"220 ")
        drop = await self._attack(reader, writer)
        self._left -= 1
        if not self._left:
            self._pipe.send(_clock.monotonic())
        over = asyncio.ensure_future(_to_the_end(reader))
        await asyncio.wait([over], timeout=random.uniform(0, self._drip))
        while not over.done():
            with contextlib.suppress(OSError):
                writer.write(drop)
            await asyncio.wait([over], timeout=self._drip)
        writer.close()
        return _clock.monotonic()


def _attackers(port: int, kind: str, attackers: int, drip: float, pipe: Connection) -> None:
    asyncio.run(_Attackers(port, kind, attackers, drip, pipe).run())


async def _to_the_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while await reader.read(65_536):
            pass


def attack(server: MtaServer, kind: str, attackers: int, pace: Pace) -> Result:
    """Measures, attacks, measures while they drip, and waits until the last is gone."""
    port, secure = (port for _, port in server.places("smtp"))
    worker = Worker(server)
    usual = asyncio.run(_goods(port, BEFORE if pace.drip > 1 else pace.during))
    deadline = {"commands": pace.command * 1.125, "data": pace.content * 1.125}.get(kind, pace.command)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    memory = [worker.anonymous()]
    target = secure if kind == "handshake" else port
    process = spawn.Process(target=_attackers, args=(target, kind, attackers, pace.drip, theirs), daemon=True)
    process.start()
    began = _told(ours, PATIENCE)
    assert began, f"{kind}: an attacker was gone before all had come"
    during = asyncio.run(_goods(port, pace.drip))
    memory.append(worker.anonymous())
    during += asyncio.run(_goods(port, pace.during))
    memory.append(worker.anonymous())
    gone = _told(ours, 2 * deadline + LATE) - began
    process.join()
    memory.append(worker.anonymous())
    return Result(kind, attackers, _p99(usual), _p99(during), gone, deadline + LATE, tuple(memory))  # type: ignore[arg-type]


def _told(pipe: Connection, patience: float) -> float:
    assert pipe.poll(patience), "the attackers say nothing"
    told = pipe.recv()
    return float(told or 0)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


def play(directory: Path, attackers: int, kinds: list[str], pace: Pace) -> list[Result]:
    """All kinds, one after the other, at a server of their own, which must end well."""
    server = MtaServer(directory / "mta", **settings(make_certificate(directory), attackers, pace)).start()
    try:
        results = [attack(server, kind, attackers, pace) for kind in kinds]
        server.wait_for_empty_queue()
        server.stop()
    finally:
        server.close()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Slow attackers against a server of their own, and a good client.")
    parser.add_argument("--attackers", type=int, default=200)
    parser.add_argument("--kind", choices=[*KINDS], action="append", help="default: all")
    chosen = parser.parse_args()
    fine = True
    for kind in chosen.kind or [*KINDS]:
        with tempfile.TemporaryDirectory() as directory:
            [result] = play(Path(directory), chosen.attackers, [kind], Pace())
        print(result, flush=True)
        fine &= result.fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
