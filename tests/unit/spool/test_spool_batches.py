"""How the disk spool gathers, commits, fails, and reads while a commit is under way."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import lmdb
import pytest

from mta.errors import StorageError
from mta.model.message import HELD, due_key
from mta.spool import batch as batch_module
from mta.spool.books import count_queued
from mta.spool.disk import DiskSpool
from mta.spool.protocol import Change, Ledger, SpoolFailed, SpoolFull
from mta.spool.stopped import open_stopped
from tests.harness.spooling import (
    SMALL,
    Settled,
    applied,
    delivered,
    entries_of,
    make_message,
    open_disk,
    store,
    ticket,
    unexpected,
)


class SlowDisk(DiskSpool):
    """Commits only when the test says so, and counts commits."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, 0, **{**SMALL, **options})
        self.may_commit = threading.Semaphore(0)
        self.commits = 0
        self.error: Exception | None = None

    def _commit_point_a(self, txn: "lmdb.Transaction[bytes]") -> None:
        self.may_commit.acquire()
        self.commits += 1
        if self.error is not None:
            txn.abort()
            raise self.error
        super()._commit_point_a(txn)


async def test_what_comes_during_a_commit_goes_into_the_next_as_one(tmp_path: Path) -> None:
    spool = SlowDisk(tmp_path)
    spool.start(unexpected)
    settled = Settled()
    spool.accept(ticket(make_message(1), b"x", settled))
    await asyncio.sleep(0)
    for spool_id in range(2, 40):
        spool.accept(ticket(make_message(spool_id), b"x", settled))
        await asyncio.sleep(0)
    assert settled.results == {}
    spool.may_commit.release()
    await settled.count(1)
    assert settled.results == {1: None}
    spool.may_commit.release()
    await settled.count(39)
    assert spool.commits == 2
    await spool.stop()


async def test_every_commit_is_reported_with_its_messages(tmp_path: Path) -> None:
    spool = open_disk(tmp_path)
    commits: list[tuple[float, int]] = []
    spool.on_commit = lambda seconds, messages: commits.append((seconds, messages))
    settled = Settled()
    for spool_id in range(1, 6):
        spool.accept(ticket(make_message(spool_id), b"x", settled))
    await settled.count(5)
    await spool.stop()
    assert [messages for _, messages in commits] == [5]
    assert 0 < commits[0][0] < 20


async def test_changes_wait_for_company_and_ride_with_a_ticket(tmp_path: Path) -> None:
    spool = SlowDisk(tmp_path)
    spool.start(unexpected)
    for _ in range(3):
        spool.may_commit.release()
    await store(spool, make_message(1), b"x")
    spool.apply(Change(make_message(1), delivered=0))
    await store(spool, make_message(2), b"x")
    assert spool.commits == 2
    await applied(spool, delivered(make_message(1)))
    assert spool.commits == 3
    await spool.stop()


async def test_a_batch_is_cut_at_its_bounds_and_order_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "MAX_ITEMS", 3)
    spool = SlowDisk(tmp_path)
    spool.start(unexpected)
    settled = Settled()
    messages = [make_message(spool_id) for spool_id in range(1, 8)]
    for message in messages[:4]:
        spool.accept(ticket(message, b"x", settled))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    spool.may_commit.release()
    await settled.count(3)
    assert settled.order == [1, 2, 3]
    for message in messages[4:6]:
        spool.accept(ticket(message, b"x", settled))
    for message in messages[:3]:
        spool.apply(delivered(message))
    spool.accept(ticket(messages[6], b"x", settled))
    spool.may_commit.release()
    await settled.count(4)
    # In flight are 5, 6 and the change of 1; the changes of 2 and 3 did not fit, and are seen all the same.
    assert [m.id for m in spool.messages(0, 10)] == [4]
    assert spool.ledger() == Ledger(accepted=4, delivered=3)
    spool.may_commit.release()
    await settled.count(6)
    assert [m.id for m in spool.messages(0, 10)] == [4, 5, 6]
    assert spool.ledger() == Ledger(accepted=6, delivered=3)
    for _ in range(9):
        spool.may_commit.release()
    await settled.count(7)
    assert settled.order == [1, 2, 3, 4, 5, 6, 7]
    assert count_queued(spool) == spool.ledger().outstanding() == 4
    await spool.stop()
    with open_stopped(tmp_path) as stopped:
        assert [m.id for m in stopped.messages(0, 10)] == [4, 5, 6, 7]


