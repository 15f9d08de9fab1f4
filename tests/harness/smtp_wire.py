"""Octets to an SMTP server and all that it says, in clear or under TLS, in pieces that the test chooses.

Owns: one connection. Each piece is one send (under TLS one record). Never does: understand a reply beyond its code.
"""

import re
import socket
import ssl
from collections.abc import Callable

PATIENCE = 20.0
#: Seconds without a word after which a server is taken to wait for more.
SILENCE = 3.0
_BDAT = re.compile(rb"BDAT (\d{1,9})(?: LAST)?\r\n")


class SmtpWire:
    """Reads its greeting at once. ``said``: everything so far, from the greeting or the handshake on. ``reset``: the
    server's kernel broke the connection off, and may have thrown away replies that were still on their way."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls: ssl.SSLObject | None = None
        self.said = b""
        self.reset = self.silent = False
        self._heard = 0
        self.reply()

    def __enter__(self) -> "SmtpWire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """As one piece. A server that has gone is not an error here: what it said counts."""
        try:
            if self._tls is not None:
                self._tls.write(data)
                data = self._outgoing.read()
            self._socket.sendall(data)
        except ConnectionError:
            self.reset = True
        except ssl.SSLError:
            pass  # it has said farewell

    def reply(self, patience: float = PATIENCE) -> bytes:
        """The next whole reply; what there is of it when the server closes instead, or is silent (``rest``)."""
        while True:
            line = self.said.find(b"\n", self._heard)
            while line >= 0:
                start = self.said.rfind(b"\n", self._heard, line) + 1 or self._heard
                if self.said[start + 3 : start + 4] != b"-":
                    answer, self._heard = self.said[self._heard : line + 1], line + 1
                    return answer
                line = self.said.find(b"\n", line + 1)
            if not self._receive(patience):
                answer, self._heard = self.said[self._heard :], len(self.said)
                return answer

    def say(self, command: str) -> bytes:
        """A line and its reply."""
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def rest(self, patience: float = PATIENCE) -> bytes:
        """All that is said until the server closes, or has been silent for so many seconds (``silent``)."""
        while self._receive(patience):
            pass
        return self.said

    def forget(self) -> None:
        """What was said until now."""
        self.said, self._heard = b"", 0

    def starttls(self, context: ssl.SSLContext) -> None:
        """Handshake now. What was said before is forgotten."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                if not (data := self._socket.recv(1 << 16)):
                    raise ConnectionError("the server closed in the handshake") from None
                self._incoming.write(data)
            else:
                break
        self._socket.sendall(self._outgoing.read())
        self._tls = tls
        self.forget()

    def _receive(self, patience: float) -> bool:
        self._socket.settimeout(patience)
        try:
            data = self._read()
        except ConnectionError:
            self.reset = True
            return False
        except TimeoutError:
            self.silent = True
            return False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return False
        self.said += data
        return bool(data)

    def _read(self) -> bytes:
        if self._tls is None:
            return self._received()
        while True:
            try:
                return self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not (data := self._received()):
                    return b""
                self._incoming.write(data)

    def _received(self) -> bytes:
        # Some servers leave Nagle's algorithm on: else each of their replies would wait for a late acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return self._socket.recv(1 << 16)


Cutter = Callable[[bytes], list[bytes]]


def opened(port: int, context: ssl.SSLContext | None) -> SmtpWire:
    """A connection whose greeting is read. With a context EHLO and STARTTLS are behind it."""
    wire = SmtpWire(port)
    if context is not None:
        try:
            wire.say("EHLO client.example")
            answer = wire.say("STARTTLS")
            assert answer.startswith(b"220"), answer
            wire.starttls(context)
        except BaseException:
            wire.__exit__()
            raise
    return wire


def rush(port: int, said: bytes, cut: Cutter, context: ssl.SSLContext | None = None) -> SmtpWire:
    """Says everything without waiting, in pieces as ``cut`` makes them; the closed connection with the replies."""
    with opened(port, context) as wire:
        wire.forget()
        for piece in cut(said):
            wire.send(piece)
        wire.rest(SILENCE)
    return wire


def play(
    port: int, said: bytes, cut: Cutter, context: ssl.SSLContext | None = None, pipelining: bool = True
) -> SmtpWire:
    """The same, but waits where RFC 2920 says that a client must, or behind every command; content is said only where
    it was asked for, up to what RFC 5321 calls its end."""
    with opened(port, context) as wire:
        wire.forget()
        rest, asked = said, False
        while rest:
            at, replies = _content(rest) if asked else _group(rest, pipelining)
            step, rest = rest[:at], rest[at:]
            for piece in cut(step):
                wire.send(piece)
            heard = [wire.reply(SILENCE) for _ in range(replies)]
            asked = heard[-1].startswith(b"3")
            if not heard[-1]:
                break
        wire.rest(SILENCE)
    return wire


def _content(octets: bytes) -> tuple[int, int]:
    return 3 if octets.startswith(b".\r\n") else octets.find(b"\r\n.\r\n") + 5, 1


def _group(octets: bytes, pipelining: bool) -> tuple[int, int]:
    """How many octets may go out before an answer, and how many answers there are to wait for."""
    at = commands = 0
    while at < len(octets):
        line = octets[at : octets.find(b"\r\n", at) + 2]
        chunk = _BDAT.match(line)
        at += len(line) + (int(chunk[1]) if chunk else 0)
        commands += 1
        if not pipelining or line[:4] in (b"EHLO", b"HELO", b"DATA"):
            break
    return at, commands


def classes(said: bytes) -> str:
    """The first digit of each reply."""
    lines = said.split(b"\r\n")[:-1]
    return "".join(line[:1].decode("latin-1") for line in lines if line[3:4] != b"-")
