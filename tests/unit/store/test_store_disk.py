"""How the disk store gathers, commits, fails, purges, and what its audit finds."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import lmdb
import pytest

from mta.disk.environment import DATA_FILE, EnvironmentLocked, WrongFormat
from mta.disk.pieces import id_key, piece_key, pieces_of
from mta.disk.resident import resident_file_octets
from mta.errors import StorageError
from mta.store import batch as batch_module
from mta.store import jobs as jobs_module
from mta.store.disk import DiskStore
from mta.store.protocol import Copy, Delivery, StoreFailed, StoreFull, Usage
from mta.store.stopped import open_stopped
from mta.store.tables import BODY, BOOKS_KEY, MAILBOX, item_key
from tests.harness.storing import (
    HEAD,
    MESSAGE,
    SMALL,
    balanced,
    deliver,
    octets_of,
    open_store,
    remove,
    removing,
    rows,
    sent,
    unexpected,
    until_purged,
)


class SlowDisk(DiskStore):
    """Commits only when the test says so, and counts commits."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **{**SMALL, **options})
        self.may_commit = threading.Semaphore(0)
        self.commits = 0
        self.error: Exception | None = None

    def _commit_point_c_d(self, txn: "lmdb.Transaction[bytes]") -> None:
        self.may_commit.acquire()
        self.commits += 1
        if self.error is not None:
            txn.abort()
            raise self.error
        super()._commit_point_c_d(txn)


@pytest.fixture
async def slow(tmp_path: Path) -> SlowDisk:
    store = SlowDisk(tmp_path / "store")
    store.start(unexpected)
    return store


async def test_what_comes_during_a_commit_goes_into_the_next_as_one(slow: SlowDisk) -> None:
    first = sent(slow, [Copy(1, HEAD)], MESSAGE)
    await asyncio.sleep(0)
    others = [sent(slow, [Copy(1, HEAD)], MESSAGE) for _ in range(40)]
    slow.may_commit.release()
    await first
    assert not any(other.done() for other in others)
    slow.may_commit.release()
    await asyncio.gather(*others)
    assert slow.commits == 2
    await slow.stop()


async def test_a_content_is_kept_once_for_all_mailboxes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await deliver(store, *range(1, 101), content=b"x" * 10_000)
    await deliver(store, *range(1, 101), content=b"x" * 3_000_000, streamed=100_000)
    assert rows(store, "body") == 2
    assert rows(store, "content") == pieces_of(10_000) + pieces_of(3_000_000)
    assert rows(store, "item") == 200
    assert rows(store, "incomplete") == 0
    for mailbox in range(1, 101):
        await remove(store, mailbox, [0, 1])
    await until_purged(store)
    assert rows(store, "body") == rows(store, "content") == rows(store, "item") == 0
    assert rows(store, "mailbox") == 100, "their last uids stay"
    await balanced(store)
    await store.stop()


async def test_large_content_is_purged_bite_by_bite_and_the_rest_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "PURGE_BITE", 10)
    store = SlowDisk(tmp_path)
    store.start(unexpected)
    store.may_commit.release()
    await deliver(store, 1, content=b"x" * 4080 * 25)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    done = removing(maildrop, [0])
    store.may_commit.release()
    assert await done is None
    assert (rows(store, "body"), rows(store, "content"), rows(store, "incomplete")) == (0, 15, 1)
    for _ in range(5):
        store.may_commit.release()
    await store.stop()
    with open_stopped(tmp_path) as stopped:
        audit = await stopped.audit()
        assert (audit.drift, audit.bodies, audit.messages) == (0, 0, 0)
    monkeypatch.undo()
    again = open_store(tmp_path)
    await until_purged(again)
    assert rows(again, "content") == 0
    await again.stop()


