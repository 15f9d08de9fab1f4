"""A remote that writes down every message before it answers 250. A process of its own.

    python -m tests.harness.ledger_sink LEDGER [PORT]

Says ``port N`` on stdout, then takes words on stdin: ``drop`` (whoever has a message stored next loses its
connection instead of the 250, all other connections with it), ``pause`` and ``resume`` (452 after the dot meanwhile).
The end of stdin ends it.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from tests.harness.ledger import LedgerFile, examine

_EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n"


class Sink:
    """What all connections share."""

    def __init__(self, ledger: LedgerFile) -> None:
        self.ledger = ledger
        self.sessions: set[SinkSession] = set()
        self.drop = False
        self.paused = False

    def order(self, word: str) -> None:
        if word == "drop":
            self.drop = True
        elif word in ("pause", "resume"):
            self.paused = word == "pause"

    def stored(self, session: "SinkSession", content: bytes) -> bytes:
        """The reply to the final dot; b"": no reply, every connection is gone."""
        if self.paused:
            return b"452 4.3.1 paused\r\n"
        arrival = examine(content, session.recipients)
        words = (arrival.sha, arrival.queue_id, arrival.trouble, f"{time.monotonic() - session.opened:.6f}")
        for recipient in session.recipients:
            self.ledger.write("GOT", arrival.ledger_id, recipient, *words)
        if not self.drop:
            return b"250 2.0.0 stored\r\n"
        self.drop = False
        self.ledger.write("DROP")
        for other in list(self.sessions):
            other.transport.abort()
        return b""


class SinkSession(asyncio.Protocol):
    """One connection; commands may come pipelined."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._tail = bytearray()
        self._in_content = False
        self._searched = 0
        self.recipients: list[str] = []
        self.opened = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._sink.sessions.add(self)
        self.transport.write(b"220 sink.example ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink.sessions.discard(self)

    def data_received(self, data: bytes) -> None:
        self._tail += data
        replies = []
        while (reply := self._content() if self._in_content else self._command()) is not None:
            replies.append(reply)
            if self.transport.is_closing():
                return
        if replies:
            self.transport.write(b"".join(replies))
            if replies[-1].startswith(b"221"):
                self.transport.close()

    def _command(self) -> bytes | None:
        end = self._tail.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._tail[:end])
        del self._tail[: end + 2]
        verb = line[:4].upper()
        if verb == b"EHLO":
            return _EHLO
        if verb == b"RCPT":
            self.recipients.append(line[line.index(b"<") + 1 : line.index(b">")].decode())
        elif verb == b"DATA":
            self._in_content = True
            self._searched = 0
            return b"354 go on\r\n"
        elif verb == b"QUIT":
            return b"221 2.0.0 bye\r\n"
        elif verb in (b"MAIL", b"RSET"):
            self.recipients = []
        return b"250 2.0.0 ok\r\n"

    def _content(self) -> bytes | None:
        end = self._tail.find(b"\r\n.\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(self._tail) - 4)
            return None
        content = bytes(self._tail[: end + 2]).replace(b"\r\n..", b"\r\n.")
        del self._tail[: end + 5]
        self._in_content = False
        return self._sink.stored(self, content[1:] if content.startswith(b"..") else content)


async def main() -> None:
    loop = asyncio.get_running_loop()
    sink = Sink(LedgerFile(Path(sys.argv[1])))
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    server = await loop.create_server(lambda: SinkSession(sink), "127.0.0.1", port, backlog=1024)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        sink.order(line.decode().strip())


if __name__ == "__main__":
    uvloop.run(main())
