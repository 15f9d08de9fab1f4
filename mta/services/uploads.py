"""Messages that an import sends in parts: streams into the store that are open between two requests.

Owns: their names, their number, and their end when nobody goes on. Never does: deliver. Loop thread only.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from mta.errors import DataError, TemporaryError
from mta.store.protocol import ContentStream

#: Seconds after which one that nobody goes on with is abandoned.
PATIENCE: Final = 60.0
#: How many may be open.
LIMIT: Final = 16
#: Octets that may wait for the disk before the answer to a part does.
HIGH: Final = 4 << 20


class _Upload:
    __slots__ = ("ending", "mailbox", "stream")

    def __init__(self, stream: ContentStream, mailbox: int, ending: asyncio.TimerHandle) -> None:
        self.stream = stream
        self.mailbox = mailbox
        self.ending = ending


class Uploads:
    """``open_stream``: the store's. ``size``: octets of a message at most."""

    def __init__(self, open_stream: Callable[[], ContentStream], size: int) -> None:
        self._open_stream = open_stream
        self._size = size
        self._open: dict[str, _Upload] = {}
        self._count = 0

    def append(self, name: str, mailbox: int, content: bytes, *, more: bool) -> tuple[str, ContentStream]:
        """(name, stream) after this part; "" begins one. Without ``more`` it is the caller's now. Raises DataError for
        an unknown name or too large a message, TemporaryError when too many are open."""
        upload = self._find(name, mailbox) if name else self._begin(mailbox)
        name = name or str(self._count)
        upload.ending.cancel()
        if upload.stream.octets + len(content) > self._size:
            self._abandon(name)
            raise DataError(f"a message has more than {self._size} octets, which is limits.message_size")
        upload.stream.append(content)
        if more:
            upload.ending = asyncio.get_running_loop().call_later(PATIENCE, self._abandon, name)
        else:
            del self._open[name]
        return name, upload.stream

    def _begin(self, mailbox: int) -> _Upload:
        if len(self._open) >= LIMIT:
            raise TemporaryError(f"{LIMIT} imports of large messages are under way: try again")
        self._count += 1
        name = str(self._count)
        ending = asyncio.get_running_loop().call_later(PATIENCE, self._abandon, name)
        upload = self._open[name] = _Upload(self._open_stream(), mailbox, ending)
        return upload

    def _find(self, name: str, mailbox: int) -> _Upload:
        upload = self._open.get(name)
        if upload is None or upload.mailbox != mailbox:
            raise DataError(f"there is no upload {name[:20]!r} for this mailbox: begin again")
        return upload

    def _abandon(self, name: str) -> None:
        upload = self._open.pop(name)
        upload.ending.cancel()
        upload.stream.abandon()

    async def drained(self, stream: ContentStream) -> None:
        """Returns when little of it waits for the disk."""
        if stream.backlog <= HIGH:
            return
        below = asyncio.Event()
        stream.on_drained = below.set
        await below.wait()
        stream.on_drained = None
