"""Local domains at the worker: who is taken at RCPT, and what becomes of aliases and lists before a delivery.

A real shard delivers to a scripted remote in the place of the store; the directory is a table.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mta.directory.protocol import DirectoryUnreadable, Resolution
from mta.metrics.layout import DEFERRED, DELIVERED, FAILED
from mta.model.message import Recipient, RecipientState
from mta.services.local import UNKNOWN, UNREADABLE, LocalMail
from tests.harness.scripted_remote import ScriptedServer
from tests.harness.works import CLOCK, Works

DOMAIN = "b.example"


class Table:
    """A directory of a few addresses; ``broken``: it cannot be read."""

    def __init__(self) -> None:
        self.broken = False
        self.entries = {
            "r0@b.example": Resolution("mailbox", "r0@b.example", 1),
            "mark@b.example": Resolution("mailbox", "mark@b.example", 2),
            "sales@b.example": Resolution("alias", "sales@b.example", targets=("mark@b.example", "ann@remote.example")),
            "out@b.example": Resolution("alias", "out@b.example", targets=("ann@remote.example",)),
            "gone@b.example": Resolution("alias", "gone@b.example", targets=("left@b.example",)),
            "loop@b.example": Resolution("alias", "loop@b.example", targets=("pool@b.example",)),
            "pool@b.example": Resolution("alias", "pool@b.example", targets=("loop@b.example",)),
            "empty@b.example": Resolution("list", "empty@b.example"),
            "ring@b.example": Resolution("list", "ring@b.example", targets=("left@b.example",), owner="ring@b.example"),
            "past@b.example": Resolution("list", "past@b.example", targets=("left@b.example",), owner="mark@b.example"),
            "team@b.example": Resolution(
                "list", "team@b.example", targets=("mark@b.example", "sales@b.example"), owner="boss@b.example"
            ),
        }

    def resolve(self, address: str) -> Resolution | None:
        if self.broken:
            raise DirectoryUnreadable("directory/data.mdb: cannot be read")
        return self.entries.get(address)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def local(table: Table) -> LocalMail:
    return LocalMail(frozenset({DOMAIN}), table, postmaster="", clock=CLOCK)


@pytest.fixture
async def works(tmp_path: Path, local: LocalMail) -> AsyncIterator[Works]:
    made = Works(tmp_path, local=local)
    yield made
    await made.end()


def test_rcpt_is_answered_by_what_the_directory_knows(table: Table, local: LocalMail) -> None:
    assert local.refusal("mark@b.example") is None
    assert local.refusal("sales@b.example") is None
    assert local.refusal("nobody@b.example") == UNKNOWN


def test_nobody_hears_550_from_a_directory_that_cannot_be_read(table: Table, local: LocalMail, caplog) -> None:
    table.broken = True
    assert local.refusal("nobody@b.example") == local.refusal("mark@b.example") == UNREADABLE
    assert [record.message for record in caplog.records] == [
        "directory/data.mdb: cannot be read: local recipients get 451 and local mail waits until it can be read again"
    ]
    table.broken = False
    assert local.refusal("mark@b.example") is None


def transactions(server: ScriptedServer) -> set[tuple[str, tuple[str, ...]]]:
    """Reverse-path and forward-paths of what was taken."""
    return {(each.reverse_path, tuple(each.recipients)) for remote in server.remotes for each in remote.received}


def columns(works: Works) -> dict[str, int]:
    """The ledger without its zeros."""
    ledger = works.spool.ledger()
    return {name: getattr(ledger, name) for name in ledger.__struct_fields__ if getattr(ledger, name)}


@pytest.mark.parametrize(
    ("paths", "reverse_path", "count", "taken", "books"),
    [
        (["mark@b.example"], "", 1, {("", ("mark@b.example",))}, {"accepted": 1, "delivered": 1}),
        (
            ["sales@b.example"],
            "s@c.example",
            2,
            {("s@c.example", ("mark@b.example",)), ("s@c.example", ("ann@remote.example",))},
            {"accepted": 1, "generated": 2, "expanded": 1, "delivered": 2},
        ),
        (
            ["out@b.example"],
            "",
            1,
            {("", ("ann@remote.example",))},
            {"accepted": 1, "generated": 1, "expanded": 1, "delivered": 1},
        ),
        (
            ["mark@b.example", "sales@b.example", "out@b.example", "r0@b.example"],
            "",
            3,
            {("", ("mark@b.example", "r0@b.example")), ("", ("ann@remote.example",))},
            {"accepted": 4, "generated": 1, "expanded": 2, "delivered": 3},
        ),
        (
            ["team@b.example"],
            "s@c.example",
            2,
            {("boss@b.example", ("mark@b.example",)), ("boss@b.example", ("ann@remote.example",))},
            {"accepted": 1, "generated": 2, "expanded": 1, "delivered": 2},
        ),
    ],
    ids=["a mailbox", "an alias", "an alias that leads away", "nobody gets it twice", "a list has an owner"],
)
async def test_a_message_reaches_those_behind_its_recipients_once(
    works: Works, paths: list[str], reverse_path: str, count: int, taken: set[object], books: dict[str, int]
) -> None:
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.send_to(paths, reverse_path)
        await works.until(DELIVERED, count)
        assert transactions(server) == taken
        assert columns(works) == books
        works.nothing_left()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ghost@b.example", "5.1.1"),
        ("gone@b.example", "5.1.1"),
        ("loop@b.example", "5.4.6"),
        ("empty@b.example", "5.2.4"),
    ],
)
async def test_who_turns_out_to_be_nobody_is_told_to_the_sender(works: Works, path: str, status: str) -> None:
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.send_to([path], "s@c.example")
        await works.until(DELIVERED, 1)
        assert works.counters.get(FAILED) == 1
        (report,) = (each for remote in server.remotes for each in remote.received)
        assert (report.reverse_path, report.recipients) == ("", ["s@c.example"])
        assert f"Status: {status}".encode() in report.content
        works.nothing_left()


async def test_a_member_who_is_nobody_is_told_to_the_owner_of_the_list(works: Works) -> None:
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.send_to(["past@b.example"], "s@c.example")
        await works.until(DELIVERED, 1)
        assert works.counters.get(FAILED) == 1
        assert transactions(server) == {("", ("mark@b.example",))}
        works.nothing_left()


async def test_a_report_on_a_list_that_its_owner_leads_back_to_is_the_last(works: Works) -> None:
    works.send_to(["ring@b.example"], "s@c.example")
    await works.until(FAILED, 2)  # the member, once for the message and once for the report on that
    assert columns(works) == {"accepted": 1, "generated": 3, "expanded": 2, "failed": 2}
    works.nothing_left()


async def test_mail_waits_while_the_directory_cannot_be_read_and_goes_on_then(works: Works, table: Table) -> None:
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        table.broken = True
        message = works.send_to(["sales@b.example"])
        await works.until(DEFERRED, 1)
        assert message.recipients[0].last_status == "4.3.0"
        assert message.recipients[0].state is RecipientState.QUEUED
        table.broken = False
        await works.until(DELIVERED, 2)
        assert columns(works) == {"accepted": 1, "generated": 2, "expanded": 1, "delivered": 2}
        works.nothing_left()


async def test_those_behind_an_alias_are_still_there_when_only_the_record_is(works: Works, table: Table) -> None:
    """A refused target waits in the queue with the original address beside it."""
    async with ScriptedServer() as server:
        works.router.lead_to(1)
        message = works.send_to(["out@b.example"])
        await works.until(DEFERRED, 1)
        again = works.spool.load(message.id)
        assert again is not None
        assert [(r.forward_path, r.state, r.orcpt) for r in again.recipients] == [
            ("out@b.example", RecipientState.EXPANDED, None),
            ("ann@remote.example", RecipientState.QUEUED, "rfc822;out@b.example"),
        ]
        works.router.lead_to(server.port)
        await works.until(DELIVERED, 1)
        works.nothing_left()


@pytest.mark.parametrize(
    ("alias", "notify", "actions", "delivered"),
    [
        ("sales", "SUCCESS,FAILURE", ["expanded"], 3),
        ("sales", "SUCCESS", ["expanded"], 3),
        ("sales", "FAILURE", [], 2),
        ("team", "SUCCESS", ["delivered"], 3),
        ("out", "SUCCESS", ["relayed"], 2),
    ],
)
async def test_success_is_reported_of_an_alias_of_several_when_it_is_expanded(
    works: Works, alias: str, notify: str, actions: list[str], delivered: int
) -> None:
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        person = Recipient(f"{alias}@b.example", DOMAIN, notify=notify, orcpt=f"rfc822;{alias}@b.example")
        works.post(person, reverse_path="s@c.example")
        await works.until(DELIVERED, delivered)
        reports = [each for remote in server.remotes for each in remote.received if not each.reverse_path]
        told = [line for each in reports for line in each.content.splitlines() if line.startswith(b"Action: ")]
        assert told == [f"Action: {action}".encode() for action in actions]
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_an_alias_of_somebody_who_gets_the_message_anyway_is_reported_by_itself(
    works: Works, table: Table
) -> None:
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        mark = Recipient("mark@b.example", DOMAIN, notify="NEVER")
        table.entries["boss@b.example"] = Resolution("alias", "boss@b.example", targets=("mark@b.example",))
        works.post(mark, Recipient("boss@b.example", DOMAIN, notify="SUCCESS"), reverse_path="s@c.example")
        await works.until(DELIVERED, 2)
        [report] = [each for remote in server.remotes for each in remote.received if not each.reverse_path]
        assert b"\r\nAction: expanded\r\n" in report.content
        assert b"rfc822;boss@b.example" in report.content.replace(b" ", b"")
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_a_list_keeps_what_the_content_needs_and_not_what_the_sender_wants(works: Works) -> None:
    works.router.lead_to(1)
    needed = {"smtputf8": True, "binary": True, "requiretls": True, "priority": 3}
    team = Recipient("team@b.example", DOMAIN, notify="DELAY")
    message = works.post(team, reverse_path="s@c.example", envid="QQ1", ret="FULL", **needed)
    await works.until(DEFERRED, 2)
    [copy] = [each for each in works.spool.messages(0, 10) if each.origin == message.id]
    assert (copy.reverse_path, copy.envid, copy.ret, copy.priority) == ("boss@b.example", None, None, 3)
    assert (copy.smtputf8, copy.binary, copy.requiretls) == (True, True, True)
    assert {recipient.notify for recipient in copy.recipients} == {None}
