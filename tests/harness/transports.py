"""A transport without a network: what a connection does to it, and how it behaves, is the test's.

Owns: what was written, and the flags of a socket. As with uvloop, ``pause_writing`` comes from inside ``write``.
"""

import asyncio
from typing import Any


class FakeTransport(asyncio.Transport):
    """``deaf``: the peer does not read, so that what is written stays. ``flush`` lets it read again."""

    def __init__(self, protocol: asyncio.Protocol, peer: Any = ("192.0.2.7", 4711)) -> None:
        super().__init__()
        self._protocol = protocol
        self._peer = peer
        self.deaf = False
        self.waiting = 0
        self.high = 65_536
        self.written: list[bytes] = []
        self.closed = ""
        self.reading = True
        self.half_closed = False
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peer if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self.high = high

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after the close"
        assert not self.half_closed, "written after the end"
        self.written.append(data)
        if self.deaf:
            self.waiting += len(data)
            if self.waiting > self.high and not self.paused:
                self.paused = True
                self._protocol.pause_writing()

    def flush(self) -> None:
        self.deaf, self.waiting = False, 0
        if self.paused:
            self.paused = False
            self._protocol.resume_writing()

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def is_closing(self) -> bool:
        return bool(self.closed)

    def close(self) -> None:
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        self.closed = "aborted"

    @property
    def said(self) -> bytes:
        return b"".join(self.written)

    def take(self) -> bytes:
        """What was written since the last look."""
        said = self.said
        self.written.clear()
        return said
