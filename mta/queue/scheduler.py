"""Feeds what is due from the spool into memory, lazily, and knows which entries are live.

Owns: the set of live entries (ready or in flight), the cursor into the ``due`` index, the budget of content kept in
memory. Never does: IO beyond the spool's reads, connections, or deciding what follows a failure. Loop thread only.

Entries that are live stay in ``due`` with their old key, so that a crash forgets nothing. A new message becomes
live right after its commit, without a read; everything else comes back through ``refill``, in due order. The start
never scans the spool: it reads the first entries and goes on as they are worked off.
"""

from collections.abc import Callable

from mta.clock import Clock
from mta.model.message import Message, due_key, groups_of
from mta.queue.entry import Entry
from mta.spool.protocol import Spool

#: Entries read from ``due`` at a time: about a millisecond of reading.
PAGE = 256
#: Seconds after which the cursor starts again, so that nothing is overlooked when the wall clock was set back.
RESCAN = 60.0


class Scheduler:
    """``deliver`` takes each entry that has become live. ``limit``: live entries; ``content_memory``: octets."""

    def __init__(
        self, spool: Spool, clock: Clock, deliver: Callable[[Entry], None], *, limit: int, content_memory: int
    ) -> None:
        #: What entries carry as ``home``; set by whoever owns this scheduler.
        self.home: object = None
        self._spool = spool
        self._clock = clock
        self._deliver = deliver
        self._limit = limit
        self._room = content_memory
        self._live: dict[bytes, Entry] = {}  # by spool id and group: a key without its due time
        self._shared: dict[int, Message] = {}
        self._holders: dict[int, int] = {}
        self._cursor = b""
        self._rescan_at = 0.0

    def __len__(self) -> int:
        return len(self._live)

    def admit(
        self, message: Message, content: bytes | None, entries: list[tuple[bytes, str]], reception: float
    ) -> None:
        """A message that was just committed: live at once, unless there are too many; then ``refill`` finds it."""
        if len(self._live) >= self._limit:
            self._cursor = b""
            return
        if content is not None:
            size = len(content)
            if size > self._room:
                content = None
            else:
                self._room -= size * len(entries)
        if len(message.recipients) > 1:
            self._shared[message.id] = message
            self._holders[message.id] = len(entries)
        now = self._clock.monotonic()
        for key, domain in entries:
            entry = Entry(self.home, key, domain, message, content, now)
            entry.reception = reception
            self._live[key[8:]] = entry
            self._deliver(entry)

    def refill(self) -> int:
        """Makes due entries live until the limit is reached; how many. Called on every tick."""
        now = self._clock.monotonic()
        if now >= self._rescan_at:
            self._rescan_at = now + RESCAN
            self._cursor = b""
        until = self._clock.now_ms()
        fresh = 0
        while len(self._live) < self._limit:
            page = self._spool.due(self._cursor, until, PAGE)
            if not page:
                break
            self._cursor = page[-1][0]
            for key, domain in page:
                if key[8:] not in self._live:
                    entry = self._live[key[8:]] = Entry(self.home, key, domain, None, None, now)
                    fresh += 1
                    self._deliver(entry)
            if fresh >= PAGE:
                break
        return fresh

    def open(self, entry: Entry) -> Message | None:
        """The entry's message, read from the spool when it is not in memory; None when it is gone (removed)."""
        if entry.message is None:
            message = self._shared.get(entry.spool_id) or self._spool.load(entry.spool_id)
            if message is None:
                return None
            if len(message.recipients) > 1:
                self._shared[message.id] = message
                self._holders[message.id] = self._holders.get(message.id, 0) + 1
            entry.message = message
        return entry.message

    def close(self, entry: Entry) -> None:
        """The entry has left: delivered, failed, or given its next due time. Its key is live no more."""
        self._live.pop(entry.key[8:], None)
        entry.dropped = True
        if entry.content is not None:
            self._room += len(entry.content)
            entry.content = None
        message = entry.message
        if message is not None and len(message.recipients) > 1:
            left = self._holders.get(message.id, 1) - 1
            if left:
                self._holders[message.id] = left
            else:
                self._holders.pop(message.id, None)
                self._shared.pop(message.id, None)

    def wake(self) -> None:
        """Somebody changed due times: look at all of ``due`` again on the next tick."""
        self._cursor = b""

    def entries(self) -> list[Entry]:
        """What is live now; for status and ``why``."""
        return list(self._live.values())

    def find(self, message: Message) -> list[Entry]:
        """The live entries of a message."""
        found = (self._live.get(due_key(0, message.id, group)[8:]) for group in groups_of(message.recipients).values())
        return [entry for entry in found if entry is not None]

    def recall(self, message: Message) -> bool:
        """Takes the message's entries out of memory; False when an attempt on one of them is in flight."""
        entries = self.find(message)
        if any(entry.in_flight for entry in entries):
            return False
        for entry in entries:
            self.close(entry)
        return True
