"""What every store does. Each sentence is run against disk and memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mta.disk.pieces import PIECE
from mta.errors import StorageError
from mta.model.spoolid import COUNTER_BITS, SHARD_BITS, format_id
from mta.store.disk import DiskStore
from mta.store.memory import MemoryStore
from mta.store.protocol import BEGINNING, CHUNK, Copy, Gone, Maildrop, Quota, QuotaExceeded, Store, StoreFailed, Usage
from tests.harness.storing import (
    HEAD,
    MESSAGE,
    SMALL,
    balanced,
    deliver,
    octets_of,
    remove,
    removing,
    sent,
    unexpected,
)

SHIFT = SHARD_BITS + COUNTER_BITS


class SetClock:
    """A wall clock that tests set."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["disk", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def make(kind: str, directory: Path, clock: SetClock, **options: Any) -> Store:
    if kind == "disk":
        return DiskStore(directory, clock=clock, **SMALL, **options)
    return MemoryStore(clock=clock, **options)


@pytest.fixture
async def store(kind: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    store = make(kind, tmp_path / "store", clock)
    store.start(unexpected)
    yield store
    await balanced(store)
    await store.stop()


@pytest.fixture
async def narrow(kind: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    """Three messages a mailbox, or 1,000 octets."""
    store = make(kind, tmp_path / "store", clock, quota=Quota(octets=1000, messages=3))
    store.start(unexpected)
    yield store
    await balanced(store)
    await store.stop()


async def test_a_delivery_settles_once_never_inside_deliver_and_shows_after_it(store: Store) -> None:
    outcome = sent(store, [Copy(1, HEAD)], MESSAGE)
    assert not outcome.done()
    assert store.usage(1) == Usage(0, 0)
    (uid,) = await outcome
    view = store.view(1)
    assert list(view.uids) == [uid]
    assert octets_of(view) == [HEAD + MESSAGE]
    assert store.usage(1) == store.totals() == Usage(1, len(HEAD + MESSAGE))


async def test_one_content_reaches_many_mailboxes_each_with_its_own_head(store: Store) -> None:
    heads = [b"Return-Path: <>\r\nDelivered-To: %d@ours.example\r\n" % number for number in (5, 6, 7)]
    outcomes = await sent(store, [Copy(5 + n, head) for n, head in enumerate(heads)], MESSAGE)
    assert len(outcomes) == 3
    for number, head in zip((5, 6, 7), heads, strict=True):
        assert octets_of(store.view(number)) == [head + MESSAGE]
    assert store.mailboxes(0, 10) == [5, 6, 7]
    assert store.mailboxes(5, 1) == [6]
    assert store.mailboxes(7, 10) == []


@pytest.mark.parametrize("streamed", [0, 1000, 70_000])
@pytest.mark.parametrize("octets", [0, 1, 2, PIECE - 1, PIECE, PIECE + 1, 15 * PIECE, 16 * PIECE, 300_000])
async def test_content_comes_back_octet_for_octet_in_chunks(store: Store, octets: int, streamed: int) -> None:
    content = bytes(n * 7 % 251 for n in range(octets))
    await deliver(store, 1, 2, content=content, streamed=streamed)
    for mailbox in (1, 2):
        chunks = list(store.view(mailbox).content(0))
        assert b"".join(chunks) == HEAD + content
        assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
        beginning = store.view(mailbox).beginning(0)
        assert (HEAD + content).startswith(beginning)
        assert len(beginning) >= min(len(HEAD + content), BEGINNING)
        if store.view(mailbox).sizes[0] <= CHUNK:
            assert store.view(mailbox).whole(0) == HEAD + content


@pytest.mark.parametrize("streamed", [0, 1, 100])
@pytest.mark.parametrize(
    ("content", "added"),
    [(b"", 0), (b"a\r\n", 0), (b"a", 2), (b"a\r", 2), (b"a\n", 2), (b"\r\n", 0), (b"\n", 2), (b"x" * 200, 2)],
)
async def test_sizes_are_what_retr_sends(store: Store, content: bytes, added: int, streamed: int) -> None:
    await deliver(store, 1, content=content, streamed=streamed)
    assert list(store.view(1).sizes) == [len(HEAD) + len(content) + added]
    assert store.usage(1).octets == len(HEAD) + len(content) + added
    assert store.view(1).whole(0) == HEAD + content


async def test_a_head_of_any_length_comes_first(store: Store) -> None:
    head = b"Return-Path: <" + b"x" * 70_000 + b">\r\n"
    await deliver(store, 1, head=head)
    await deliver(store, 1, head=b"", content=b"")
    assert octets_of(store.view(1)) == [head + MESSAGE, b""]
    assert all(len(chunk) <= CHUNK for chunk in store.view(1).content(0))
    assert list(store.view(1).sizes) == [len(head + MESSAGE), 0]
    assert store.view(1).whole(1) == b""


async def test_an_abandoned_stream_leaves_nothing(store: Store) -> None:
    stream = store.open_stream()
    stream.append(b"x" * 200_000)
    stream.abandon()
    await deliver(store, 1)
    assert store.totals().messages == 1


async def test_a_stream_tells_when_it_has_drained(store: Store) -> None:
    stream = store.open_stream()
    drained = asyncio.get_running_loop().create_future()
    stream.on_drained = lambda: drained.set_result(None)
    stream.append(b"x" * (3 << 20))
    assert stream.backlog == stream.octets == 3 << 20
    await asyncio.wait_for(drained, 20)
    assert stream.backlog < 1 << 20
    stream.abandon()


async def test_uids_are_the_time_of_arrival_and_unique_ids_their_text(store: Store, clock: SetClock) -> None:
    uids = []
    for _ in range(3):
        uids += await deliver(store, 1, 1)
        clock.ms += 1000
    assert uids[0] == 1_800_000_000_000 << SHIFT
    assert uids == sorted(set(uids))
    view = store.view(1)
    assert list(view.uids) == uids
    assert view.unique_ids() == [format_id(uid).encode() for uid in uids]
    assert view.arrival(0) == view.arrival(1) == 1_800_000_000_000
    assert view.arrival(5) == 1_800_000_002_000


async def test_uids_grow_when_the_clock_is_set_back_and_all_mail_is_gone(store: Store, clock: SetClock) -> None:
    (first,) = await deliver(store, 1)
    await remove(store, 1, [0])
    clock.ms -= 86_400_000
    (second,) = await deliver(store, 1)
    assert second == first + 1
    await remove(store, 1, [0])
    assert await deliver(store, 1) == [first + 2]


async def test_an_import_keeps_its_uid_if_free_and_not_of_the_future(store: Store, clock: SetClock) -> None:
    (uid,) = await deliver(store, 1)
    earlier, future = uid - 12345, (clock.ms + 1000) << SHIFT
    outcomes = await sent(store, [Copy(1, b"", n, arrival=77) for n in (earlier, uid, future, earlier)], MESSAGE)
    assert outcomes[0] == earlier
    assert outcomes[1:] == [uid + 1, uid + 2, uid + 3]
    view = store.view(1)
    assert list(view.uids) == [earlier, uid, uid + 1, uid + 2, uid + 3]
    assert [view.arrival(index) for index in range(5)] == [77, clock.ms, 77, 77, 77]


async def test_a_maildrop_is_locked_until_it_is_closed(store: Store) -> None:
    await deliver(store, 1)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    assert store.maildrop(1) is None
    assert store.maildrop(2) is not None
    maildrop.close()
    again = store.maildrop(1)
    assert again is not None
    maildrop.close()
    assert store.maildrop(1) is None, "a second close is nothing"


async def test_a_maildrop_does_not_see_what_comes_later(store: Store) -> None:
    await deliver(store, 1)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    await deliver(store, 1)
    assert len(maildrop.sizes) == len(maildrop.unique_ids()) == 1
    assert store.usage(1).messages == 2


async def test_a_removal_takes_what_was_named_and_nothing_else(store: Store) -> None:
    for number in range(5):
        await deliver(store, 1, 2, content=b"%d\r\n" % number)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    done = removing(maildrop, [3, 0, 3])
    assert not done.done()
    assert store.usage(1).messages == 5, "before the commit nothing is gone"
    assert await done is None
    assert octets_of(store.view(1)) == [HEAD + b"%d\r\n" % number for number in (1, 2, 4)]
    assert octets_of(store.view(2)) == [HEAD + b"%d\r\n" % number for number in range(5)]
    assert store.usage(1) == Usage(3, sum(store.view(1).sizes))


async def test_content_outlives_all_references_but_the_last(store: Store) -> None:
    await deliver(store, 1, 2, 3, content=b"x" * 9000)
    for mailbox in (2, 1):
        await remove(store, mailbox, [0])
    assert octets_of(store.view(3)) == [HEAD + b"x" * 9000]
    await remove(store, 3, [0])
    assert store.totals() == Usage(0, 0)


async def test_the_lock_stays_until_a_removal_that_outlives_its_session_is_committed(store: Store) -> None:
    await deliver(store, 1)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    done = removing(maildrop, [0])
    maildrop.close()
    assert store.maildrop(1) is None
    assert await done is None
    again = store.maildrop(1)
    assert again is not None
    assert len(again.sizes) == 0


def forgetting(maildrop: Maildrop) -> "asyncio.Future[StorageError | None]":
    future = asyncio.get_running_loop().create_future()
    maildrop.forget(future.set_result)
    return future


async def test_a_mailbox_is_forgotten_when_it_is_empty_and_only_then(store: Store) -> None:
    await deliver(store, 1, 2)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    assert await forgetting(maildrop) is None
    assert store.mailboxes(0, 10) == [1, 2], "it holds a message"
    assert await removing(maildrop, [0]) is None
    assert store.mailboxes(0, 10) == [1, 2], "it is only empty"
    gone, arrived = forgetting(maildrop), sent(store, [Copy(1, HEAD)], MESSAGE)
    assert await gone is None
    await arrived
    assert store.usage(1).messages == 1, "what comes in the same commit stays"
    maildrop.close()
    maildrop = store.maildrop(1)
    assert maildrop is not None
    assert await removing(maildrop, [0]) is None
    forgotten = forgetting(maildrop)
    maildrop.close()
    assert store.maildrop(1) is None, "the lock goes with the commit"
    assert await forgotten is None
    assert store.mailboxes(0, 10) == [2]
    assert store.maildrop(1) is not None


async def test_a_view_says_gone_when_somebody_removed_it(store: Store) -> None:
    await deliver(store, 1, content=b"x" * 200_000)
    view = store.view(1)
    chunks = view.content(0)
    next(chunks)
    await remove(store, 1, [0])
    with pytest.raises(Gone):
        list(chunks)
    with pytest.raises(Gone):
        list(view.content(0))
    with pytest.raises(Gone):
        view.whole(0)
    with pytest.raises(Gone):
        view.arrival(0)


async def test_quotas_hold_at_the_commit_and_only_for_the_mailbox_that_is_full(narrow: Store) -> None:
    first = [sent(narrow, [Copy(1, HEAD), Copy(2, HEAD)], MESSAGE) for _ in range(2)]
    second = sent(narrow, [Copy(1, HEAD), Copy(1, HEAD), Copy(3, HEAD)], MESSAGE)
    for outcomes in first:
        assert all(isinstance(outcome, int) for outcome in await outcomes)
    outcomes = await second
    assert [type(outcome) for outcome in outcomes] == [int, QuotaExceeded, int]
    assert narrow.usage(1).messages == 3
    assert isinstance(narrow.refusal(1, 1), QuotaExceeded)
    assert narrow.refusal(2, 1) is None


async def test_a_quota_of_octets_counts_them_as_sent(narrow: Store) -> None:
    assert await sent(narrow, [Copy(1, b"")], b"x" * 998) == [narrow.view(1).uids[0]]
    assert narrow.usage(1).octets == 1000
    for content in (b"x", b"\r\n"):
        assert [type(outcome) for outcome in await sent(narrow, [Copy(1, b"")], content)] == [QuotaExceeded]
    assert narrow.refusal(1, 0) is None
    assert isinstance(narrow.refusal(1, 1), QuotaExceeded)
    await remove(narrow, 1, [0])
    assert narrow.refusal(1, 1000) is None


@pytest.mark.parametrize("streamed", [0, 100])
async def test_a_content_that_no_mailbox_takes_leaves_nothing(narrow: Store, streamed: int) -> None:
    outcomes = await sent(narrow, [Copy(1, HEAD), Copy(2, HEAD)], b"x" * 2000, streamed)
    assert [type(outcome) for outcome in outcomes] == [QuotaExceeded, QuotaExceeded]
    assert narrow.totals() == Usage(0, 0)


async def test_a_stopped_store_refuses(kind: str, tmp_path: Path, clock: SetClock) -> None:
    store = make(kind, tmp_path / "store", clock)
    assert isinstance(store.refusal(1, 1), StoreFailed)
    store.start(unexpected)
    last = sent(store, [Copy(1, HEAD)], MESSAGE)
    maildrop = store.maildrop(1)
    assert maildrop is not None
    await store.stop()
    assert isinstance((await last)[0], int), "what was given before is committed"
    assert isinstance((await sent(store, [Copy(1, HEAD)], MESSAGE))[0], StoreFailed)
    assert isinstance((await sent(store, [Copy(1, HEAD)], b"x" * 99_000, 40_000))[0], StoreFailed)
    assert isinstance(await removing(maildrop, []), StorageError)
    await store.stop()


async def test_a_commit_is_reported_with_what_it_delivered_and_removed(store: Store) -> None:
    reported: list[tuple[int, int]] = []
    store.on_commit = lambda seconds, delivered, removed: reported.append((delivered, removed))
    await asyncio.gather(*(sent(store, [Copy(1, HEAD), Copy(2, HEAD)], MESSAGE) for _ in range(3)))
    await remove(store, 1, [0, 2])
    assert reported == [(6, 0), (0, 2)]