async def test_reads_during_a_commit_see_changes_in_flight_and_gathering(tmp_path: Path) -> None:
    spool = SlowDisk(tmp_path)
    spool.start(unexpected)
    spool.may_commit.release()
    settled = Settled()
    messages = {n: make_message(n) for n in (1, 2, 3)}
    for message in messages.values():
        spool.accept(ticket(message, b"x", settled))
    await settled.count(3)
    spool.apply(delivered(messages[1]))
    spool.accept(ticket(make_message(4), b"x", settled))  # takes off at once, with message 1's change
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = due_key(9, 2, 0)
    spool.apply(Change(messages[2], leaving=(due_key(5, 2, 0),), entering=((later, "a.example"),)))
    assert [m.id for m in spool.messages(0, 10)] == [2, 3]
    assert spool.due(b"", HELD, 10) == [(due_key(5, 3, 0), "a.example"), (later, "a.example")]
    assert spool.load(1) is None
    assert spool.ledger() == Ledger(accepted=3, delivered=1)
    spool.may_commit.release()
    await settled.count(4)
    assert [m.id for m in spool.messages(0, 10)] == [2, 3, 4]
    assert spool.due(b"", HELD, 10)[-1] == (later, "a.example")
    assert spool.ledger() == Ledger(accepted=4, delivered=1)
    spool.may_commit.release()
    await spool.stop()


async def test_content_stays_whole_while_commits_rewrite_the_file(tmp_path: Path) -> None:
    """Reads without a reader table: every byte of old messages is checked between and during hundreds of commits."""
    spool = open_disk(tmp_path)
    standing = {n: bytes([n]) * (n * 9_001) for n in range(1, 9)}
    for spool_id, content in standing.items():
        await store(spool, make_message(spool_id, content), content)
    settled = Settled()
    running = True
    reads = 0
    churned: list[int] = []

    def follow(spool_id: int) -> None:
        """Each committed message is read back, then removed with the next batch, and a new one enters."""
        message = make_message(spool_id, content_of(spool_id))
        loaded = spool.load(spool_id)
        assert loaded is not None
        assert b"".join(spool.content(loaded)) == content_of(spool_id)
        churned.append(spool_id)
        message.pieces = loaded.pieces
        spool.apply(delivered(message))
        if running:
            enter(spool_id + 16)

    def content_of(spool_id: int) -> bytes:
        return bytes([spool_id % 251]) * (spool_id * 37 % 20_000)

    def enter(spool_id: int) -> None:
        accepted = ticket(make_message(spool_id, content_of(spool_id)), content_of(spool_id), settled)
        accepted.settled = lambda t, error: follow(t.message.id)
        spool.accept(accepted)

    for spool_id in range(1000, 1016):
        enter(spool_id)
    while len(churned) < 4000:
        for message in spool.messages(0, len(standing)):
            chunks = []
            for chunk in spool.content(message):
                chunks.append(chunk)
                await asyncio.sleep(0)
            assert b"".join(chunks) == standing[message.id]
            reads += 1
    running = False
    await spool.stop()
    assert reads > 50
    with open_stopped(tmp_path) as stopped:
        assert stopped.ledger().outstanding() == count_queued(stopped)
        assert {m.id: b"".join(stopped.content(m)) for m in stopped.messages(0, 8)} == standing


async def test_a_failed_commit_refuses_its_batch_and_everything_after(tmp_path: Path) -> None:
    spool = SlowDisk(tmp_path)
    failures: list[SpoolFailed] = []
    spool.start(failures.append)
    spool.may_commit.release()
    message = make_message(1)
    await store(spool, message, b"x")
    settled = Settled()
    spool.error = lmdb.DiskError("mdb_txn_commit: Input/output error")
    spool.apply(delivered(message))
    stream = spool.open_stream(4)
    drained: list[int] = []
    stream.on_drained = lambda: drained.append(stream.backlog)
    stream.append(b"x" * 2_000_000)
    spool.accept(ticket(make_message(2), b"x", settled))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    spool.accept(ticket(make_message(3), b"x", settled))
    spool.may_commit.release()
    await settled.count(2)
    assert len(drained) == 1
    stream.append(b"x" * 2_000_000)
    await asyncio.sleep(0)
    assert len(drained) == 2
    spool.accept(ticket(make_message(4), None, settled, stream))
    await settled.count(3)
    assert {n: type(error) for n, error in settled.results.items()} == dict.fromkeys((2, 3, 4), SpoolFailed)
    assert "Input/output error" in str(settled.results[2])
    assert len(failures) == 1
    assert spool.load(1) == make_message_with_pieces(1)
    assert spool.ledger() == Ledger(accepted=1)
    spool.apply(delivered(message))
    spool.error = None
    await spool.stop()
    assert spool.commits == 2
    with open_stopped(tmp_path) as stopped:
        assert [m.id for m in stopped.messages(0, 10)] == [1]
        assert stopped.due(b"", HELD, 10) == entries_of(make_message(1))


def make_message_with_pieces(spool_id: int) -> Any:
    message = make_message(spool_id)
    message.pieces = 1
    return message


