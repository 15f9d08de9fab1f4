"""Queue administration on the memory spool: what each verb shows, changes and leaves alone."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import pytest

from mta.errors import DataError, UsageError
from mta.log import Event
from mta.model.message import HELD, Message, Recipient, RecipientState, due_key, split_due_key
from mta.model.spoolid import IdSource, format_id
from mta.queue.admin import QueueAdmin, answer
from mta.queue.listing import Filters
from mta.spool.memory import MemorySpool
from mta.spool.protocol import Change, Ticket

NOW = 1_800_000_000_000
MINUTE = 60_000


class Clock:
    def now_ms(self) -> int:
        return NOW

    def monotonic(self) -> float:
        return NOW / 1000


class Scheduler:
    """A scheduler that knows which messages are in flight, and counts what it is asked."""

    def __init__(self) -> None:
        self.in_flight: set[int] = set()
        self.recalled: list[int] = []
        self.wakes = 0
        self.constraints: list[dict[str, Any]] = []

    def recall(self, spool_id: int) -> bool:
        if spool_id in self.in_flight:
            return False
        self.recalled.append(spool_id)
        return True

    def wake(self) -> None:
        self.wakes += 1

    def waiting(self, spool_id: int) -> list[dict[str, Any]]:
        return self.constraints

    def live(self, spool_id: int) -> bool:
        return spool_id in self.in_flight


class Desk:
    """A shard, its scheduler, its administration, and the ids of its messages."""

    def __init__(self) -> None:
        self.spool = MemorySpool(0)
        self.spool.start(lambda failure: pytest.fail(str(failure)))
        self.scheduler = Scheduler()
        self.events: list[Event] = []
        self.dsn_for: list[tuple[int, list[str], str]] = []
        self.bounced: list[tuple[int, int]] = []
        self.admin = QueueAdmin(
            self.spool,
            self.scheduler,
            Clock(),
            self.events.append,
            make_dsn=self.make_dsn,
            bounced=lambda recipients, reports: self.bounced.append((recipients, reports)),
        )
        self._ids = IdSource(0, Clock())

    async def queue(self, *paths: str, sender: str = "me@here.example", age: int = 0, due: int = NOW + MINUTE) -> str:
        """Stores a message that is retried in a minute, with one recipient per path."""
        recipients = [Recipient(path, path.partition("@")[2], due=due, attempts=1) for path in paths]
        message = Message(self._ids.next(), sender, recipients, size=9, arrival=NOW - age)
        entries = {r.domain: (due_key(due, message.id, i), r.domain) for i, r in reversed([*enumerate(recipients)])}
        self.spool.accept(Ticket(message, b"Subject\r\n", list(entries.values()), lambda ticket, error: None))
        await self.admin._pause()
        await self.admin._pause()
        return format_id(message.id)

    def make_dsn(self, message: Message, recipients: list[Recipient], reason: str) -> Any:
        self.dsn_for.append((message.id, [r.forward_path for r in recipients], reason))
        dsn_id = self._ids.next()
        dsn = Message(dsn_id, "", [Recipient(message.reverse_path, "here.example", due=NOW)], 3, NOW, generated=True)
        return dsn, b"DSN", [(due_key(NOW, dsn_id, 0), "here.example")]

    async def ask(self, verb: str, **args: Any) -> list[dict[str, Any]]:
        rows = [row async for row in answer(self.admin, verb, args)]
        await self.admin.drained()
        return rows

    def due(self) -> list[tuple[int, str]]:
        return [(split_due_key(key)[0], domain) for key, domain in self.spool.due(b"", HELD, 100)]

    def states(self, queue_id: str) -> list[RecipientState]:
        row = self.admin.show(queue_id)
        return [recipient["state"] for recipient in row["recipients"]]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.spool.stop()


def ids(rows: Iterable[dict[str, Any]]) -> list[str]:
    return [row["queue_id"] for row in rows]


async def test_a_listing_has_the_field_names_of_postqueue(desk: Desk) -> None:
    queue_id = await desk.queue("a@x.example", "b@y.example", age=5000)
    [row] = await desk.ask("queue.list")
    assert row == {
        "queue_name": "deferred",
        "queue_id": queue_id,
        "arrival_time": (NOW - 5000) // 1000,
        "message_size": 9,
        "forced_expire": False,
        "sender": "me@here.example",
        "recipients": [{"address": "a@x.example"}, {"address": "b@y.example"}],
    }


async def test_a_message_in_flight_is_active_and_a_held_one_is_on_hold(desk: Desk) -> None:
    flying, held = await desk.queue("a@x.example"), await desk.queue("b@x.example")
    await desk.ask("queue.hold", ids=[held])
    desk.scheduler.in_flight.add(desk.spool.messages(0, 1)[0].id)
    assert [(r["queue_id"], r["queue_name"]) for r in await desk.ask("queue.list")] == [
        (flying, "active"),
        (held, "hold"),
    ]


async def test_the_delay_reason_names_the_remote_and_what_it_said(desk: Desk) -> None:
    await desk.queue("a@x.example")
    message = desk.spool.messages(0, 1)[0]
    message.recipients[0] = msgspec.structs.replace(
        message.recipients[0], last_code=450, last_status="4.2.0", last_reply="greylisted", last_remote="mx.x.example"
    )
    desk.spool.apply(Change(message))
    [row] = await desk.ask("queue.list")
    assert row["recipients"][0]["delay_reason"] == "host mx.x.example said: 450 4.2.0 greylisted"


async def test_filters_choose_by_domain_sender_and_recipient(desk: Desk) -> None:
    one = await desk.queue("a@x.example", "b@y.example")
    two = await desk.queue("c@y.example", sender="")
    assert ids(await desk.ask("queue.list", domain="X.Example")) == [one]
    assert ids(await desk.ask("queue.list", sender="<>")) == [two]
    assert ids(await desk.ask("queue.list", sender="MAILER-DAEMON")) == [two]
    assert ids(await desk.ask("queue.list", recipient="C@y.example")) == [two]
    assert ids(await desk.ask("queue.list", domain="y.example", limit=1)) == [one]
    assert ids(await desk.ask("queue.list", after=one)) == [two]
    with pytest.raises(UsageError, match="colour"):
        await desk.ask("queue.list", colour="red")


async def test_a_listing_longer_than_a_page_is_complete_and_lets_the_loop_run(desk: Desk) -> None:
    names = [await desk.queue(f"r{n}@x.example") for n in range(450)]
    breaths = 0

    async def pause() -> None:
        nonlocal breaths
        breaths += 1

    admin = QueueAdmin(desk.spool, desk.scheduler, Clock(), desk.events.append, pause=pause)
    assert [row["queue_id"] async for row in admin.listed(Filters())] == names
    assert breaths == 3


async def test_flush_makes_all_due_now_but_not_what_is_held(desk: Desk) -> None:
    await desk.queue("a@x.example")
    held = await desk.queue("b@y.example")
    await desk.ask("queue.hold", ids=[held])
    rows = await desk.ask("queue.flush", everything=True, reason="they are back")
    assert [row["done"] for row in rows] == [True, False]
    assert desk.due() == [(NOW, "x.example"), (HELD, "y.example")]
    assert desk.scheduler.wakes == 2
    assert [(e.type, e.recipient, e.reason) for e in desk.events][1:] == [
        ("AdminRebind", "a@x.example", "they are back")
    ]


async def test_hold_and_release_of_one_domain_leave_the_other_alone(desk: Desk) -> None:
    await desk.queue("a@x.example", "b@y.example", "c@x.example")
    [row] = await desk.ask("queue.hold", domain="x.example")
    assert row["recipients"] == 2
    assert desk.due() == [(NOW + MINUTE, "y.example"), (HELD, "x.example")]
    [row] = await desk.ask("queue.release", domain="x.example")
    assert row["recipients"] == 2
    assert desk.due() == [(NOW, "x.example"), (NOW + MINUTE, "y.example")]


async def test_hold_of_one_recipient_holds_its_whole_group_since_a_group_has_one_due_time(desk: Desk) -> None:
    await desk.queue("a@x.example", "b@x.example")
    [row] = await desk.ask("queue.hold", recipient="a@x.example")
    assert row["recipients"] == 2
    assert desk.due() == [(HELD, "x.example")]


async def test_remove_takes_the_last_recipient_and_the_message_leaves(desk: Desk) -> None:
    queue_id = await desk.queue("a@x.example", "b@y.example")
    await desk.ask("queue.remove", domain="y.example", reason="gone")
    assert desk.states(queue_id) == ["queued", "removed"]
    await desk.ask("queue.remove", ids=[queue_id])
    assert desk.spool.messages(0, 10) == []
    assert desk.due() == []
    assert desk.spool.ledger().removed == 2
    assert [e.type for e in desk.events] == ["AdminBounce", "AdminBounce"]


async def test_bounce_fails_the_recipients_and_commits_the_dsn_with_them(desk: Desk) -> None:
    queue_id = await desk.queue("a@x.example", "b@y.example")
    await desk.ask("queue.bounce", ids=[queue_id], reason="the address is no more")
    [(_, paths, reason)] = desk.dsn_for
    assert (paths, reason) == (["a@x.example", "b@y.example"], "the address is no more")
    assert [row["sender"] for row in await desk.ask("queue.list")] == ["MAILER-DAEMON"]
    assert (await desk.ask("audit"))[0]["drift"] == 0
    assert desk.spool.ledger().failed == 2
    assert desk.spool.ledger().generated == 1
    assert desk.bounced == [(2, 1)]


async def test_bounce_of_everything_leaves_the_dsns_that_it_makes(desk: Desk) -> None:
    for n in range(3):
        await desk.queue(f"r{n}@x.example", age=1)
    assert len(await desk.ask("queue.bounce", everything=True)) == 3
    assert len(await desk.ask("queue.list")) == 3
    assert len(desk.dsn_for) == 3


async def test_a_message_with_an_attempt_in_flight_is_left_alone_and_said_so(desk: Desk) -> None:
    queue_id = await desk.queue("a@x.example")
    desk.scheduler.in_flight.add(desk.spool.messages(0, 1)[0].id)
    [row] = await desk.ask("queue.remove", ids=[queue_id])
    assert not row["done"]
    assert "in flight" in row["detail"]
    assert desk.events == []
    assert desk.states(queue_id) == ["queued"]


async def test_an_edit_must_name_what_it_means_and_an_unknown_id_is_told(desk: Desk) -> None:
    with pytest.raises(UsageError, match="name messages"):
        await desk.ask("queue.remove")
    with pytest.raises(DataError, match="not a queue id"):
        await desk.ask("queue.remove", ids=["nonsense"])
    [row] = await desk.ask("queue.remove", ids=["06H0PNA5B4000"])
    assert row["detail"] == "not in the queue"
    with pytest.raises(DataError, match="not in the queue"):
        await desk.ask("queue.show", id="06H0PNA5B4000")
    with pytest.raises(UsageError, match="no such request"):
        await desk.ask("queue.burn")


async def test_stats_count_recipients_by_domain_and_age(desk: Desk) -> None:
    await desk.queue("a@x.example", "b@x.example", "c@y.example", age=4 * MINUTE)
    await desk.queue("d@x.example", age=5 * MINUTE)
    await desk.queue("e@x.example", age=1280 * MINUTE)
    first, second = await desk.ask("queue.stats")
    assert first["domain"] == "x.example"
    assert {name: n for name, n in first.items() if n and name != "domain"} == {
        "total": 4,
        "5": 2,
        "10": 1,
        "1280+": 1,
    }
    assert second["total"] == 1


async def test_why_tells_retry_time_hold_limit_and_turn(desk: Desk) -> None:
    queue_id = await desk.queue("a@x.example", "b@y.example", "c@z.example")
    await desk.ask("queue.hold", domain="y.example")
    await desk.ask("queue.flush", domain="z.example")
    rows = await desk.ask("why", id=queue_id)
    assert [(r["recipient"], r["waiting_for"], r["until"]) for r in rows] == [
        ("a@x.example", "retry time", (NOW + MINUTE) / 1000),
        ("b@y.example", "hold", None),
        ("c@z.example", "its turn", None),
    ]
    desk.scheduler.constraints = [
        {"domain": "z.example", "waiting_for": "limit", "until": None, "detail": "20 connections to mx.z.example"}
    ]
    last = (await desk.ask("why", id=queue_id))[2]
    assert (last["waiting_for"], last["detail"]) == ("limit", "20 connections to mx.z.example")


async def test_cat_gives_the_content_and_show_the_whole_record(desk: Desk) -> None:
    queue_id = await desk.queue("a@x.example")
    assert b"".join([row["content"] for row in await desk.ask("queue.cat", id=queue_id)]) == b"Subject\r\n"
    [row] = await desk.ask("queue.show", id=queue_id.lower())
    assert row["reverse_path"] == "me@here.example"
    assert row["recipients"][0]["attempts"] == 1


async def test_audit_recounts_what_is_queued(desk: Desk) -> None:
    await desk.queue("a@x.example", "b@y.example")
    [row] = await desk.ask("audit")
    assert (row["accepted"], row["queued"], row["drift"], row["exact"]) == (2, 2, 0, True)


async def test_audit_shows_a_recipient_that_the_books_do_not_know(desk: Desk) -> None:
    await desk.queue("a@x.example")
    message = desk.spool.messages(0, 1)[0]
    message.recipients.append(Recipient("ghost@x.example", "x.example", due=NOW))
    desk.spool.apply(Change(message))
    [row] = await desk.ask("audit")
    assert row["drift"] == -1
