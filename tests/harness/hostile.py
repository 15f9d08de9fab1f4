"""What scenarios with bad clients need: a raw client, a good one beside it, the worker's footprint before and after.

Owns: sockets that say octets and read replies, nothing in between; what /proc tells of a worker. Never does: SMTP.
"""

import os
import re
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from mta.clock import SystemClock
from tests.harness.in_step import groups
from tests.harness.mta_server import MtaServer, submit, wait_until

PATIENCE = 20.0
#: Seconds within which a good client's transaction is over, whatever others do; it usually takes 0.02.
USUAL = 1.5
#: Octets that a worker's memory may differ by before and after: the allocator keeps some, caches fill.
SLACK = 12 << 20
HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<alice@athena.example>\r\nRCPT TO:<bob@arlington.example>\r\nDATA\r\n"
CONTENT = b"Subject: hostile\r\n\r\nhello\r\n"

_clock = SystemClock()


class Raw:
    """A connection that says what it is told. ``greeted`` False: it does not wait for the greeting."""

    def __init__(self, port: int, *, greeted: bool = True, receive_buffer: int = 0, source: str = "") -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        self.unread = b""
        if greeted:
            assert self.reply().startswith("220 ")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def hello(self) -> "Raw":
        assert self.ask(HELLO).startswith("250-")
        return self

    def say(self, octets: bytes) -> None:
        """Sends it all; a server that has closed meanwhile is not this call's matter."""
        try:
            self.sock.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what it said last is to be read

    def advance(self, octets: bytes) -> None:
        """Says it as a client that waits behind EHLO and DATA; the replies to what is sent last are not read."""
        *waited, last = groups(octets) or [b""]
        for group in waited:
            self.say(group)
            self.replies(group.count(b"\r\n"))
        self.say(last)

    def reply(self) -> str:
        """The next whole reply without its last line end; "" at the end of the connection, "reset" for a reset."""
        while not (found := re.match(rb"(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n", self.unread)):
            try:
                data = self.sock.recv(65_536)
            except ConnectionResetError:
                return "reset"
            if not data:
                assert not self.unread, self.unread
                return ""
            self.unread += data
        self.unread = self.unread[found.end() :]
        return found[0].decode().removesuffix("\r\n")

    def replies(self, count: int) -> list[str]:
        return [self.reply() for _ in range(count)]

    def rest(self) -> list[str]:
        """All replies until the server closes, which must be a clean end."""
        found = []
        while reply := self.reply():
            found.append(reply)
            assert reply != "reset", found
        return found

    def ask(self, octets: bytes) -> str:
        self.say(octets)
        return self.reply()

    def reset(self) -> None:
        """Ends with a RST, as a killed machine's peer sees it."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def alive(self) -> bool:
        """Whether the session still answers."""
        return self.ask(b"NOOP\r\n") == "250 2.0.0 ok"

    def transaction(self) -> str:
        """One more message, on this very session: its reply."""
        self.say(ENVELOPE)
        codes = [reply[:3] for reply in self.replies(3)]
        assert codes == ["250", "250", "354"], codes
        return self.ask(CONTENT + b".\r\n")


def good_client(server: MtaServer, patience: float = USUAL) -> float:
    """A transaction of someone else, from connect to QUIT; fails when it took too long. Its seconds."""
    began = _clock.monotonic()
    with server.connect() as session:
        submit(session)
    took = _clock.monotonic() - began
    assert took < patience, f"a good client's transaction took {took:.2f} s"
    return took


class Worker:
    """The process behind the listener, as /proc shows it."""

    def __init__(self, server: MtaServer, name: str = "worker-0") -> None:
        [self.pid] = [row["pid"] for row in server.status()["services"] if row["name"] == name]
        self._server = server

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self) -> int:
        """Octets of its own (private) pages; shared libraries are nobody's fault."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return 1024 * sum(int(size) for size in re.findall(r"^Private_(?:Dirty|Clean):\s+(\d+)", text, re.MULTILINE))

    def anonymous(self) -> int:
        """Octets of its heap and stacks; pages of the spool's file are not in it."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+)", text, re.MULTILINE)
        assert found is not None
        return 1024 * int(found[1])

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def connections(self) -> int:
        return int(self._server.metrics()['mta_connections{direction="in"}'])


class Footprint:
    """What a worker holds now; ``back`` waits until it holds no more than that again."""

    def __init__(self, server: MtaServer) -> None:
        self._server = server
        self.worker = Worker(server)
        self.descriptors = self.worker.descriptors()
        self.anonymous = self.worker.anonymous()

    def back(self, slack: int = SLACK, holding: int | None = None) -> None:
        """``holding``: octets of memory, where those of this very moment tell too little."""
        worker = self.worker
        assert Worker(self._server).pid == worker.pid, "the worker has died and was started again"
        wait_until(lambda: worker.connections() == 0, lambda: f"connections back to 0: {worker.connections()}")
        wait_until(lambda: worker.descriptors() <= self.descriptors, lambda: f"descriptors back: {self._open_files()}")
        grown = (worker.anonymous() if holding is None else holding) - self.anonymous
        assert grown < slack, f"the worker has grown by {grown} octets"

    def _open_files(self) -> list[str]:
        links = sorted(Path(f"/proc/{self.worker.pid}/fd").iterdir())
        return [f"{len(links)} for {self.descriptors}", *(os.readlink(link) for link in links)]


def close_all(clients: Iterable[Raw]) -> None:
    for client in clients:
        client.sock.close()
