"""Queue administration on one spool: what an operator may look at and change, server up or down.

Owns: the verbs of ``mta queue``, ``mta why`` and ``mta audit`` and the ledger columns and events of each edit.
Never does: IO, waiting on a clock, delivery. Every edit is one ``spool.apply(Change(...))`` on the loop thread.

Long walks are asynchronous generators that read a page, give its rows, and let the loop run on before the next page.
An edit first *recalls* the message from the scheduler; a message with an attempt in flight is left alone and said so.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, Protocol

import msgspec

from mta.clock import Clock
from mta.errors import DataError, StorageError, UsageError
from mta.log.event import Event, EventType, Response
from mta.model.message import HELD, Message, Recipient, RecipientState, due_key
from mta.model.spoolid import format_id, parse_id
from mta.queue.listing import AgeTable, Filters, Row, group_numbers, list_row, show_row, why_rows
from mta.spool.protocol import Change, Spool

#: Messages read in one go before the loop may run again: about 1 ms.
PAGE = 200
#: Changes that may wait for their commit before an edit of many messages pauses.
OUTSTANDING = 1000
#: Seconds without any commit after which such an edit gives up.
COMMIT_PATIENCE = 30.0
#: Below this many queued recipients the recount of ``audit`` is made in one go, so that nothing moves meanwhile.
RECOUNT_AT_ONCE = 5000
#: How often ``audit`` recounts a queue that moved under its hands before it says so.
RECOUNTS = 3

Generated = tuple[Message, bytes, list[tuple[bytes, str]]]
MakeDsn = Callable[[Message, list[Recipient], str], Generated | None]
Events = Callable[[Event], None]
Bounced = Callable[[int, int], None]


class Control(Protocol):
    """The scheduler of a running worker, as far as an operator's edits concern it. Loop thread only."""

    def recall(self, spool_id: int) -> bool:
        """Takes the message's entries out of memory. False: an attempt is in flight, nothing was taken."""

    def wake(self) -> None:
        """Entries of the due index have changed: look at its head again."""

    def waiting(self, spool_id: int) -> list[Row]:
        """What the message waits for, by routing domain; see ``listing.why_rows``."""

    def live(self, spool_id: int) -> bool:
        """Some part of the message is in memory: ready or in flight."""


class StoppedControl:
    """Nothing is in memory: the server is stopped and only its files are there."""

    def recall(self, spool_id: int) -> bool:
        return True

    def wake(self) -> None:
        """Nobody listens."""

    def waiting(self, spool_id: int) -> list[Row]:
        return []

    def live(self, spool_id: int) -> bool:
        return False


