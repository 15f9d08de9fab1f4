"""A POP3 client that shows the octets: what was said, as it was said.

Owns: one connection. It knows one thing only: which replies have more lines, and that these end with a dot. Waiting
for a reply has a limit.
"""

import socket
from typing import Any

_PATIENCE = 30.0


class Pop3Wire:
    """``Pop3Wire(port)`` has read the greeting; ``with`` ends with QUIT."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection((host, port), _PATIENCE)
        self._rest = b""
        self.greeting = self.line()

    def __enter__(self) -> "Pop3Wire":
        return self

    def __exit__(self, kind: object, *_: Any) -> None:
        if kind is None:
            assert self.say("QUIT").startswith(b"+OK")
        self.cut()

    def cut(self) -> None:
        """The connection ends without QUIT. Idempotent."""
        self.sock.close()

    def send(self, *lines: str) -> None:
        """In one write."""
        self.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def line(self) -> bytes:
        """The next line without its end; ConnectionError when there is none."""
        return self._until(b"\r\n")

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionError(f"closed after {self._rest[-200:]!r}")
            self._rest += data
        found, _, self._rest = self._rest.partition(mark)
        return found

    def say(self, line: str) -> bytes:
        """The first line of the reply."""
        self.send(line)
        return self.line()

    def lines(self) -> bytes:
        """What follows a first line, up to the lonely dot, dots still stuffed."""
        if self._rest.startswith(b".\r\n") or (len(self._rest) < 3 and self._starts_with_the_end()):
            self._rest = self._rest[3:]
            return b""
        return self._until(b"\r\n.\r\n") + b"\r\n"

    def _starts_with_the_end(self) -> bool:
        while len(self._rest) < 3 and b".\r\n".startswith(self._rest):
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionError("closed where more lines were due")
            self._rest += data
        return self._rest.startswith(b".\r\n")

    def listing(self, line: str) -> list[bytes]:
        """The lines of a reply that must be a success with more lines."""
        return self.content(line).split(b"\r\n")[:-1]

    def content(self, line: str) -> bytes:
        """The same as octets, dots unstuffed."""
        said = self.say(line)
        assert said.startswith(b"+OK"), (line, said)
        return unstuffed(self.lines())

    def login(self, user: str, password: str) -> None:
        assert self.say(f"USER {user}").startswith(b"+OK")
        said = self.say(f"PASS {password}")
        assert said.startswith(b"+OK"), said

    def count(self) -> int:
        """Messages, by STAT."""
        return int(self.say("STAT").split()[1])


def unstuffed(lines: bytes) -> bytes:
    """Every line that begins with a dot loses it."""
    return (b"\r\n" + lines).replace(b"\r\n.", b"\r\n")[2:]
