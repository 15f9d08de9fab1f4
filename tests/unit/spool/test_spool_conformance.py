"""What every spool does. Each sentence is run against disk and memory, and null where it keeps that promise."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mta.disk.pieces import PIECE
from mta.errors import StorageError
from mta.model.message import HELD, Recipient, RecipientState, due_key
from mta.spool.books import count_queued
from mta.spool.disk import DiskSpool
from mta.spool.memory import MemorySpool
from mta.spool.null import NullSpool
from mta.spool.protocol import Change, Ledger, Spool, SpoolFailed
from tests.harness.spooling import (
    SMALL,
    Settled,
    applied,
    delivered,
    entries_of,
    make_message,
    store,
    ticket,
    unexpected,
)

KEEPERS = ["disk", "memory"]
ALL = [*KEEPERS, "null"]


def make(kind: str, directory: Path) -> Spool:
    if kind == "disk":
        return DiskSpool(directory, 3, **SMALL)
    return MemorySpool(3) if kind == "memory" else NullSpool(3)


@pytest.fixture
async def spool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Spool]:
    spool = make(request.param, tmp_path / "3")
    spool.start(unexpected)
    yield spool
    await spool.stop()


keepers = pytest.mark.parametrize("spool", KEEPERS, indirect=True)
everyone = pytest.mark.parametrize("spool", ALL, indirect=True)


@everyone
async def test_a_ticket_settles_once_and_never_inside_accept(spool: Spool) -> None:
    settled = Settled()
    spool.accept(ticket(make_message(1), b"hello\r\n", settled))
    assert not settled.results
    await settled.count(1)
    assert settled.results == {1: None}
    assert spool.shard == 3


@everyone
async def test_tickets_settle_in_the_order_they_were_accepted(spool: Spool) -> None:
    settled = Settled()
    for spool_id in (5, 2, 9, 4):
        spool.accept(ticket(make_message(spool_id), b"x", settled))
    await settled.count(4)
    assert settled.order == [5, 2, 9, 4]


@keepers
@pytest.mark.parametrize("octets", [0, 1, PIECE - 1, PIECE, PIECE + 1, 16 * PIECE, 16 * PIECE + 1, 300_000])
async def test_content_comes_back_octet_for_octet_in_chunks_of_at_most_64_kib(spool: Spool, octets: int) -> None:
    content = bytes(n * 7 % 251 for n in range(octets))
    message = make_message(1, content)
    await store(spool, message, content)
    chunks = list(spool.content(message))
    assert b"".join(chunks) == content
    assert all(0 < len(chunk) <= 65536 for chunk in chunks)
    loaded = spool.load(1)
    assert loaded is not None
    assert b"".join(spool.content(loaded)) == content


@keepers
async def test_what_is_loaded_is_what_was_accepted_and_a_copy(spool: Spool) -> None:
    message = make_message(7, b"x", domains=["a.example", "b.example"])
    await store(spool, message, b"x")
    loaded = spool.load(7)
    assert loaded == message
    assert loaded is not message
    assert spool.load(8) is None


@keepers
async def test_a_message_is_not_visible_before_its_commit(spool: Spool) -> None:
    settled = Settled()
    spool.accept(ticket(make_message(1), b"x", settled))
    assert spool.load(1) is None
    assert spool.due(b"", HELD, 10) == []
    assert spool.messages(0, 10) == []
    assert spool.ledger() == Ledger()
    await settled.count(1)
    assert spool.load(1) is not None


@keepers
async def test_due_lists_in_time_order_between_after_and_until(spool: Spool) -> None:
    for spool_id, due in ((1, 30), (2, 10), (3, 20), (4, HELD)):
        await store(spool, make_message(spool_id, due=due), b"x")
    keys = {n: due_key(due, n, 0) for n, due in ((1, 30), (2, 10), (3, 20), (4, HELD))}
    assert spool.due(b"", 20, 10) == [(keys[2], "a.example"), (keys[3], "a.example")]
    assert spool.due(b"", 30, 2) == [(keys[2], "a.example"), (keys[3], "a.example")]
    assert spool.due(keys[2], 30, 10) == [(keys[3], "a.example"), (keys[1], "a.example")]
    assert spool.due(keys[3], 19, 10) == []
    assert [key for key, _ in spool.due(b"", HELD, 10)][-1] == keys[4]
    assert spool.due(b"", HELD - 1, 10)[-1][0] == keys[1]


@keepers
async def test_messages_come_in_pages(spool: Spool) -> None:
    for spool_id in (5, 1, 4, 2, 3):
        await store(spool, make_message(spool_id), b"x")
    assert [m.id for m in spool.messages(0, 2)] == [1, 2]
    assert [m.id for m in spool.messages(2, 2)] == [3, 4]
    assert [m.id for m in spool.messages(4, 2)] == [5]
    assert spool.messages(5, 2) == []


@keepers
async def test_reads_see_a_change_as_soon_as_it_is_applied(spool: Spool) -> None:
    message = make_message(1, domains=["a.example", "b.example"])
    await store(spool, message, b"x")
    await store(spool, make_message(2, due=1), b"y")
    message.recipients[0].state = RecipientState.DELIVERED
    message.recipients[1].due = 50
    change = Change(
        message,
        leaving=tuple(key for key, _ in ((due_key(5, 1, 0), ""), (due_key(5, 1, 1), ""))),
        entering=((due_key(50, 1, 1), "b.example"),),
        delivered=1,
    )
    spool.apply(change)
    message.recipients[1].last_reply = "not part of the change"
    loaded = spool.load(1)
    assert loaded is not None
    assert [(r.state, r.due, r.last_reply) for r in loaded.recipients] == [
        (RecipientState.DELIVERED, 5, ""),
        (RecipientState.QUEUED, 50, ""),
    ]
    assert spool.due(b"", HELD, 10) == [(due_key(1, 2, 0), "a.example"), (due_key(50, 1, 1), "b.example")]
    assert spool.due(b"", HELD, 1) == [(due_key(1, 2, 0), "a.example")]
    assert [len(m.queued()) for m in spool.messages(0, 10)] == [1, 1]
    assert spool.ledger() == Ledger(accepted=3, delivered=1)
    spool.apply(Change(message, finished=True, leaving=(due_key(50, 1, 1),), failed=1))
    assert spool.load(1) is None
    assert [m.id for m in spool.messages(0, 10)] == [2]
    assert spool.due(due_key(1, 2, 0), HELD, 10) == []
    assert spool.ledger().outstanding() == count_queued(spool) == 1


@keepers
async def test_a_change_and_its_dsn_are_one(spool: Spool) -> None:
    message = make_message(1)
    await store(spool, message, b"x")
    dsn = make_message(2, b"your mail failed", domains=["client.example"])
    dsn.generated = True
    committed: list[int] = []
    change = delivered(message)
    change.delivered, change.failed = 0, 1
    change.generated = ((dsn, b"your mail failed", entries_of(dsn)),)
    change.committed = lambda: committed.append(1)
    spool.apply(change)
    assert [m.id for m in spool.messages(0, 10)] == [2]
    assert b"".join(spool.content(dsn)) == b"your mail failed"
    assert spool.due(b"", HELD, 10) == entries_of(dsn)
    assert committed == []
    await applied(spool, Change(dsn))
    assert committed == [1]
    assert b"".join(spool.content(dsn)) == b"your mail failed"
    assert spool.ledger() == Ledger(accepted=1, generated=1, failed=1)
    assert count_queued(spool) == 1


@keepers
async def test_finished_content_is_gone(spool: Spool) -> None:
    message = make_message(1, b"x" * 9000)
    await store(spool, message, b"x" * 9000)
    await applied(spool, delivered(message))
    assert spool.load(1) is None
    with pytest.raises(StorageError, match="missing"):
        list(spool.content(message))


@keepers
async def test_streamed_content_is_the_same_as_content_at_once(spool: Spool) -> None:
    content = bytes(n * 11 % 253 for n in range(400_000))
    stream = spool.open_stream(1)
    for start in range(0, len(content), 33_333):
        stream.append(content[start : start + 33_333])
        await asyncio.sleep(0)
    assert stream.octets == len(content)
    settled = Settled()
    message = make_message(1, content)
    spool.accept(ticket(message, None, settled, stream))
    await settled.count(1)
    assert settled.results == {1: None}
    assert stream.backlog == 0
    assert b"".join(spool.content(message)) == content
    stream.abandon()
    await applied(spool, Change(message))
    assert b"".join(spool.content(message)) == content


@keepers
@pytest.mark.parametrize("octets", [0, 1, PIECE, 17 * PIECE + 1, 300_000])
@pytest.mark.parametrize("added", [0, 1, 4 * PIECE, 8 * PIECE - 5])
async def test_a_front_grows_until_the_ticket_comes(spool: Spool, octets: int, added: int) -> None:
    rest = bytes(n * 11 % 253 for n in range(octets))
    stream = spool.open_stream(1)
    stream.append(b"front")
    stream.keep_front()
    for start in range(0, octets, 33_333):
        stream.append(rest[start : start + 33_333])
    written = asyncio.Event()
    if not stream.all_written(written.set):
        await asyncio.wait_for(written.wait(), 20)
    assert stream.all_written(written.set)
    assert b"".join(stream.read()) == rest
    stream.extend_front(b"+" * added)
    assert stream.octets == 5 + added + octets
    settled = Settled()
    content = b"front" + b"+" * added + rest
    message = make_message(1, content)
    spool.accept(ticket(message, None, settled, stream))
    await settled.count(1)
    assert stream.backlog == 0
    assert b"".join(spool.content(message)) == content
    assert max(map(len, spool.content(message))) <= 65_536
    assert b"".join(stream.read()) == rest
    spool.apply(Change(message, finished=True, leaving=tuple(key for key, _ in entries_of(message))))
    await applied(spool, Change(make_message(2)))
    with pytest.raises(StorageError):
        list(spool.content(message))


@keepers
async def test_a_front_has_an_end(spool: Spool) -> None:
    stream = spool.open_stream(1)
    with pytest.raises(RuntimeError, match="no room"):
        stream.extend_front(b"x")
    stream.append(b"front")
    stream.keep_front()
    stream.extend_front(b"x" * (8 * PIECE - 5))
    with pytest.raises(RuntimeError, match="no room"):
        stream.extend_front(b"x")
    stream.abandon()


@keepers
async def test_what_was_given_up_cannot_be_read(spool: Spool) -> None:
    stream = spool.open_stream(1)
    stream.append(b"front")
    stream.keep_front()
    stream.append(b"x" * 100_000)
    written = asyncio.Event()
    if not stream.all_written(written.set):
        await asyncio.wait_for(written.wait(), 20)
    stream.abandon()
    await applied(spool, Change(make_message(2)))
    with pytest.raises(StorageError):
        list(stream.read())


@keepers
async def test_the_shell_hears_when_a_stream_has_drained(spool: Spool) -> None:
    stream = spool.open_stream(1)
    drained = asyncio.get_running_loop().create_future()
    stream.on_drained = lambda: drained.set_result(None)
    stream.append(b"x" * (3 << 20))
    assert stream.backlog == 3 << 20
    await asyncio.wait_for(drained, 20)
    assert stream.backlog < 1 << 20
    stream.abandon()


@everyone
async def test_the_ledger_counts_recipients(spool: Spool) -> None:
    message = make_message(1, domains=["a.example", "b.example", "b.example"])
    settled = Settled()
    spool.accept(ticket(message, b"x", settled))
    await settled.count(1)
    spool.apply(Change(message, delivered=1, failed=1))
    spool.apply(Change(message, finished=True, expired=1))
    ledger = spool.ledger()
    assert ledger == Ledger(accepted=3, delivered=1, failed=1, expired=1)
    assert ledger.outstanding() == 0


@everyone
async def test_a_stopped_spool_refuses_and_stop_may_be_called_again(spool: Spool) -> None:
    settled = Settled()
    spool.accept(ticket(make_message(1), b"x", settled))
    await spool.stop()
    await spool.stop()
    await settled.count(1)
    assert settled.results == {1: None}
    if not isinstance(spool, NullSpool):
        spool.accept(ticket(make_message(2), b"x", settled))
        await settled.count(2)
        assert isinstance(settled.results[2], SpoolFailed)


@everyone
async def test_one_callers_mistake_keeps_the_news_from_nobody_else(spool: Spool) -> None:
    loop = asyncio.get_running_loop()
    reported: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    settled = Settled()
    wrong = ticket(make_message(1), b"x", settled)
    wrong.settled = lambda *_: [][0]
    spool.accept(wrong)
    spool.accept(ticket(make_message(2), b"x", settled))
    await settled.count(1)
    assert settled.results == {2: None}
    assert [type(error) for error in reported] == [IndexError]


@keepers
async def test_an_id_that_comes_twice_never_replaces_a_message(spool: Spool) -> None:
    first = make_message(1, b"first")
    await store(spool, first, b"first")
    settled = Settled()
    spool.accept(ticket(make_message(1, b"other"), b"other", settled))
    await settled.count(1)
    assert "is there already" in str(settled.results[1])
    assert b"".join(spool.content(first)) == b"first"
    assert spool.ledger().accepted == 1


@keepers
async def test_recipient_details_survive(spool: Spool) -> None:
    message = make_message(1)
    message.recipients = [Recipient("ü@a.example", "a.example", attempts=3, last_reply="451 later", orcpt="rfc822;x")]
    await store(spool, message, b"")
    assert spool.load(1) == message
    assert list(spool.content(message)) == []


@everyone
async def test_there_is_room(spool: Spool) -> None:
    assert spool.free_octets() > 1 << 20
