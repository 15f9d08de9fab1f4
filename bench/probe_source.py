"""A source that notes when each transaction began.

``python -m bench.probe_source PORT COUNT SESSIONS SIZE kept|each FILE``

Owns: the sending end of the latency pass. Lock-step like smtp-source: HELO, then one command or content a reply; as
many sessions at once as asked. FILE gets native 64-bit CLOCK_MONOTONIC nanoseconds, the moment before the write of
MAIL, by sequence number, and last the CPU nanoseconds that it took itself. Never does: retry. The first reply that
is no success ends it with status 1 and one line.
"""

import array
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import cast

import uvloop

from bench.probe_sink import MARK

_LINE = b"X" * 76 + b"\r\n"


class Load:
    """The transactions that are left, shared by all sessions."""

    def __init__(self, port: int, count: int, size: int, kept: bool) -> None:
        self.port = port
        self.count = count
        self.kept = kept
        self.began = array.array("q", bytes(8 * count))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next = 0
        self._cpu_at_start = time.process_time_ns()
        self._accepted = 0
        self._tail = (
            b"From: <a@src.test>\r\nTo: <b@dst.test>\r\nSubject: probe\r\n"
            b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n" + body(size) + b".\r\n"
        )

    def take(self) -> int:
        """The next sequence number; -1 when all are taken."""
        if self._next == self.count:
            return -1
        self._next += 1
        return self._next - 1

    def content(self, sequence: int) -> bytes:
        """The whole message with its end, the number in its first field."""
        return b"%b%07d\r\nMessage-ID: <%d@src.test>\r\n%b" % (MARK, sequence, sequence, self._tail)

    def left(self) -> bool:
        return self._next < self.count

    def accepted(self) -> None:
        self._accepted += 1
        if self._accepted == self.count and not self.done.done():
            self.began.append(time.process_time_ns() - self._cpu_at_start)
            self.done.set_result(None)

    async def write(self, file: str) -> None:
        """All moments, when all is done. Raises ConnectionError with the reason when something refused it."""
        await self.done
        with open(file, "wb") as out:
            self.began.tofile(out)

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(reason))


class SourceSession(asyncio.Protocol):
    """One connection, one step a reply. ``_step`` is what the next reply leads to."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._step: Callable[[], None] = self._hello
        self._expected = b"2"
        self._said = "greeting"
        self._text = b""
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        self._text += data
        if not self._text.endswith(b"\n"):
            return
        last = self._text.rstrip(b"\r\n").rpartition(b"\n")[2]
        if last[3:4] == b"-":
            return
        if last[:1] != self._expected:
            self._over = True
            self._load.fail(f"{self._said}: {last.decode('ascii', 'replace')}")
            self._transport.close()
            return
        self._text = b""
        self._step()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._over:
            self._load.fail(f"{self._said}: the connection was lost ({error or 'closed'})")

    def _say(self, octets: bytes, then: Callable[[], None], expected: bytes = b"2", name: str = "") -> None:
        self._step, self._expected = then, expected
        self._said = name or octets[:4].decode()
        self._transport.write(octets)

    def _hello(self) -> None:
        self._say(b"HELO src.test\r\n", self._mail)

    def _mail(self) -> None:
        sequence = self._load.take()
        if sequence < 0:
            self._say(b"QUIT\r\n", self._leave)
            return
        self._sequence = sequence
        self._load.began[sequence] = time.monotonic_ns()
        self._say(b"MAIL FROM:<a@src.test>\r\n", self._rcpt)

    def _rcpt(self) -> None:
        self._say(b"RCPT TO:<b@dst.test>\r\n", self._data)

    def _data(self) -> None:
        self._say(b"DATA\r\n", self._content, b"3")

    def _content(self) -> None:
        self._say(self._load.content(self._sequence), self._accepted, name="content")

    def _accepted(self) -> None:
        self._load.accepted()
        if self._load.kept:
            self._mail()
        else:
            self._say(b"QUIT\r\n", self._again)

    def _again(self) -> None:
        self._leave()
        if self._load.left():
            _connect(self._load)

    def _leave(self) -> None:
        self._over = True
        self._transport.close()


_connecting: set[asyncio.Task[None]] = set()


def _connect(load: Load) -> None:
    """Opens one more connection; a refused one ends the run."""
    task = asyncio.get_running_loop().create_task(_open(load))
    _connecting.add(task)
    task.add_done_callback(_connecting.discard)


async def _open(load: Load) -> None:
    try:
        await asyncio.get_running_loop().create_connection(lambda: SourceSession(load), "127.0.0.1", load.port)
    except OSError as error:
        load.fail(f"connect: {error.strerror or error}")


def body(size: int) -> bytes:
    """Exactly ``size`` octets in whole lines, as smtp-source counts them: without the header section."""
    if size < 2:
        return b"\r\n"
    lines, rest = divmod(size, len(_LINE))
    if rest == 1:  # no room for a line of its own: the last full line takes it
        return _LINE * (lines - 1) + b"X" + _LINE
    return _LINE * lines + (b"X" * (rest - 2) + b"\r\n" if rest else b"")


async def run(port: int, count: int, sessions: int, size: int, kept: bool, file: str) -> None:
    """The whole load; ConnectionError with the reason when something refused it."""
    load = Load(port, count, size, kept)
    for _ in range(min(sessions, count)):
        _connect(load)
    await load.write(file)


def play(name: str, load: Coroutine[None, None, None]) -> None:
    """Runs a source to its end; a refusal is one line and status 1."""
    try:
        uvloop.run(load)
    except ConnectionError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def main() -> None:
    port, count, sessions, size, policy, file = sys.argv[1:]
    play("probe source", run(int(port), int(count), int(sessions), int(size), policy == "kept", file))


if __name__ == "__main__":
    main()