async def test_a_batch_that_cannot_be_built_fails_like_a_commit(tmp_path: Path) -> None:
    failures: list[SpoolFailed] = []
    spool = DiskSpool(tmp_path, 0, **{**SMALL, "map_size": 64 << 20})
    spool.start(failures.append)
    settled = Settled()
    content = b"x" * (30 << 20)
    for spool_id in (1, 2, 3):
        spool.accept(ticket(make_message(spool_id, content), content, settled))
    await settled.count(3)
    assert isinstance(settled.results[3], SpoolFailed)
    assert len(failures) == 1
    assert "MDB_MAP_FULL" in str(failures[0])
    await spool.stop()
    with open_stopped(tmp_path) as stopped:
        kept = [m.id for m in stopped.messages(0, 10)]
        assert kept == [n for n, error in settled.results.items() if error is None]
        assert stopped.ledger().outstanding() == count_queued(stopped)


async def test_below_the_mark_nothing_is_accepted_and_changes_go_on(tmp_path: Path) -> None:
    class Hand:
        now = 0.0

        def now_ms(self) -> int:
            return 0

        def monotonic(self) -> float:
            return self.now

    clock = Hand()
    spool = open_disk(tmp_path, clock=clock)
    message = make_message(1)
    await store(spool, message, b"x")
    await spool.stop()
    spool = open_disk(tmp_path, clock=clock, free_space=1 << 60)
    assert spool.free_octets() <= 0
    settled = Settled()
    spool.accept(ticket(make_message(2), b"x", settled))
    assert not settled.results
    await settled.count(1)
    assert isinstance(settled.results[2], SpoolFull)
    await applied(spool, delivered(message))
    await spool.stop()


async def test_room_in_the_map_counts_too(tmp_path: Path) -> None:
    spool = open_disk(tmp_path, map_size=64 << 20, free_space=8 << 20)
    assert (40 << 20) < spool.free_octets() <= (56 << 20)
    content = b"x" * (20 << 20)
    before = spool.free_octets()
    await store(spool, make_message(1, content), content)
    assert spool.free_octets() <= before - len(content)
    await spool.stop()


async def test_abandoned_and_incomplete_content_leaves_the_spool(tmp_path: Path) -> None:
    spool = open_disk(tmp_path)
    stream = spool.open_stream(1)
    stream.append(b"x" * 8_000_000)
    left = spool.open_stream(2)
    left.append(b"y" * 8_000_000)
    await store(spool, make_message(3), b"z")
    stream.abandon()
    stream.abandon()
    stream.append(b"more")
    await spool.stop()
    assert content_pieces(tmp_path) >= 8_000_000 // 4080
    spool = open_disk(tmp_path)
    commits = asyncio.Queue[int]()
    spool.on_commit = lambda _seconds, messages: commits.put_nowait(messages)
    while spool._purge or spool._flying is not None:
        await asyncio.wait_for(commits.get(), 20)
    await spool.stop()
    assert content_pieces(tmp_path) == 1


async def test_large_content_is_removed_in_bites(tmp_path: Path) -> None:
    spool = open_disk(tmp_path)
    content = b"x" * 12_000_000
    message = make_message(1, content)
    await store(spool, message, content)
    commits = asyncio.Queue[int]()
    spool.on_commit = lambda _seconds, messages: commits.put_nowait(messages)
    await applied(spool, delivered(message))
    for _ in range(3):
        await asyncio.wait_for(commits.get(), 20)
    await spool.stop()
    assert content_pieces(tmp_path) == 0


def content_pieces(directory: Path) -> int:
    with lmdb.open(str(directory / "data.mdb"), subdir=False, lock=False, max_dbs=8, lib_version=0) as env:
        table = env.open_db(b"content", create=False)
        with env.begin() as txn:
            return txn.stat(table)["entries"]


async def test_a_piece_takes_exactly_one_page(tmp_path: Path) -> None:
    spool = open_disk(tmp_path)
    await store(spool, make_message(1, b"x" * 4080 * 10), b"x" * 4080 * 10)
    await spool.stop()
    with lmdb.open(str(tmp_path / "data.mdb"), subdir=False, lock=False, max_dbs=8, lib_version=0) as env:
        table = env.open_db(b"content", create=False)
        with env.begin() as txn:
            assert txn.stat(table)["overflow_pages"] == 10


async def test_buffered_durability_settles_and_is_synced_at_the_end(tmp_path: Path) -> None:
    spool = open_disk(tmp_path, durability="dangerously-buffered")
    await store(spool, make_message(1), b"x")
    await spool.stop()
    with open_stopped(tmp_path) as stopped:
        assert [m.id for m in stopped.messages(0, 10)] == [1]


async def test_a_failed_background_sync_is_a_failure(tmp_path: Path) -> None:
    class NoSync(DiskSpool):
        def _sync_buffered(self) -> None:
            raise lmdb.DiskError("Input/output error")

    failed = asyncio.get_running_loop().create_future()
    spool = NoSync(tmp_path, 0, **SMALL, durability="dangerously-buffered")
    spool.start(failed.set_result)
    await store(spool, make_message(1), b"x")
    assert isinstance(await asyncio.wait_for(failed, 20), StorageError)
    await spool.stop()
