"""Any order of accepting, changing, committing, reading and crashing gives what a dictionary would give."""

import asyncio
import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mta.model.message import HELD, Message, RecipientState, due_key, groups_of
from mta.spool.books import count_queued
from mta.spool.disk import DiskSpool
from mta.spool.memory import MemorySpool
from mta.spool.protocol import Change, Ledger, Spool, Ticket
from tests.harness.spooling import SMALL, entries_of, make_message, unexpected

DOMAINS = st.lists(st.sampled_from(["a.example", "b.example", "c.example"]), min_size=1, max_size=4)
CONTENT = st.sampled_from([0, 1, 3000, 4080, 4081, 70_000])


class State:
    """What a spool should hold."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.content: dict[int, bytes] = {}
        self.due: dict[bytes, str] = {}
        self.ledger = Ledger()

    def enter(self, message: Message, content: bytes) -> None:
        self.messages[message.id] = copy.deepcopy(message)
        self.content[message.id] = content
        self.due.update(entries_of(message))


class AnySpool(RuleBasedStateMachine):
    """``applied`` is what reads show; ``waiting`` are the tickets that only a commit makes visible."""

    def make(self) -> Spool:
        return MemorySpool(0, loop=self.loop)

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp())
        self.spool = self.make()
        self.spool.start(unexpected)
        self.applied = State()
        self.committed = State()
        self.waiting: list[tuple[Message, bytes]] = []
        self.next_id = 1
        self.settled: list[int] = []

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.spool.stop())
            self.loop.close()
            shutil.rmtree(self.directory)

    def new_message(self, domains: list[str], octets: int) -> tuple[Message, bytes]:
        content = bytes([self.next_id % 256]) * octets
        message = make_message(self.next_id, content, domains=domains, due=self.next_id * 7 % 5)
        self.next_id += 1
        return message, content

    @rule(domains=DOMAINS, octets=CONTENT, streamed=st.booleans(), front=st.none() | st.integers(0, 100))
    def accept(self, domains: list[str], octets: int, streamed: bool, front: int | None) -> None:
        """``front``: octets of a streamed content that are the first part of its front; the second is as long."""
        message, content = self.new_message(domains, octets)
        stream = None
        if streamed:
            stream = self.spool.open_stream(message.id)
            first = second = 0
            if front is not None:
                first, second = min(front, octets), min(2 * front, octets)
                stream.append(content[:first])
                stream.keep_front()
            for start in range(second, octets, 30_000):
                stream.append(content[start : start + 30_000])
            if front is not None:
                stream.extend_front(content[first:second])
        self.waiting.append((message, content))
        self.spool.accept(
            Ticket(message, None if streamed else content, entries_of(message), self.note_settled, stream)
        )

    def note_settled(self, ticket: Ticket, error: Any) -> None:
        assert error is None
        self.settled.append(ticket.message.id)

    @rule(octets=CONTENT)
    def abandon(self, octets: int) -> None:
        stream = self.spool.open_stream(self.next_id)
        self.next_id += 1
        stream.append(b"x" * octets)
        stream.abandon()

    @precondition(lambda self: self.applied.messages)
    @rule(data=st.data(), due=st.integers(0, 5), told=st.booleans())
    def attempt(self, data: st.DataObject, due: int, told: bool) -> None:
        """One group of a message: some recipients delivered, the others tried again later; maybe with a DSN."""
        state = self.applied
        message = copy.deepcopy(state.messages[data.draw(st.sampled_from(sorted(state.messages)))])
        domain = data.draw(st.sampled_from(sorted({r.domain for r in message.queued()})))
        group = groups_of(message.recipients)[domain]
        queued = [r for r in message.queued() if r.domain == domain]
        gone = queued[: data.draw(st.integers(0, len(queued)))]
        leaving = due_key(queued[0].due, message.id, group)
        for recipient in queued:
            recipient.due, recipient.attempts = due, recipient.attempts + 1
        for recipient in gone:
            recipient.state = RecipientState.FAILED if told else RecipientState.DELIVERED
        change = Change(message, finished=not message.queued(), leaving=(leaving,))
        del state.due[leaving]
        if len(gone) < len(queued):
            change.entering = ((due_key(due, message.id, group), domain),)
            state.due.update(change.entering)
        if told and gone:
            change.failed = len(gone)
            dsn, content = self.new_message(["client.example"], 500)
            change.generated = ((dsn, content, entries_of(dsn)),)
        else:
            change.delivered = len(gone)
        self.spool.apply(change)
        state.ledger.failed += change.failed
        state.ledger.delivered += change.delivered
        for dsn, content, _ in change.generated:
            state.enter(dsn, content)
            state.ledger.generated += 1
        if change.finished:
            del state.messages[message.id], state.content[message.id]
        else:
            state.messages[message.id] = copy.deepcopy(message)

    @rule()
    def commit(self) -> None:
        """The loop runs until everything is committed."""
        done = self.loop.create_future()
        message, content = self.new_message(["last.example"], 1)
        self.waiting.append((message, content))
        self.spool.accept(Ticket(message, content, entries_of(message), lambda *_: done.set_result(None)))
        self.loop.run_until_complete(asyncio.wait_for(done, 20))
        for message, content in self.waiting:
            self.applied.enter(message, content)
            self.applied.ledger.accepted += len(message.recipients)
        assert self.settled == [m.id for m, _ in self.waiting if m.recipients[0].domain != "last.example"]
        self.waiting.clear()
        self.settled.clear()
        self.committed = copy.deepcopy(self.applied)

    @rule(after=st.integers(0, 30), limit=st.integers(1, 10))
    def list_messages(self, after: int, limit: int) -> None:
        expected = [self.applied.messages[n] for n in sorted(self.applied.messages) if n > after][:limit]
        assert self.spool.messages(after, limit) == expected

    @rule(after=st.integers(0, 3), until=st.sampled_from([0, 2, 4, HELD]), limit=st.integers(1, 10))
    def list_due(self, after: int, until: int, limit: int) -> None:
        low, high = due_key(after, 0, 0), due_key(until + 1, 0, 0)
        expected = sorted(item for item in self.applied.due.items() if low < item[0] < high)[:limit]
        assert self.spool.due(low, until, limit) == expected

    @invariant()
    def everything_is_as_applied(self) -> None:
        if not hasattr(self, "spool"):
            return
        assert self.spool.ledger() == self.applied.ledger
        assert count_queued(self.spool) == self.applied.ledger.outstanding()
        for spool_id, message in self.applied.messages.items():
            loaded = self.spool.load(spool_id)
            assert loaded is not None
            message.pieces = loaded.pieces
            assert loaded == message
            assert b"".join(self.spool.content(loaded)) == self.applied.content[spool_id]


class Disk(AnySpool):
    """On disk also with crashes: what is not committed is as if it had never been."""

    def make(self) -> Spool:
        return DiskSpool(self.directory / "spool", 0, loop=self.loop, **SMALL)

    @rule()
    def crash_and_reopen(self) -> None:
        # The loop does not run between rules, so no commit is under way here and the file is what a kill would leave.
        data = (self.directory / "spool" / "data.mdb").read_bytes()
        self.waiting.clear()
        self.loop.run_until_complete(self.spool.stop())
        self.settled.clear()
        (self.directory / "spool" / "data.mdb").write_bytes(data)
        self.spool = self.make()
        self.spool.start(unexpected)
        self.applied = copy.deepcopy(self.committed)


TestMemory = AnySpool.TestCase
TestDisk = Disk.TestCase
TestMemory.settings = TestDisk.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
