"""Any order of delivering, removing, reading and crashing gives what a dictionary would give."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mta.disk.environment import DATA_FILE
from mta.store.disk import DiskStore
from mta.store.memory import MemoryStore
from mta.store.protocol import Copy, Quota, QuotaExceeded, Store, Usage
from tests.harness.storing import SMALL, balanced, octets_of, remove, sent, unexpected

MAILBOXES = st.lists(st.integers(1, 4), min_size=1, max_size=5)
OCTETS = st.sampled_from([0, 1, 3000, 4080, 4081, 70_000])
QUOTA = Quota(octets=300_000, messages=12)


class Clock:
    """Jumps both ways."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return 0.0


class AnyStore(RuleBasedStateMachine):
    """``held``: mailbox → uid → octets; ``last``: the greatest uid that each mailbox has ever seen."""

    def make(self) -> Store:
        return MemoryStore(loop=self.loop, clock=self.clock, quota=QUOTA)

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.store = self.make()
        self.store.start(unexpected)
        self.held: dict[int, dict[int, bytes]] = {}
        self.last: dict[int, int] = {}
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.store.stop())
            self.loop.close()
            shutil.rmtree(self.directory)

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    @rule(ms=st.integers(-100_000, 100_000))
    def set_the_clock(self, ms: int) -> None:
        self.clock.ms += ms

    @rule(mailboxes=MAILBOXES, octets=OCTETS, streamed=st.sampled_from([0, 0, 30_000]), own=st.booleans())
    def deliver(self, mailboxes: list[int], octets: int, streamed: int, own: bool) -> None:
        self.count += 1
        content = bytes([self.count % 256]) * octets
        head = b"Delivered-To: %d\r\n" % self.count
        free = self.count + 5 if own else 0

        async def work() -> Any:
            return await sent(self.store, [Copy(number, head, free) for number in mailboxes], content, streamed)

        for number, outcome in zip(mailboxes, self.run(work()), strict=True):
            items = self.held.setdefault(number, {})
            size = len(head) + octets + (2 if octets else 0)
            full = len(items) >= QUOTA.messages or self.octets(number) + size > QUOTA.octets
            assert isinstance(outcome, QuotaExceeded) == full
            if not full:
                assert outcome not in items
                assert outcome > self.last.get(number, 0) or outcome == free
                self.last[number] = max(outcome, self.last.get(number, 0))
                items[outcome] = head + content

    def octets(self, number: int) -> int:
        return sum(len(o) + (0 if o.endswith(b"\r\n") else 2) for o in self.held.get(number, {}).values())

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(n for n, items in self.held.items() if items)))
        uids = sorted(self.held[number])
        indexes = data.draw(st.lists(st.integers(0, len(uids) - 1)))
        self.run(remove(self.store, number, indexes))
        for index in set(indexes):
            del self.held[number][uids[index]]

    @rule(octets=OCTETS)
    def abandon(self, octets: int) -> None:
        stream = self.store.open_stream()
        stream.append(b"x" * octets)
        stream.abandon()

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        if not hasattr(self, "store"):
            return
        for number, items in self.held.items():
            view = self.store.view(number)
            assert list(view.uids) == sorted(items)
            assert octets_of(view) == [items[uid] for uid in sorted(items)]
            assert self.store.usage(number) == Usage(len(items), self.octets(number)) == (len(items), sum(view.sizes))
        assert self.store.totals().messages == sum(map(len, self.held.values()))
        self.run(balanced(self.store))


class Disk(AnyStore):
    """On disk also with crashes: what was settled is there again."""

    def make(self) -> Store:
        return DiskStore(self.directory / "store", loop=self.loop, clock=self.clock, quota=QUOTA, **SMALL)

    @rule()
    def crash_and_reopen(self) -> None:
        # The loop does not run between rules, so no commit is under way here and the file is what a kill would leave.
        file = self.directory / "store" / DATA_FILE
        data = file.read_bytes()
        self.run(self.store.stop())
        file.write_bytes(data)
        self.store = self.make()
        self.store.start(unexpected)


TestMemory = AnyStore.TestCase
TestDisk = Disk.TestCase
TestMemory.settings = TestDisk.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
