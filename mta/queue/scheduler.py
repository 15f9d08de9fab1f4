"""Feeds what is due from the spool into memory, lazily, and knows which entries are live.

Owns: the set of live entries (ready or in flight), the two cursors into the ``due`` index, the budget of content kept
in memory. Never does: IO beyond the spool's reads, connections, or deciding what follows a failure. Loop thread only.

Entries that are live stay in ``due`` with their old key, so that a crash forgets nothing. A new message becomes
live right after its commit, without a read; everything else comes back through ``refill``, in due order. The start
never scans the spool: it reads the first entries and goes on as they are worked off.

A destination that is slow or down must not hold up the others, and must not be read again and again. So an entry whose
domain has no room is passed over, and with it every later one of that domain, so that order is kept::

    ──── live or gone ────┤ head ├──── some were passed over (blocked domains) ────┤ far ├──── not read yet ────

Each tick goes on from ``head`` (has a blocked domain got room again?) and then from ``far`` (who else is due?).
"""

from typing import Protocol

from mta.clock import Clock
from mta.model.message import Message, due_key, groups_of
from mta.queue.entry import Entry
from mta.spool.protocol import Spool

#: Entries read from ``due`` at a time.
PAGE = 256
#: Entries that one tick looks at from each cursor: a few milliseconds of reading.
SWEEP = 2048
#: Seconds after which the cursors start again, so that nothing is overlooked when the wall clock was set back.
RESCAN = 60.0


class Deliverer(Protocol):
    """Where live entries go."""

    def has_room(self, domain: str) -> bool:
        """Whether one more entry for the routing domain may become live."""

    def take(self, entry: Entry) -> None:
        """The entry has become live."""


class Scheduler:
    """``limit``: live entries; ``content_memory``: octets of content kept with them until the first delivery."""

    def __init__(
        self, spool: Spool, clock: Clock, deliverer: Deliverer, *, limit: int, content_memory: int
    ) -> None:
        #: What entries carry as ``home``; set by whoever owns this scheduler.
        self.home: object = None
        self._spool = spool
        self._clock = clock
        self._deliverer = deliverer
        self._limit = limit
        self._room = content_memory
        self._live: dict[bytes, Entry] = {}  # by spool id and group: a key without its due time
        self._shared: dict[int, Message] = {}
        self._holders: dict[int, int] = {}
        self._head = b""
        self._far = b""
        self._blocked: set[str] = set()
        self._rescan_at = 0.0

    def __len__(self) -> int:
        return len(self._live)

    # What becomes live.

    def admit(
        self, message: Message, content: bytes | None, entries: list[tuple[bytes, str]], reception: float
    ) -> None:
        """A message that was just committed: live at once where there is room; else ``refill`` finds it later."""
        if content is not None and len(content) > self._room:
            content = None
        now = self._clock.monotonic()
        several = len(message.recipients) > 1
        for key, domain in entries:
            if key[8:] in self._live:
                continue  # a refill was faster
            if len(self._live) >= self._limit or domain in self._blocked or not self._deliverer.has_room(domain):
                self._pass_over(key, domain)
                continue
            entry = Entry(self.home, key, domain, message, content, now)
            entry.reception = reception
            self._live[key[8:]] = entry
            if several:
                self._hold(message)
            if content is not None:
                self._room -= len(content)
            self._deliverer.take(entry)

    def _pass_over(self, key: bytes, domain: str) -> None:
        """Left in ``due`` for later; should the cursors be past it already, they come back."""
        self._blocked.add(domain)
        if key <= self._far:
            self._head = min(self._head, key[:-1])

    def refill(self) -> None:
        """Makes due entries live as far as there is room. Called on every tick."""
        now = self._clock.monotonic()
        if now >= self._rescan_at:
            self._rescan_at = now + RESCAN
            self.wake()
        until = self._clock.now_ms()
        if self._head < self._far:
            self._from_head(until, now)
        if self._head >= self._far:
            self._blocked.clear()
        self._from_far(until, now)

    def _from_head(self, until: int, now: float) -> None:
        """Looks again at what was passed over, in order; ``head`` moves on to the first that still has no room."""
        full: set[str] = set()
        cursor = self._head
        looked = 0
        while looked < SWEEP and cursor < self._far and len(self._live) < self._limit:
            page = self._spool.due(cursor, until, PAGE)
            for key, domain in page:
                cursor = key
                if domain in full or not self._try(key, domain, now):
                    full.add(domain)
                if not full:
                    self._head = key
            looked += PAGE
            if len(page) < PAGE:
                cursor = max(cursor, self._far)
        if not full and cursor >= self._far:
            self._head = self._far = cursor

    def _from_far(self, until: int, now: float) -> None:
        """Goes on where nobody has looked yet."""
        looked = 0
        while looked < SWEEP and len(self._live) < self._limit:
            page = self._spool.due(self._far, until, PAGE)
            for key, domain in page:
                if domain in self._blocked or not self._try(key, domain, now):
                    self._blocked.add(domain)
                elif not self._blocked:
                    self._head = key
                self._far = key
            looked += PAGE
            if len(page) < PAGE:
                return

    def _try(self, key: bytes, domain: str, now: float) -> bool:
        """Makes the entry live unless it is already. False: there is no room."""
        if key[8:] in self._live:
            return True
        if len(self._live) >= self._limit or not self._deliverer.has_room(domain):
            return False
        entry = self._live[key[8:]] = Entry(self.home, key, domain, None, None, now)
        self._deliverer.take(entry)
        return True

    def wake(self) -> None:
        """Somebody changed due times: look at all of ``due`` again from the next tick on."""
        self._head = self._far = b""
        self._blocked.clear()

    # What live entries need.

    def open(self, entry: Entry) -> Message | None:
        """The entry's message, read from the spool when it is not in memory; None when it is gone (removed)."""
        if entry.message is None:
            message = self._shared.get(entry.spool_id) or self._spool.load(entry.spool_id)
            if message is None:
                return None
            if len(message.recipients) > 1:
                self._hold(message)
            entry.message = message
        return entry.message

    def _hold(self, message: Message) -> None:
        """One record in memory for all entries of a message, so that none writes over what another has learnt."""
        self._shared[message.id] = message
        self._holders[message.id] = self._holders.get(message.id, 0) + 1

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

    # What operators ask.

    def entries(self) -> list[Entry]:
        """What is live now; for status and ``why``."""
        return list(self._live.values())

    def find(self, message: Message) -> list[Entry]:
        """The live entries of a message."""
        groups = groups_of(message.recipients).values()
        found = (self._live.get(due_key(0, message.id, group)[8:]) for group in groups)
        return [entry for entry in found if entry is not None]

    def recall(self, message: Message) -> bool:
        """Takes the message's entries out of memory; False when an attempt on one of them is in flight."""
        entries = self.find(message)
        if any(entry.in_flight for entry in entries):
            return False
        for entry in entries:
            self.close(entry)
        return True
