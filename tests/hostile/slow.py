"""Slow clients in numbers: each keeps a connection busy with as little as it can, while a good client's time is taken.

``python -m tests.hostile.slow --attackers 2000`` starts a server of its own, plays each kind of slowness, and prints
what came of it; exit 1 when the good client suffered or an attacker was still there behind its deadline. For a quiet
machine: with as many attackers as that, most of the time is that of the attackers themselves. Loopback only.
"""

import argparse
import asyncio
import contextlib
import ssl
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from mta.clock import SystemClock
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.hostile import CONTENT, ENVELOPE, HELLO
from tests.harness.mta_server import MtaServer

#: Seconds: what the server allows a command and the smallest content, and how late a deadline may be (an eighth, two
#: turns of the wheel, and the linger of the last word).
COMMAND: Final = 4.0
CONTENT_TIME: Final = 6.0
LATE: Final = 4.0
#: Seconds between two octets of an attacker, and between two transactions of the good client.
DRIP: Final = 0.5
PAUSE: Final = 0.01
#: The good client may take twice its usual time, or this, whatever is more: below it the scheduler's whims count.
FLOOR: Final = 0.1
#: The attackers' address; the good client's is 127.0.0.1.
SOURCE: Final = "127.0.0.66"

_clock = SystemClock()


class Result(NamedTuple):
    """Seconds. ``usual`` and ``during``: the 99th percentile of a good client's transactions; ``gone``: when the last
    attacker had been let go, and by when it had to be."""

    kind: str
    attackers: int
    usual: float
    during: float
    gone: float
    allowed: float

    @property
    def fine(self) -> bool:
        return self.during <= max(2 * self.usual, FLOOR) and self.gone <= self.allowed

    def __str__(self) -> str:
        return (
            f"{self.kind:<10} {self.attackers:>5} attackers: p99 of a good client {self.usual * 1000:.1f} ms before, "
            f"{self.during * 1000:.1f} ms during; all gone after {self.gone:.1f} s of {self.allowed:.1f} s"
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


KINDS: Final[dict[str, tuple[Attack, float]]] = {
    "commands": (_in_command, COMMAND * 1.125),
    "data": (_in_content, CONTENT_TIME * 1.125),
    "handshake": (_in_handshake, COMMAND),
    "starttls": (_behind_starttls, COMMAND),
}


def settings(certificate: Certificate, attackers: int) -> dict[str, object]:
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
            "command_timeout": COMMAND,
            "content_timeout": CONTENT_TIME,
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


async def _attacker(
    port: int, greeted: bool, attack: Attack, ready: "asyncio.Future[None]", count: list[int], wanted: int
) -> float:
    """Drips until the server has had enough; when that was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(SOURCE, 0))
    if greeted:
        await reader.readuntil(b"220 ")
    drop = await attack(reader, writer)
    count[0] += 1
    if count[0] == wanted and not ready.done():
        ready.set_result(None)
    over = asyncio.ensure_future(_to_the_end(reader))
    while not over.done():
        with contextlib.suppress(OSError):
            writer.write(drop)
        await asyncio.wait([over], timeout=DRIP)
    writer.close()
    return _clock.monotonic()


async def _to_the_end(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while await reader.read(65_536):
            pass


async def attack(ports: list[int], kind: str, attackers: int) -> Result:
    """Measures, attacks, measures while they drip, and waits until the last is gone. ``ports``: with STARTTLS, and
    with implicit TLS."""
    port, secure = ports
    usual = await _goods(port, 2.0)
    how, allowed = KINDS[kind]
    tls = how is _in_handshake
    target = secure if tls else port
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    count = [0]
    tasks = [asyncio.ensure_future(_attacker(target, not tls, how, ready, count, attackers)) for _ in range(attackers)]
    await asyncio.wait([ready, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        await asyncio.gather(*tasks)
        raise AssertionError(f"{kind}: an attacker was gone before all had come")
    began = _clock.monotonic()
    during = await _goods(port, 2.0)
    ended = await asyncio.gather(*tasks)
    return Result(kind, attackers, _p99(usual), _p99(during), max(ended) - began, allowed + LATE)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


def play(directory: Path, attackers: int, kinds: list[str]) -> list[Result]:
    """All kinds, one after the other, at a server of their own, which must end well."""
    server = MtaServer(directory / "mta", **settings(make_certificate(directory), attackers)).start()
    try:
        ports = [port for _, port in server.places("smtp")]
        results = [asyncio.run(attack(ports, kind, attackers)) for kind in kinds]
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
    with tempfile.TemporaryDirectory() as directory:
        results = play(Path(directory), chosen.attackers, chosen.kind or [*KINDS])
    for result in results:
        print(result)
    return 0 if all(result.fine for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