async def test_abandoned_and_refused_streams_are_purged(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    stream = store.open_stream()
    stream.append(b"x" * 300_000)
    await deliver(store, 1)
    assert rows(store, "incomplete") == 1
    stream.abandon()
    stream.append(b"x" * 300_000)
    await deliver(store, 1)
    await until_purged(store)
    assert rows(store, "content") == 2
    await balanced(store)
    await store.stop()


async def test_an_unfinished_stream_is_gone_after_a_crash(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.open_stream().append(b"x" * 300_000)
    await deliver(store, 1)
    crashed = (tmp_path / DATA_FILE).read_bytes()
    await store.stop()
    (tmp_path / DATA_FILE).write_bytes(crashed)
    again = open_store(tmp_path)
    await until_purged(again)
    await deliver(again, 1)
    assert octets_of(again.view(1)) == [HEAD + MESSAGE] * 2, "a number that was used is given to nobody else"
    await balanced(again)
    await again.stop()


async def test_a_long_removal_goes_over_turns_of_the_loop_and_is_one_commit(
    slow: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "SLICE", 10)
    monkeypatch.setattr(batch_module, "MAX_ITEMS", 30)
    filled = [sent(slow, [Copy(1, HEAD)], MESSAGE) for _ in range(95)]
    for _ in range(4):
        slow.may_commit.release()
    await asyncio.gather(*filled)
    commits = slow.commits
    maildrop = slow.maildrop(1)
    assert maildrop is not None
    turns = 0
    reported: list[tuple[int, int]] = []
    slow.on_commit = lambda seconds, delivered, removed: reported.append((delivered, removed))
    done = removing(maildrop, range(95))
    behind = sent(slow, [Copy(1, HEAD)], MESSAGE)
    while slow.commits == commits:
        turns += 1
        slow.may_commit.release()
        await asyncio.sleep(0)
        assert slow.usage(1).messages in (95, 0, 1)
    assert await done is None
    assert isinstance((await behind)[0], int)
    assert reported == [(0, 95), (1, 0)]
    assert turns > 9
    assert slow.usage(1).messages == 1
    for _ in range(9):
        slow.may_commit.release()
    await slow.stop()


@pytest.mark.parametrize("streamed", [0, 5000])
async def test_a_delivery_to_very_many_goes_over_turns_of_the_loop_and_is_one_commit(
    slow: SlowDisk, monkeypatch: pytest.MonkeyPatch, streamed: int
) -> None:
    monkeypatch.setattr(jobs_module, "SLICE", 10)
    monkeypatch.setattr(batch_module, "MAX_ITEMS", 30)
    done = sent(slow, [Copy(mailbox, HEAD) for mailbox in range(1, 96)], b"x" * 9000, streamed)
    behind = sent(slow, [Copy(1, HEAD)], MESSAGE)
    slow.may_commit.release()
    outcomes = await done
    assert slow.commits == 1
    assert all(isinstance(outcome, int) for outcome in outcomes)
    assert rows(slow, "body") == 1
    for _ in range(9):
        slow.may_commit.release()
    await behind
    await balanced(slow)
    await slow.stop()


async def test_a_batch_is_cut_at_its_bounds_and_order_is_kept(slow: SlowDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "MAX_ITEMS", 3)
    waiting = [sent(slow, [Copy(1, HEAD)], b"%d" % number) for number in range(7)]
    for done in (3, 6, 7):
        slow.may_commit.release()
        await waiting[done - 1]
        assert [future.done() for future in waiting] == [True] * done + [False] * (7 - done)
    assert [octets[-1:] for octets in octets_of(slow.view(1))] == [b"%d" % number for number in range(7)]
    assert slow.commits == 3
    await slow.stop()


async def test_a_failed_commit_refuses_the_batch_and_all_behind_it_once_and_for_good(tmp_path: Path) -> None:
    store = SlowDisk(tmp_path)
    failures: list[StoreFailed] = []
    store.start(failures.append)
    store.may_commit.release()
    await deliver(store, 1)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    store.error = lmdb.DiskError("the disk is gone")
    flying = [sent(store, [Copy(1, HEAD), Copy(2, HEAD)], MESSAGE), removing(maildrop, [0])]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    behind = [sent(store, [Copy(1, HEAD)], MESSAGE), sent(store, [Copy(1, HEAD)], b"x" * 99_000, 40_000)]
    stream = store.open_stream()
    stream.append(b"x" * 100_000)
    store.may_commit.release()
    outcomes = await asyncio.gather(*flying, *behind)
    assert [type(outcome) for outcome in (*outcomes[0], outcomes[1], *outcomes[2], *outcomes[3])] == [StoreFailed] * 5
    assert len(failures) == 1
    assert store.commits == 2
    assert stream.backlog < 100_000, "what waits for the disk hears that it need not"
    stream.append(b"x" * 100_000)
    stream.abandon()
    assert isinstance((await sent(store, [Copy(1, HEAD)], MESSAGE))[0], StoreFailed)
    assert isinstance(store.refusal(1, 1), StoreFailed)
    assert store.usage(1).messages == 1
    await store.stop()
    assert (store.commits, len(failures)) == (2, 1)
    with open_stopped(tmp_path) as stopped:
        assert stopped.usage(1) == stopped.totals() == Usage(1, len(HEAD + MESSAGE))
        assert (await stopped.audit()).drift == 0


async def test_a_failure_while_a_batch_is_built_commits_nothing_of_it(tmp_path: Path) -> None:
    failures: list[StoreFailed] = []
    store = DiskStore(tmp_path, **{**SMALL, "map_size": 64 << 20})
    store.start(failures.append)
    good = await deliver(store, 1)
    outcomes = await asyncio.gather(*(sent(store, [Copy(1, HEAD)], b"x" * (40 << 20)) for _ in range(3)))
    assert StoreFailed in {type(outcome) for (outcome,) in outcomes}
    assert len(failures) == 1
    await store.stop()
    with open_stopped(tmp_path) as stopped:
        assert stopped.view(1).uids[0] == good[0]
        assert (await stopped.audit()).drift == 0


async def test_a_full_disk_is_told_before_it_is_full(tmp_path: Path) -> None:
    store = open_store(tmp_path, free_space=1 << 60)
    assert isinstance(store.refusal(1, 1), StoreFull)
    assert isinstance((await sent(store, [Copy(1, HEAD)], MESSAGE))[0], StoreFull)
    assert isinstance((await sent(store, [Copy(1, HEAD)], b"x" * 300_000, 70_000))[0], StoreFull)
    assert store.free_octets() < 0
    await until_purged(store)
    await balanced(store)
    await store.stop()


async def test_reads_go_on_from_the_snapshot_while_commits_come_and_go(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    content = b"0123456789abcdef" * 65_536
    await deliver(store, 1, content=content, streamed=100_000)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    read = b""
    for chunk in maildrop.content(0):
        read += chunk
        await deliver(store, 2, content=b"y" * 10_000)
        await remove(store, 2, [0])
    assert read == HEAD + content
    await balanced(store)
    await store.stop()


async def test_a_large_content_leaves_memory_as_it_was(tmp_path: Path) -> None:
    """It is read at full speed, in one turn of the loop: no timer helps."""
    store = open_store(tmp_path)
    await deliver(store, 1, content=b"0123456789abcde\n" * (8 << 20), streamed=65_536)
    before, greatest = resident_file_octets(), 0
    for number, _ in enumerate(store.view(1).content(0)):
        if number % 16 == 0:
            greatest = max(greatest, resident_file_octets())
    assert greatest - before < 64 << 20
    await store.stop()


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    uids = await deliver(store, 1, 2)
    uids += await deliver(store, 1, content=b"x" * 200_000, streamed=9_000)
    await remove(store, 2, [0])
    await store.stop()
    again = open_store(tmp_path)
    assert list(again.view(1).uids) == [uids[0], uids[2]]
    assert octets_of(again.view(1)) == [HEAD + MESSAGE, HEAD + b"x" * 200_000]
    assert again.usage(2) == Usage(0, 0)
    await balanced(again)
    await again.stop()


async def test_one_process_only_and_one_format_only(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(EnvironmentLocked):
        open_store(tmp_path)
    await store.stop()
    (tmp_path / DATA_FILE).write_bytes(b"something else" * 1000)
    with pytest.raises(WrongFormat, match="store"):
        open_store(tmp_path)
    with pytest.raises(StorageError, match="no store here"):
        open_stopped(tmp_path / "nowhere")


async def test_a_store_that_is_closed_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.stop()
    with pytest.raises(StorageError, match="closed"):
        store.usage(1)


async def test_commits_wait_for_an_audit_and_a_stop_waits_for_it_too(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await asyncio.gather(*(sent(store, [Copy(n % 3 + 1, HEAD)], MESSAGE) for n in range(5000)))
    auditing = asyncio.create_task(store.audit())
    await asyncio.sleep(0)
    late = sent(store, [Copy(1, HEAD)], MESSAGE)
    stopping = asyncio.create_task(store.stop())
    audit = await auditing
    assert (audit.messages, audit.mailboxes, audit.bodies, audit.drift) == (5000, 3, 5000, 0)
    assert not late.done()
    await stopping
    assert isinstance((await late)[0], int)


async def test_a_mistake_in_one_call_back_keeps_the_news_from_nobody(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    caught: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: caught.append(context))
    store.deliver(Delivery([Copy(1, HEAD)], MESSAGE, lambda delivery, outcomes: 1 / 0))
    await deliver(store, 2)
    assert isinstance(caught[0]["exception"], ZeroDivisionError)
    await store.stop()


def damage(directory: Path, what: str) -> None:
    """One thing that does not agree."""
    from mta.store.tables import Files

    files = Files(directory, **{name: SMALL[name] for name in ("map_size", "preallocate")})
    with files.env.begin(write=True) as txn:
        with txn.cursor(files.item) as cursor:
            assert cursor.first()
            key, value = cursor.item()
        number = value[:8]
        if what == "record":
            txn.put(key[:8], MAILBOX.pack(5, 5, 1 << 63), db=files.mailbox)
        elif what == "last uid":
            messages, octets, _ = MAILBOX.unpack(txn.get(key[:8], db=files.mailbox))
            txn.put(key[:8], MAILBOX.pack(messages, octets, 5), db=files.mailbox)
        elif what == "no record":
            txn.delete(key[:8], db=files.mailbox)
        elif what == "references":
            txn.put(number, BODY.pack(len(MESSAGE), 7), db=files.body)
        elif what == "body":
            txn.delete(number, db=files.body)
        elif what == "piece":
            txn.delete(piece_key(int.from_bytes(number, "big"), 0), db=files.content)
        elif what == "stray piece":
            txn.put(piece_key(99, 0), b"x", db=files.content)
        elif what == "item":
            txn.delete(key, db=files.item)
        else:
            txn.delete(BOOKS_KEY, db=files.books)
    files.close()


@pytest.mark.parametrize(
    ("what", "finding"),
    [
        ("record", "5 messages, 5 octets in its record"),
        ("last uid", "above the last one given"),
        ("no record", "has messages and no record"),
        ("references", "7 references in its record, 2 counted"),
        ("body", "is referred to and is not there"),
        ("piece", "1 pieces of content, 2 belong to something"),
        ("stray piece", "3 pieces of content, 2 belong to something"),
        ("item", "1 counted"),
        ("books", "0 messages, 0 octets in the books"),
    ],
)
async def test_the_audit_finds_what_does_not_agree(tmp_path: Path, what: str, finding: str) -> None:
    store = open_store(tmp_path)
    await deliver(store, 1, 2)
    await deliver(store, 3)
    await balanced(store)
    await store.stop()
    damage(tmp_path, what)
    with open_stopped(tmp_path) as stopped:
        audit = await stopped.audit()
    assert audit.drift >= 1
    assert any(finding in text for text in audit.findings), audit.findings


@pytest.mark.parametrize("what", ["body", "piece"])
async def test_content_that_is_missing_is_an_error_of_that_message(tmp_path: Path, what: str) -> None:
    store = open_store(tmp_path)
    await deliver(store, 1)
    await deliver(store, 1)
    await store.stop()
    damage(tmp_path, what)
    again = open_store(tmp_path)
    with pytest.raises(StorageError, match="missing"):
        list(again.view(1).content(0))
    assert b"".join(again.view(1).content(1)) == again.view(1).whole(1) == HEAD + MESSAGE
    if what == "body":
        assert again.view(1).whole(0) == HEAD + MESSAGE, "every octet is there"
    else:
        with pytest.raises(StorageError, match="piece 0 of content 1 is missing"):
            again.view(1).whole(0)
    await remove(again, 1, [0])
    assert again.usage(1).messages == 1
    await again.stop()


async def test_a_removal_of_what_is_gone_counts_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    (uid,) = await deliver(store, 1)
    for uids in ([uid, uid], [uid, 5]):
        done = asyncio.get_running_loop().create_future()
        store.remove(1, uids, done.set_result)
        assert await done is None
    await balanced(store)
    assert store.usage(1) == Usage(0, 0)
    await store.stop()


async def test_a_uid_above_the_last_one_given_is_written_over_by_nobody(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    (uid,) = await deliver(store, 1)
    await store.stop()
    from mta.store.tables import Files

    files = Files(tmp_path, **{name: SMALL[name] for name in ("map_size", "preallocate")})
    future = (1 << 63) + 5
    with files.env.begin(write=True) as txn:
        txn.put(item_key(1, future), txn.get(item_key(1, uid), db=files.item), db=files.item)
        txn.put(id_key(1), MAILBOX.pack(1, 1, future - 1), db=files.mailbox)
    files.close()
    again = open_store(tmp_path)
    (outcome,) = await sent(again, [Copy(1, HEAD)], MESSAGE)
    assert isinstance(outcome, StorageError)
    assert rows(again, "body") == 1
    await again.stop()
