"""Large content on its way to the spool while it still arrives: from its first piece to the ticket, or given up.

Owns: the stream of one content, the trace field in front of it, the header section while it is kept back for mending,
and that a client is not read while the disk is behind. Never does: decide, or make the message. Loop thread only.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from mta.model.submitted import head_end
from mta.spool.protocol import ContentStream
from mta_ext.content import Content

if TYPE_CHECKING:
    from mta.net.server import ServerConnection

#: Octets of a stream that may wait for the disk before its connection is not read any more.
STREAM_HIGH = 4 * 1_048_576


class Host(Protocol):
    """The transaction that the content belongs to (``mta.services.receiving.ReceptionSession``). ``added``: fields that
    hooks want below the trace field; ``grows``: there may be more of them when the content has come. ``mends``: the
    header section is not kept as it is."""

    added: bytes

    @property
    def mends(self) -> bool: ...
    @property
    def grows(self) -> bool: ...
    def trace(self, spool_id: int, now: int) -> bytes: ...
    def mended(self, head: bytes, spool_id: int, now: int) -> bytes: ...


class LargeContent:
    """``id``: the message's. ``now_ms``: the clock's."""

    __slots__ = ("_complete", "_connection", "_head", "_host", "_looked", "_now_ms", "_stream", "_traced", "id")

    def __init__(
        self,
        host: Host,
        stream: ContentStream,
        spool_id: int,
        connection: "ServerConnection",
        now_ms: Callable[[], int],
    ) -> None:
        self._host = host
        self._connection = connection
        self._now_ms = now_ms
        self._stream = stream
        self.id = spool_id
        stream.on_drained = connection.release
        #: The header section as far as it has come; None when it has been dealt with.
        self._head: bytes | None = None
        self._looked = 0
        self._traced = 0
        self._complete = False
        if host.mends:
            self._head = b""
        else:
            self._put_trace(now_ms())

    def take(self, data: bytes) -> None:
        """The next piece."""
        self._write(data)
        if self._stream.backlog > STREAM_HIGH:
            self._connection.hold()

    def readable(self, content: Content, then: Callable[[], None]) -> bool:
        """The content has come. Whether all of it can be read; if not, ``then`` is called when it can."""
        self._end(content)
        return self._stream.all_written(then)

    @property
    def reader(self) -> Callable[[], Iterator[bytes]]:
        return self._stream.read

    def finish(self, content: Content) -> ContentStream:
        """The content has come and is taken: the stream for its ticket. RuntimeError when fields were added that have
        no room in front of it; it is given up then."""
        try:
            self._end(content)
            late = self._host.added[self._traced :]
            if late:
                self._stream.extend_front(late)
        except Exception:
            self.abandon()
            raise
        self._let_go()
        return self._stream

    def abandon(self) -> None:
        """It is not taken."""
        self._stream.abandon()
        self._let_go()

    def _let_go(self) -> None:
        """All of it has come, and a refused ticket drains no stream. Who keeps the reader keeps no connection."""
        self._stream.on_drained = None
        self._connection.unhold()

    def _end(self, content: Content) -> None:
        """The last piece, once."""
        if not self._complete:
            self._complete = True
            self._write(content.joined(b""), last=True)

    def _write(self, data: bytes, *, last: bool = False) -> None:
        """The header section waits until all of it is there; it has its limit (``limits.header_section``)."""
        if self._head is None:
            self._stream.append(data)
            return
        self._head += data
        end = head_end(self._head, self._looked)
        self._looked = len(self._head)
        if end < 0 and not last:
            return
        octets, self._head = self._head, None
        head = octets if end < 0 else octets[:end]
        now = self._now_ms()
        mended = self._host.mended(head, self.id, now)
        self._put_trace(now)
        self._stream.append(mended + octets[len(head) :])

    def _put_trace(self, now: int) -> None:
        self._stream.append(self._host.trace(self.id, now))
        self._traced = len(self._host.added)
        if self._host.grows:
            self._stream.keep_front()
