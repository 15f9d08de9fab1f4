"""A sink that notes when each message arrived: ``python -m bench.probe_sink PORT COUNT FILE [CERTIFICATE KEY]``.

Owns: the receiving end of the latency pass and of the warm-up. Takes SMTP with PIPELINING on 127.0.0.1:PORT, ends
after COUNT messages (or SIGTERM) and writes FILE: native 64-bit pairs (sequence number or -1, CLOCK_MONOTONIC
nanoseconds at the end of the content). Every message is answered before it ends. With a
certificate it takes TLS from the first octet on. Never does: keep content.
"""

import array
import asyncio
import signal
import ssl
import sys
import time
from typing import cast

import uvloop

#: The header field that carries the sequence number, and how far into a message it is looked for.
MARK = b"X-Bench-Sequence: "
_HEAD = 16_384
#: In place of a sequence number: nanoseconds of CPU that the sink itself took from the first to the last message.
CPU = -2
#: Seconds that connections have to leave by themselves after the last message.
_LINGER = 0.2

_EXTENSIONS = b"250-probe\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
_REPLIES = {
    b"EHLO": _EXTENSIONS,
    b"HELO": b"250 probe\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
_GO_ON = b"354 go on\r\n"
_ACCEPTED = b"250 2.0.0 ok\r\n"
_UNKNOWN = b"500 5.5.2 what?\r\n"
_END = b"\r\n.\r\n"


class Arrivals:
    """What came when. ``complete`` is set with the last message that is waited for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.messages = 0
        self.pairs = array.array("q")
        self.complete = asyncio.Event()
        self._cpu_at_first = 0

    def note(self, sequence: int, at: int) -> None:
        if not self.messages:
            self._cpu_at_first = time.process_time_ns()
        self.pairs.extend((sequence, at))
        self.messages += 1
        if self.messages == self.count:
            self.pairs.extend((CPU, time.process_time_ns() - self._cpu_at_first))
            self.complete.set()


class SinkSession(asyncio.Protocol):
    """One connection. Pipelined commands are answered in one write."""

    def __init__(self, arrivals: Arrivals, open_transports: set[asyncio.Transport]) -> None:
        self._arrivals = arrivals
        self._open = open_transports
        self._buffer = bytearray()
        self._searched = 0
        self._in_content = False
        self._replies: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._open.add(self._transport)
        self._transport.write(b"220 probe ESMTP\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._content() if self._in_content else self._command():
            pass
        if self._replies:
            self._transport.write(b"".join(self._replies))
            self._replies.clear()

    def _command(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            return False
        verb = bytes(self._buffer[:4]).upper()
        if verb == b"DATA":
            # Its CRLF stays: with it an empty message, a lone dot line, ends like any other.
            del self._buffer[: end - 1]
            self._searched = 0
            self._in_content = True
            self._replies.append(_GO_ON)
            return True
        del self._buffer[: end + 1]
        self._replies.append(_REPLIES.get(verb, _UNKNOWN))
        if verb == b"QUIT":
            self._transport.write(b"".join(self._replies))
            self._replies.clear()
            self._transport.close()
            return False
        return True

    def _content(self) -> bool:
        end = self._buffer.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - len(_END) + 1)
            return False
        now = time.monotonic_ns()
        sequence = sequence_of(self._buffer, end)
        del self._buffer[: end + len(_END)]
        self._in_content = False
        self._replies.append(_ACCEPTED)
        self._arrivals.note(sequence, now)
        return True


def sequence_of(content: bytes | bytearray, end: int) -> int:
    """The number in the mark field, -1 when there is none near the head."""
    at = content.find(MARK, 0, min(end, _HEAD))
    if at < 0:
        return -1
    digits = bytes(content[at + len(MARK) : at + len(MARK) + 12]).split(b"\r", 1)[0]
    return int(digits) if digits.isdigit() else -1


async def serve(port: int, count: int, file: str, certificate: str = "", key: str = "") -> None:
    """Until the last message is in, or SIGTERM."""
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    arrivals = Arrivals(count)
    loop.add_signal_handler(signal.SIGTERM, arrivals.complete.set)
    transports: set[asyncio.Transport] = set()
    server = await loop.create_server(
        lambda: SinkSession(arrivals, transports), "127.0.0.1", port, backlog=1000, ssl=context
    )
    await arrivals.complete.wait()
    with open(file, "wb") as out:
        arrivals.pairs.tofile(out)
    server.close()
    await asyncio.sleep(_LINGER)
    for transport in list(transports):
        transport.close()
    await asyncio.sleep(0)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