class _Breath:
    """Awaited once, it lets the event loop run everything else that is ready; any loop understands it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class QueueAdmin:
    """The verbs on one shard. ``events``: ``EventLog.write``. ``make_dsn`` writes the DSN of a bounce; ``bounced`` is
    told how many recipients failed by it, and how many DSNs there are.

    ``pause`` is awaited between pages and while commits are awaited; the default only lets the loop go round.
    """

    def __init__(
        self,
        spool: Spool,
        control: Control,
        clock: Clock,
        events: Events,
        *,
        make_dsn: MakeDsn | None = None,
        bounced: Bounced | None = None,
        pause: Callable[[], Awaitable[None]] = _Breath,
    ) -> None:
        self._spool = spool
        self._control = control
        self._clock = clock
        self._events = events
        self._make_dsn = make_dsn
        self._bounced = bounced
        self._pause = pause
        self._outstanding = 0

    async def listed(self, filters: Filters) -> AsyncIterator[Row]:
        """``mta queue list``: rows in the order of arrival."""
        given = 0
        async for message in self._matching(filters):
            yield list_row(message, self._control.live(message.id))
            given += 1
            if given == filters.limit:
                return

    def show(self, queue_id: str) -> Row:
        """The whole record. Raises DataError when it is not (or no longer) queued."""
        message = self._load(queue_id)
        return show_row(message, self._control.live(message.id))

    async def content(self, queue_id: str) -> AsyncIterator[bytes]:
        """The stored content in chunks of at most 64 KiB."""
        for chunk in self._spool.content(self._load(queue_id)):
            yield chunk
            await self._pause()

    async def stats(self) -> list[Row]:
        """Queued recipients per routing domain and age."""
        table = AgeTable(self._clock.now_ms())
        async for message in self._walk(0):
            table.add(message)
        return table.rows()

    def why(self, queue_id: str) -> list[Row]:
        """What each recipient waits for, and until when."""
        message = self._load(queue_id)
        constraints = self._control.waiting(message.id)
        return why_rows(message, constraints, self._control.live(message.id), self._clock.now_ms())

    async def audit(self) -> Row:
        """The ledger, the recount of what is queued, and their difference. ``exact`` False: the queue kept moving."""
        for _ in range(RECOUNTS):
            before = self._spool.ledger()
            outstanding = before.outstanding()
            queued = await self._recount(breathe=outstanding > RECOUNT_AT_ONCE)
            if self._spool.ledger() == before:
                break
        exact = self._spool.ledger() == before
        row: Row = msgspec.structs.asdict(before)
        return row | {"queued": queued, "drift": outstanding - queued, "exact": exact}

    async def edit(self, verb: str, filters: Filters) -> AsyncIterator[Row]:
        """``flush hold release remove bounce`` on what the filters mean; one row for each message met.

        A row says ``done``, how many ``recipients`` were changed and, when nothing was, a ``detail``.
        """
        if verb not in _EDITS:
            raise UsageError(f"queue verb {verb!r} is none of {', '.join(_EDITS)}")
        if not (filters.ids or filters.domain or filters.sender or filters.recipient or filters.everything):
            raise UsageError(f"queue {verb}: name messages or a domain (or say that you mean everything)")
        given = 0
        try:
            async for spool_id in self._meant(filters):
                await self._commits_below(OUTSTANDING)
                yield self._edit_one(verb, spool_id, filters)
                given += 1
                if given == filters.limit:
                    return
        finally:
            self._control.wake()

    async def _meant(self, filters: Filters) -> AsyncIterator[int]:
        """Spool ids: the named ones, or all that match and were here when the edit began (not the DSNs it makes)."""
        if filters.ids:
            for text in filters.ids:
                yield parse_id(text)
            return
        now = self._clock.now_ms()
        async for message in self._matching(msgspec.structs.replace(filters, until=filters.until or now)):
            if not (message.generated and message.arrival >= now):  # it may be made in this very millisecond
                yield message.id

    def _edit_one(self, verb: str, spool_id: int, filters: Filters) -> Row:
        row: Row = {"queue_id": format_id(spool_id), "action": verb, "done": False, "recipients": 0}
        message = self._spool.load(spool_id)
        if message is None:
            return row | {"detail": "not in the queue"}
        chosen = _subjects(verb, message, filters.chosen(message))
        if not chosen:
            return row | {"detail": _NOTHING.get(verb, "nothing of it is meant")}
        if not self._control.recall(spool_id):
            return row | {"detail": "an attempt is in flight; say it again in a moment"}
        self._apply(verb, message, chosen, filters.reason)
        return row | {"done": True, "recipients": len(chosen)}

    def _apply(self, verb: str, message: Message, chosen: list[Recipient], reason: str) -> None:
        """One Change for the chosen recipients. The record is copied: a batch may still hold the old one."""
        now = self._clock.now_ms()
        marked = {id(r) for r in chosen}
        edited = msgspec.structs.replace(message, recipients=[msgspec.structs.replace(r) for r in message.recipients])
        touched = [new for new, old in zip(edited.recipients, message.recipients, strict=True) if id(old) in marked]
        groups = group_numbers(message, chosen)
        leaving = _keys(message, groups)
        change = Change(edited, leaving=tuple(key for key, _ in leaving))
        _EDITS[verb](change, touched, now)
        if verb == "bounce" and self._make_dsn is not None:
            dsn = self._make_dsn(edited, touched, reason)
            change.generated = (dsn,) if dsn is not None else ()
        if verb == "bounce" and self._bounced is not None:
            self._bounced(len(touched), len(change.generated))
        change.entering = tuple(_entries(edited, groups))
        change.finished = not edited.queued()
        change.committed = partial(self._committed, verb, edited, touched, reason, now)
        self._outstanding += 1
        self._spool.apply(change)

    def _committed(self, verb: str, message: Message, touched: list[Recipient], reason: str, now: int) -> None:
        self._outstanding -= 1
        for recipient in touched:
            self._events(_event(verb, message, recipient, reason, now))

    async def _commits_below(self, mark: int) -> None:
        deadline = self._clock.monotonic() + COMMIT_PATIENCE
        while self._outstanding >= mark:
            if self._clock.monotonic() > deadline:
                seconds = f"{COMMIT_PATIENCE:.0f} s"
                raise StorageError(f"shard {self._spool.shard}: no commit for {seconds}; the edit stopped half-way")
            await self._pause()

    async def drained(self) -> None:
        """Waits until every edit is committed. Raises StorageError when no commit comes."""
        await self._commits_below(1)

    async def _matching(self, filters: Filters) -> AsyncIterator[Message]:
        """The messages that the filters mean; of ids that were named, every one must be there."""
        if filters.ids:
            for text in filters.ids:
                message = self._load(text)
                if filters.chosen(message):
                    yield message
            return
        async for message in self._walk(parse_id(filters.after) if filters.after else 0):
            if filters.chosen(message):
                yield message

    async def _walk(self, after: int) -> AsyncIterator[Message]:
        while page := self._spool.messages(after, PAGE):
            for message in page:
                yield message
            after = page[-1].id
            await self._pause()

    async def _recount(self, breathe: bool) -> int:
        queued, after = 0, 0
        while page := self._spool.messages(after, PAGE):
            queued += sum(len(message.queued()) for message in page)
            after = page[-1].id
            if breathe:
                await self._pause()
        return queued

    def _load(self, queue_id: str) -> Message:
        message = self._spool.load(parse_id(queue_id))
        if message is None:
            raise DataError(f"{queue_id} is not in the queue: delivered, removed, or never here (see the event log)")
        return message


def _keys(message: Message, groups: list[tuple[str, int]]) -> list[tuple[bytes, str]]:
    """Every due key that the groups can have: one for each due time among their queued recipients."""
    return [
        (due_key(due, message.id, group), domain)
        for domain, group in groups
        for due in sorted({r.due for r in message.queued() if r.domain == domain})
    ]


def _entries(message: Message, groups: list[tuple[str, int]]) -> list[tuple[bytes, str]]:
    """The one key of each group that is still queued: the earliest due time of its recipients."""
    first: dict[str, tuple[bytes, str]] = {}
    for key, domain in _keys(message, groups):
        first.setdefault(domain, (key, domain))
    return list(first.values())


def _subjects(verb: str, message: Message, chosen: list[Recipient]) -> list[Recipient]:
    """Whom the verb changes. A group has one due time, so flush, hold and release take the whole of it."""
    if verb in ("remove", "bounce"):
        return chosen
    domains = {r.domain for r in chosen}
    whole = [r for r in message.queued() if r.domain in domains]
    if verb == "hold":
        return [r for r in whole if r.due != HELD]
    return [r for r in whole if (r.due == HELD) is (verb == "release")]


def _due_now(change: Change, touched: list[Recipient], now: int) -> None:
    for r in touched:
        r.due = now


def _hold(change: Change, touched: list[Recipient], now: int) -> None:
    for r in touched:
        r.due = HELD


def _remove(change: Change, touched: list[Recipient], now: int) -> None:
    for r in touched:
        r.state = RecipientState.REMOVED
    change.removed = len(touched)


def _bounce(change: Change, touched: list[Recipient], now: int) -> None:
    for r in touched:
        r.state = RecipientState.FAILED
    change.failed = len(touched)


_EDITS: dict[str, Callable[[Change, list[Recipient], int], None]] = {
    "flush": _due_now,
    "hold": _hold,
    "release": _due_now,
    "remove": _remove,
    "bounce": _bounce,
}
_NOTHING = {"hold": "on hold already", "release": "not on hold", "flush": "on hold: release it first"}


def _event(verb: str, message: Message, recipient: Recipient, reason: str, now: int) -> Event:
    """AdminBounce takes a recipient away, AdminRebind moves it in time. ``response.command`` names the verb."""
    kind: EventType = "AdminBounce" if verb in ("bounce", "remove") else "AdminRebind"
    return Event(
        type=kind,
        id=format_id(message.id),
        sender=message.reverse_path,
        recipient=recipient.forward_path,
        queue=recipient.domain,
        size=message.size,
        response=Response(command=f"queue {verb}"),
        timestamp=now / 1000,
        created=message.arrival / 1000,
        num_attempts=recipient.attempts,
        session_id=message.session_id,
        reception_protocol=message.protocol,
        reason=reason,
        origin=format_id(message.origin) if message.origin else "",
    )


async def answer(admin: QueueAdmin, verb: str, args: dict[str, Any]) -> AsyncIterator[Row]:
    """The rows that answer one request of the control channel. Raises MtaError with what went wrong.

    Verbs: ``queue.list``, ``queue.stats``, ``queue.flush|hold|release|remove|bounce`` (arguments of Filters),
    ``queue.show``, ``queue.cat``, ``why`` (``{"id": …}``) and ``audit``. ``queue.cat`` gives ``{"content": octets}``.
    """
    if verb == "queue.list":
        async for row in admin.listed(Filters.of(args)):
            yield row
    elif verb == "queue.cat":
        async for chunk in admin.content(_id_of(args)):
            yield {"content": chunk}
    elif verb.startswith("queue.") and verb[6:] in _EDITS:
        async for row in admin.edit(verb[6:], Filters.of(args)):
            yield row
    else:
        for row in await _short_answer(admin, verb, args):
            yield row


async def _short_answer(admin: QueueAdmin, verb: str, args: dict[str, Any]) -> list[Row]:
    if verb == "queue.show":
        return [admin.show(_id_of(args))]
    if verb == "queue.stats":
        return await admin.stats()
    if verb == "why":
        return admin.why(_id_of(args))
    if verb == "audit":
        return [await admin.audit()]
    raise UsageError(f"no such request: {verb}")


def _id_of(args: dict[str, Any]) -> str:
    queue_id = args.get("id")
    if not isinstance(queue_id, str):
        raise UsageError("the request names no queue id")
    return queue_id


__all__ = ["Control", "QueueAdmin", "StoppedControl", "answer"]
