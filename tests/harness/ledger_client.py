"""Clients that send as fast as they are let and write down what became of every message. A process of its own.

    python -m tests.harness.ledger_client LEDGER PORT '{"clients": 8, "connections": 4, …}'

Each client has several connections, each sends one message after the other and is opened anew when it is lost.
Says ``acknowledged N`` on stdout when asked by a line on stdin, and when ``messages`` of them were reached. Stops when
stdin ends, after the transactions that are under way. Never sends an id twice.
"""

import asyncio
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.harness.ledger import SENDER, LedgerFile, address, compose, digest

#: Seconds to wait for any reply.
PATIENCE = 60.0
_TEXT = 4 << 20


@dataclass
class Load:
    """What is sent. ``pause``: at most so many seconds between two messages of a connection; ``prefix``: of the ids."""

    clients: int = 8
    connections: int = 4
    messages: int = 0
    seed: int = 1
    pause: float = 0.05
    largest: int = 2 << 20
    smallest: int = 1 << 10
    domains: int = 3
    prefix: str = "m"


class Lost(Exception):
    """The connection is no more. ``after_dot``: the end of content had been written."""


class Refused(Exception):
    """The server said no to the transaction."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Clients:
    """All clients of the process."""

    def __init__(self, ledger: LedgerFile, port: int, load: Load) -> None:
        self._ledger = ledger
        self._port = port
        self.load = load
        self._random = random.Random(load.seed)
        lines = (self._random.randbytes(38).hex().encode() + b"\r\n" for _ in range(_TEXT // 78))
        self._text = b"".join(lines)
        self._next = 0
        self.acknowledged = 0
        self.stopping = asyncio.Event()

    def _padding(self) -> bytes:
        """Mostly a few KB, now and then more, seldom as much as ``largest`` (then content is streamed)."""
        kind = self._random.random()
        limit = self.load.largest
        size = int(1024 * 8 ** self._random.random())
        if kind > 0.9:
            size = int(8192 * 16 ** self._random.random())
        if kind > 0.985:
            size = self._random.randrange(128 << 10, max(limit, 129 << 10))
        size = min(max(size, self.load.smallest), limit)
        start = self._random.randrange(len(self._text) - limit)
        return self._text[start : start + size].strip(b"\r\n")

    async def connection(self) -> None:
        """One connection after the other until told to stop."""
        while not self.stopping.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await self._rest(0.02)
                continue
            try:
                await self._session(reader, writer)
            except (OSError, EOFError, TimeoutError, RuntimeError, Lost, Refused):  # uvloop: RuntimeError when closed
                await self._rest(0.02)
            finally:
                writer.transport.abort()

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (await reply(reader)).startswith("220"):
            raise Lost
        writer.write(b"EHLO client.example\r\n")
        if not (await reply(reader)).startswith("250"):
            raise Lost
        for _ in range(self._random.randrange(1, 60)):
            if self.stopping.is_set():
                break
            await self._one_message(reader, writer)
            await self._rest(self._random.random() * self.load.pause)
        writer.write(b"QUIT\r\n")
        await reply(reader)

    async def _one_message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        load = self.load
        self._next += 1
        ledger_id = f"{load.prefix}{self._next}"
        count = self._random.randrange(2, 5) if self._random.random() < 0.1 else 1
        content = compose(ledger_id, self._padding())
        self._ledger.write("SEND", ledger_id, count, digest(content))
        at_dot = [False]
        try:
            answer = await self._transaction(reader, writer, ledger_id, count, content, at_dot)
        except Refused as refusal:
            self._ledger.write("NACK", ledger_id, refusal.code)
            if refusal.code.startswith("421"):
                raise Lost from None
            writer.write(b"RSET\r\n")
            await reply(reader)
            return
        except BaseException:
            self._ledger.write("UNKNOWN" if at_dot[0] else "CUT", ledger_id)
            raise
        self._ledger.write("ACK", ledger_id, answer[:3], answer.split()[2])
        self.acknowledged += 1
        if self.acknowledged == load.messages:
            print("acknowledged", self.acknowledged, flush=True)

    async def _transaction(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ledger_id: str,
        count: int,
        content: bytes,
        at_dot: list[bool],
    ) -> str:
        recipients = [address(ledger_id, number, self.load.domains) for number in range(count)]
        commands = [f"MAIL FROM:<{SENDER}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA"]
        writer.write("".join(f"{command}\r\n" for command in commands).encode())
        answers = [await reply(reader) for _ in range(2 + count)]  # pipelined: there is one for each command
        wanted = ["250"] * (1 + count) + ["354"]
        refusal = next((a for a, code in zip(answers, wanted, strict=True) if not a.startswith(code)), None)
        if refusal is not None:
            if answers[-1].startswith("354"):
                raise Lost  # some of the recipients stand: the connection goes before any content does
            raise Refused(brief(refusal))
        wire = content.replace(b"\r\n.", b"\r\n..")
        half = len(wire) // 2
        writer.write(wire[:half])
        await writer.drain()
        at_dot[0] = True
        writer.write(wire[half:] + b".\r\n")
        answer = await reply(reader)
        if not answer.startswith("250"):
            raise Refused(brief(answer))
        return answer


def brief(answer: str) -> str:
    """Code and enhanced code of a reply, as one word."""
    return answer[:9].replace(" ", "_")


async def reply(reader: asyncio.StreamReader) -> str:
    """The last line of a reply. Raises EOFError or OSError when the connection ends before it, Refused for a 421."""
    while True:
        line = await asyncio.wait_for(reader.readline(), PATIENCE)
        if not line.endswith(b"\r\n"):
            raise EOFError
        if line.startswith(b"421"):
            raise Refused(brief(line.decode()))  # nothing comes after it
        if line[3:4] != b"-":
            return line.decode().rstrip()


async def main() -> None:
    ledger = LedgerFile(Path(sys.argv[1]))
    clients = Clients(ledger, int(sys.argv[2]), Load(**json.loads(sys.argv[3])))
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    async def listen() -> None:
        while await orders.readline():
            print("acknowledged", clients.acknowledged, flush=True)
        clients.stopping.set()

    listening = loop.create_task(listen())
    load = clients.load
    await asyncio.gather(*(clients.connection() for _ in range(load.clients * load.connections)))
    listening.cancel()


if __name__ == "__main__":
    uvloop.run(main())
