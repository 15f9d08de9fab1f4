"""Deliveries to scripted remotes, in this process: connections counted exactly, and no entry forgotten.

The real shard, delivery, sessions and sockets on loopback; only the router and the spool's disk are stood in for.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mta.metrics.layout import DEFERRED, DELIVERED, FAILED
from mta.model.message import Message
from mta.net import remote as net_remote
from tests.harness.scripted_remote import Answer, ScriptedRemote, ScriptedServer, say
from tests.harness.works import LIMIT, SETTINGS, Works


@pytest.fixture
async def works(tmp_path: Path) -> AsyncIterator[Works]:
    made = Works(tmp_path)
    yield made
    await made.end()


def scripts(*each: dict[str, list[Answer | str]]):
    """One script for each connection in turn; the last one for all that follow."""
    waiting = list(each)
    return lambda: ScriptedRemote(waiting.pop(0) if len(waiting) > 1 else waiting[0])


async def test_messages_for_several_domains_of_a_site_leave_nothing_in_memory(works: Works):
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        for _ in range(20):
            works.send("a.example", "b.example", "b.example")
            works.send("c.example")
        await works.until(DELIVERED, 80)
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_some_recipients_are_deferred_and_come_back_alone(works: Works):
    script = {"RCPT": ["250 ok", "450 later", "250 ok"]}
    async with ScriptedServer(scripts(script)) as server:
        works.router.lead_to(server.port)
        works.send("a.example", "a.example", "b.example")
        await works.until(DELIVERED, 3)
        got = [r for remote in server.remotes for received in remote.received for r in received.recipients]
        assert sorted(got) == ["r0@a.example", "r1@a.example", "r2@b.example"]
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_more_than_a_hundred_recipients_go_in_several_transactions(works: Works):
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.send(*["a.example"] * 250)
        await works.until(DELIVERED, 250)
        sizes = [len(received.recipients) for remote in server.remotes for received in remote.received]
        assert sizes == [100, 100, 50]
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_who_was_deferred_in_the_first_transaction_keeps_his_answer_when_there_is_no_second(works: Works):
    works.delivery.settings = SETTINGS._replace(messages_per_connection=1)
    some = scripts({"RCPT": ["450 4.2.0 later"]}, {"CONNECT": ["554 5.3.2 no service"]}, {})
    async with ScriptedServer(some) as server:
        works.router.lead_to(server.port)
        message = works.send(*["a.example"] * 150)
        await works.until(DELIVERED, 99, refill=False)
        await works.until(DEFERRED, 1 + 50, refill=False)
        first, *others = works.spool.load(message.id).queued()
        assert (first.last_code, first.attempts) == (450, 1)
        assert {(each.last_code, each.attempts) for each in others} == {(0, 1)}
        works.delivery.lift_suspensions()
        await works.until(DELIVERED, 150)
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_the_limit_holds_while_remotes_are_slow_to_say_goodbye(works: Works, tmp_path: Path):
    """A connection counts until it is closed, not until we have said QUIT."""
    works.delivery.settings = SETTINGS._replace(messages_per_connection=1)
    open_now, most = 0, 0

    class Counting(ScriptedRemote):
        def connected(self) -> bytes:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            return super().connected()

        def _on_quit(self, argument: str) -> None:
            nonlocal open_now
            super()._on_quit(argument)
            open_now -= 1

    async with ScriptedServer(Counting) as server:
        works.router.lead_to(server.port)
        for _ in range(60):
            works.send()
        await works.until(DELIVERED, 60)
        assert most <= LIMIT
        assert len(server.remotes) == 60
        await works.connections_end()
    works.nothing_left()


async def test_a_421_behind_the_greeting_is_no_reason_to_forget_a_message(works: Works):
    """The session is over before the connection is: work given to it then would be lost until a restart."""
    both = Answer(b"250 ok\r\n421 4.3.2 going down\r\n", drop=True)
    async with ScriptedServer(scripts({"EHLO": [both]}, {"EHLO": [both]}, {})) as server:
        works.router.lead_to(server.port)
        works.send()
        await works.until(DELIVERED, 1)
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_a_connection_that_has_just_said_421_gets_no_more_work(works: Works):
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.send()
        await works.until(DELIVERED, 1)
        site = works.delivery.sites["site.example"]
        [idle] = site.queue.idle
        idle.data_received(b"421 4.4.2 idle for too long\r\n")
        assert site.queue.idle == [], "though its socket is not closed yet"
        works.send()
        await works.until(DELIVERED, 2)
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_a_refused_rset_says_nothing_about_the_next_message(works: Works):
    script = {"MAIL": ["250 ok"] * 9, "RCPT": ["550 5.1.1 no such user"], "RSET": ["502 5.5.1 what is that"]}
    async with ScriptedServer(scripts(script, {})) as server:
        works.router.lead_to(server.port)
        works.send(), works.send()
        await works.until(FAILED, 1)
        await works.until(DELIVERED, 1)
        assert works.counters.get(FAILED) == 1
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_a_refusal_of_a_content_before_its_end_says_nothing_about_the_message_behind_it(works: Works):
    """Whose commands are on their way already."""
    script = {"DATA": [Answer(b"354 go on\r\n552 5.3.4 too much\r\n")]}
    async with ScriptedServer(scripts(script, {})) as server:
        works.router.lead_to(server.port)
        works.send(), works.send()
        await works.until(DELIVERED, 1)
        assert works.counters.get(FAILED) == 1
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_the_next_host_is_tried_and_every_connection_given_back(works: Works):
    refusing = ScriptedServer(scripts({"CONNECT": [say("554 5.3.2 no service")] * 9}))
    dropping = ScriptedServer(scripts({"MAIL": [Answer(drop=True)] * 9}))
    async with refusing, dropping, ScriptedServer() as good:
        works.router.lead_to(refusing.port, dropping.port, good.port)
        works.send()
        await works.until(DELIVERED, 1)
        assert [received.recipients for remote in good.remotes for received in remote.received] == [["r0@b.example"]]
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_a_drain_ends_idle_connections_without_a_word_in_the_log(works: Works):
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        for _ in range(30):
            works.send()
        await works.until(DELIVERED, 30)
        works.delivery.drain()
        works.delivery.drain()
        await works.connections_end()
        assert [remote.commands[-1] for remote in server.remotes] == ["QUIT"] * len(server.remotes)
    works.nothing_left()


async def test_a_drain_in_the_middle_of_a_handshake_gives_the_connection_back(works: Works):
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.send()
        await asyncio.sleep(0)
        works.delivery.drain()
        await works.connections_end()
        assert works.problems == []
        assert len(works.shard.scheduler) == 1, "it is still due, and the next start finds it"
        assert works.spool.ledger().outstanding() == 1


async def test_an_abort_in_the_middle_of_a_handshake_closes_the_socket(works: Works):
    async with ScriptedServer(scripts({"CONNECT": [Answer(mute=True)] * 9})) as server:
        works.router.lead_to(server.port)
        works.send()
        async with asyncio.timeout(5):
            while not server._connections:
                await asyncio.sleep(0.01)
        works.delivery.abort()
        async with asyncio.timeout(5):
            while server._connections:
                await asyncio.sleep(0.01)
        await works.connections_end()


async def test_an_idle_connection_leaves_and_the_next_message_opens_another(works: Works, monkeypatch):
    monkeypatch.setattr(net_remote, "IDLE_TIME", 0.5)
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.send()
        await works.until(DELIVERED, 1)
        await works.connections_end()
        works.send()
        await works.until(DELIVERED, 2)
        assert len(server.remotes) == 2
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")
async def test_a_bug_in_the_router_defers_what_waits_and_holds_nothing(works: Works, caplog):
    works.router.destination = KeyError("a bug")
    works.send()
    await works.until(DEFERRED, 1, refill=False)
    assert works.delivery.resolving == {}
    assert "a bug" in caplog.text
    assert len(works.shard.scheduler) == 0
    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        await works.until(DELIVERED, 1)
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_content_that_cannot_be_read_defers_its_message_and_no_other(works: Works, monkeypatch, caplog):
    def broken(message: Message):
        raise OSError("a bad sector")

    async with ScriptedServer() as server:
        works.router.lead_to(server.port)
        works.shard.scheduler._room = 0  # nothing is kept in memory
        with monkeypatch.context() as patch:
            patch.setattr(works.spool, "content", broken)
            works.send()
            await works.until(DEFERRED, 1, refill=False)
        works.send()
        await works.until(DELIVERED, 2)
        assert "a bad sector" in caplog.text
        works.shard.scheduler._room = 1 << 20
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()
