"""A source under TLS: ``python -m bench.tls_source PORT COUNT SESSIONS SIZE CERTIFICATE FILE``

Owns: the sending end of ``bench tls``. TLS from the first octet, connections kept, and as much in one write as RFC 2920
allows: content goes out together with MAIL, RCPT and DATA of the next message, so that the source costs little. All
sessions are open before the first of them sends, so that none comes too late for a sink that ends with its count. FILE
gets the same as ``bench.probe_source`` writes. The first reply that is no success ends it with status 1 and one line.
"""

import asyncio
import ssl
import sys
import time

from bench.probe_source import Load, play

_ENVELOPE = b"MAIL FROM:<a@src.test>\r\nRCPT TO:<b@dst.test>\r\nDATA\r\n"


class PipelinedSession(asyncio.Protocol):
    """One connection: a message in every two round trips."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._text = b""
        self._sequence = self._next = -1
        self._expected = 1  # replies until it is our turn
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's are no subclass
        self._turn = self._hello

    def data_received(self, data: bytes) -> None:
        lines = (self._text + data).split(b"\n")
        self._text = lines.pop()
        for line in lines:
            if line[3:4] != b"-":
                if line[:1] not in b"23":
                    self._fail(line.decode("ascii", "replace").strip())
                    return
                self._heard(line)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._over:
            self._fail(f"the connection was lost ({error or 'closed'})")

    def _fail(self, reason: str) -> None:
        self._over = True
        self._load.fail(reason)
        self._transport.close()

    def _heard(self, line: bytes) -> None:
        self._expected -= 1
        if self._sequence >= 0 and line[:3] == b"250" and self._waits_for_content():
            self._sequence = -1
            self._load.accepted()
        if not self._expected:
            self._turn()

    def _waits_for_content(self) -> bool:
        """The first reply of a turn is that to the content before it."""
        return self._expected == 3 or (self._next < 0 and self._expected == 0)

    def _hello(self) -> None:
        self._say(b"EHLO src.test\r\n", 1)
        self._turn = self._wait

    def _wait(self) -> None:
        self.ready.set_result(None)

    def begin(self) -> None:
        """Once ``ready`` is done: the first message."""
        self._next = self._take()
        if self._next < 0:
            self._leave()
        else:
            self._say(_ENVELOPE, 3)
            self._turn = self._content

    def _content(self) -> None:
        self._sequence, self._next = self._next, self._take()
        content = self._load.content(self._sequence)
        if self._next < 0:
            self._say(content, 1)
            self._turn = self._leave
        else:
            self._say(content + _ENVELOPE, 4)

    def _leave(self) -> None:
        self._over = True
        self._transport.write(b"QUIT\r\n")
        self._transport.close()

    def _take(self) -> int:
        sequence = self._load.take()
        if sequence >= 0:
            self._load.began[sequence] = time.monotonic_ns()
        return sequence

    def _say(self, octets: bytes, replies: int) -> None:
        self._expected = replies
        self._transport.write(octets)


async def run(port: int, count: int, sessions: int, size: int, certificate: str, file: str) -> None:
    """The whole load; ConnectionError with the reason when something refused it."""
    load = Load(port, count, size, kept=True)
    context = ssl.create_default_context(cafile=certificate)
    loop = asyncio.get_running_loop()
    opened: list[PipelinedSession] = []
    try:
        for _ in range(min(sessions, count)):
            _, session = await loop.create_connection(
                lambda: PipelinedSession(load), "127.0.0.1", port, ssl=context, server_hostname="127.0.0.1"
            )
            await asyncio.wait((session.ready, load.done), return_when=asyncio.FIRST_COMPLETED)
            opened.append(session)
    except OSError as error:
        raise ConnectionError(f"connect: {error.strerror or error}") from None
    if not load.done.done():  # else it failed already
        for session in opened:
            session.begin()
    await load.write(file)


def main() -> None:
    port, count, sessions, size, certificate, file = sys.argv[1:]
    play("tls source", run(int(port), int(count), int(sessions), int(size), certificate, file))


if __name__ == "__main__":
    main()
