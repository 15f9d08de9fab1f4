"""Feeds what is due from the spool into memory, lazily, and knows which entries are live.

Owns: the set of live entries (ready or in flight), how far ``due`` has been read, the budget of content kept in memory.
Never does: IO beyond the spool's reads, connections, or deciding what follows a failure. Loop thread only.

Entries that are live stay in ``due`` with their old key, so that a crash forgets nothing. A new message becomes
live right after its commit, without a read; everything else comes back through ``refill``, in due order. The start
never scans the spool: it reads the first entries and goes on as they are worked off.

A destination that is slow or down must not hold up the others, and must not be read again and again. So an entry whose
domain has no room is passed over, and with it every later one of that domain, so that order is kept. For each such
*blocked* domain we know where its first passed-over entry lies::

    ──── live, gone, or passed over ────────────┤ far ├──── not read yet ────
          ^ blocked[a]        ^ blocked[b]

Each tick goes back for the blocked domains that have room now, from the first of their places on, and then goes on
from ``far``. A domain that stays without room costs nothing, however much of it is due.
"""

from collections.abc import Iterator
from typing import Protocol

from mta.clock import Clock
from mta.model.message import HELD, Message, due_key, groups_of
from mta.queue.entry import Entry
from mta.spool.protocol import Spool

#: Entries read from ``due`` at a time.
PAGE = 256
#: Entries that one tick looks at from each cursor: a few milliseconds of reading.
SWEEP = 2048
#: Seconds after which ``due`` is read from its begin again, in case a bug has overlooked something.
RESCAN = 3600.0


class Deliverer(Protocol):
    """Where live entries go."""

    def has_room(self, domain: str, free: int) -> bool:
        """Whether one more entry for the routing domain may become live, when ``free`` more may in all."""

    def take(self, entry: Entry) -> None:
        """The entry has become live."""


class Scheduler:
    """``limit``: live entries; ``content_memory``: octets of content kept with them until the first delivery."""

    def __init__(self, spool: Spool, clock: Clock, deliverer: Deliverer, *, limit: int, content_memory: int) -> None:
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
        self._charged: dict[int, int] = {}
        self._far = b""
        self._blocked: dict[str, bytes] = {}  # domain: a key before its first passed-over entry
        self._rescan_at = 0.0
        self._looked_ms = 0

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
            if key[8:] in self._live or (key <= self._far and not self._is_due(key)):
                continue  # ``refill`` came across it between its commit and this call, and may even be done with it
            if domain in self._blocked or not self._has_room(domain):
                self._pass_over(key, domain)
                continue
            entry = Entry(self.home, key, domain, message, content, now)
            entry.reception = reception
            self._live[key[8:]] = entry
            if several:
                self._hold(message)
            if content is not None:
                self._charge(message.id, len(content))
            self._deliverer.take(entry)

    def _is_due(self, key: bytes) -> bool:
        before = (int.from_bytes(key, "big") - 1).to_bytes(len(key), "big")
        found = self._spool.due(before, HELD, 1)
        return bool(found) and found[0][0] == key

    def _charge(self, spool_id: int, octets: int) -> None:
        """Content counts once, however many entries of its message share it."""
        if spool_id not in self._charged:
            self._charged[spool_id] = octets
            self._room -= octets

    def _pass_over(self, key: bytes, domain: str) -> None:
        """Left in ``due`` for later. Behind ``far`` it will be come across anyway."""
        if key <= self._far:
            self._blocked[domain] = min(self._blocked.get(domain, key), key[:-1])

    def _has_room(self, domain: str) -> bool:
        return self._deliverer.has_room(domain, self._limit - len(self._live))

    def refill(self) -> None:
        """Makes due entries live as far as there is room. Called on every tick."""
        now = self._clock.monotonic()
        until = self._clock.now_ms()
        if now >= self._rescan_at or until < self._looked_ms:
            self._rescan_at = now + RESCAN
            self.wake()  # the wall clock was set back: what is due by it may lie before ``far``
        self._looked_ms = until
        self._go_back(until, now)
        self._go_on(until, now)

    def _go_back(self, until: int, now: float) -> None:
        """Looks again at the entries of the blocked domains that have room, in order, up to ``far``."""
        roomy = {domain for domain in self._blocked if self._has_room(domain)}
        if not roomy:
            return
        cursor = min(self._blocked[domain] for domain in roomy)
        looked = 0
        for key, domain in self._passed(cursor, until):
            looked += 1
            if domain in roomy and key > self._blocked[domain] and not self._try(key, domain, now):
                self._blocked[domain] = cursor
                roomy.discard(domain)
                if not roomy:
                    return
            cursor = key
        for domain in roomy:
            if looked == SWEEP:  # the rest is for the next tick
                self._blocked[domain] = max(self._blocked[domain], cursor)
            else:
                del self._blocked[domain]

    def _passed(self, cursor: bytes, until: int) -> Iterator[tuple[bytes, str]]:
        """Entries behind ``cursor`` and up to ``far``, at most SWEEP."""
        for _ in range(SWEEP // PAGE):
            page = self._spool.due(cursor, until, PAGE)
            for key, domain in page:
                if key > self._far:
                    return
                yield key, domain
                cursor = key
            if len(page) < PAGE:
                return

    def _go_on(self, until: int, now: float) -> None:
        """Reads on where nobody has looked yet."""
        for _ in range(SWEEP // PAGE):
            if len(self._live) >= self._limit:
                return
            page = self._spool.due(self._far, until, PAGE)
            for key, domain in page:
                if domain not in self._blocked and not self._try(key, domain, now):
                    self._blocked[domain] = self._far
                self._far = key
            if len(page) < PAGE:
                return

    def _try(self, key: bytes, domain: str, now: float) -> bool:
        """Makes the entry live unless it is already. False: there is no room."""
        if key[8:] in self._live:
            return True
        if not self._has_room(domain):
            return False
        entry = self._live[key[8:]] = Entry(self.home, key, domain, None, None, now)
        self._deliverer.take(entry)
        return True

    def wake(self) -> None:
        """Somebody changed due times: look at all of ``due`` again from the next tick on."""
        self._far = b""
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

    def share(self, message: Message) -> None:
        """A message with one recipient, and so one live entry, is about to get more: the entry has it no more alone."""
        self._hold(message)

    def _hold(self, message: Message) -> None:
        """One record in memory for all entries of a message, so that none writes over what another has learnt."""
        self._shared[message.id] = message
        self._holders[message.id] = self._holders.get(message.id, 0) + 1

    def close(self, entry: Entry) -> None:
        """The entry has left: delivered, failed, or given its next due time. Its key is live no more. Idempotent."""
        if entry.dropped:
            return
        entry.dropped = True
        entry.content = None
        self._live.pop(entry.key[8:], None)
        message = entry.message
        if message is None or self._still_held(message):
            return
        self._room += self._charged.pop(message.id, 0)

    def _still_held(self, message: Message) -> bool:
        """Whether another live entry has the message too, now that one has let it go."""
        if len(message.recipients) == 1:
            return False
        left = self._holders.pop(message.id, 1) - 1
        if left:
            self._holders[message.id] = left
            return True
        self._shared.pop(message.id, None)
        return False

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
