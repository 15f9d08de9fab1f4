"""The POP3 service: logins, locks, marks, limits, drain; with a store in memory and logins that the test decides."""

import asyncio
import base64
import gc
import logging

import pytest

from mta.errors import StorageError
from mta.net.server import ServerConnection
from mta.services.checks import Login
from mta.services.pop3 import DRAINING, Access, Pop3Session
from mta.store.memory import MemoryStore
from mta_ext.pop3_server import Pop3ServerSession
from tests.harness.in_process import turns
from tests.harness.pop3_in_process import HEAD, Pop3InProcess, say

ONE = b"Subject: one\r\n\r\n.dots\r\n"
TWO = b"Subject: two\r\n\r\nno line end"
NOTHING = {"connections": 0, "handlers": 0, "watched": 0, "gauge": 0}


@pytest.fixture
async def site():
    made = Pop3InProcess()
    await made.deliver(ONE, TWO)
    yield made
    await made.close()


async def test_what_was_delivered_comes_out_by_retr(site):
    connection, transport = await site.login()
    await say(connection, b"STAT\r\nRETR 1\r\nRETR 2\r\nTOP 2 0\r\n")
    first, second = HEAD + ONE, HEAD + TWO + b"\r\n"
    assert transport.take() == (
        b"+OK 2 %d\r\n" % (len(first) + len(second))
        + b"+OK %d octets\r\n" % len(first)
        + first.replace(b"\n.dots", b"\n..dots")
        + b".\r\n+OK %d octets\r\n" % len(second)
        + second
        + b".\r\n+OK\r\n"
        + HEAD
        + b"Subject: two\r\n\r\n.\r\n"
    )


async def test_unique_ids_are_those_of_the_store_and_stay(site):
    seen = []
    for _ in range(2):
        connection, transport = await site.login()
        await say(connection, b"UIDL\r\n")
        seen.append(transport.take())
        await say(connection, b"QUIT\r\n")
    assert seen[0] == seen[1]
    drop = site.store.maildrop(1)
    assert seen[0] == b"+OK\r\n" + b"".join(b"%d %b\r\n" % pair for pair in enumerate(drop.unique_ids(), 1)) + b".\r\n"


async def test_quit_removes_what_was_marked_and_says_so_after_the_commit(site):
    connection, transport = await site.login()
    connection.data_received(b"DELE 1\r\nQUIT\r\n")
    assert transport.take() == b"+OK message 1 marked\r\n"
    assert site.store.usage(1).messages == 2
    await turns()
    assert transport.take() == b"+OK bye\r\n"
    assert site.store.usage(1).messages == 1
    assert site.store.locked == set(), "free before the client hears it"


async def test_quit_without_marks_asks_nothing_of_the_disk(site):
    connection, transport = await site.login()
    connection.data_received(b"QUIT\r\n")
    assert transport.take() == b"+OK bye\r\n"
    assert site.store.locked == set()


async def test_a_removal_that_fails_removes_nothing_and_says_so(site):
    connection, transport = await site.login()
    site.store.fail()
    await say(connection, b"DELE 1\r\nDELE 2\r\nQUIT\r\n")
    assert transport.take().endswith(b"-ERR [SYS/TEMP] nothing was removed, try again later\r\n")
    assert site.store.usage(1).messages == 2


@pytest.mark.parametrize("end", ["lost", "shut", "timeout", "bare LF", "errors"])
async def test_any_other_end_removes_nothing_and_frees_the_maildrop(site, end):
    connection, _ = await site.login()
    await say(connection, b"DELE 1\r\n")
    if end == "shut":
        connection.shut(DRAINING)
    elif end == "timeout":
        connection.check(asyncio.get_running_loop().time() + 700)
        connection.check(asyncio.get_running_loop().time() + 1400)
    elif end != "lost":
        await say(connection, b"NOOP\nQUIT\r\n" if end == "bare LF" else b"FOO\r\n" * 30 + b"QUIT\r\n")
    assert end == "lost" or connection.leaving
    connection.connection_lost(None)
    assert site.store.usage(1).messages == 2
    assert site.store.locked == set()
    assert site.left_over() == NOTHING


async def test_a_connection_that_is_lost_during_the_update_does_not_stop_it(site):
    connection, _ = await site.login()
    connection.data_received(b"DELE 1\r\nQUIT\r\n")
    connection.connection_lost(ConnectionResetError())
    assert site.store.locked == {1}, "the removal is under way"
    await turns()
    assert site.store.usage(1).messages == 1
    assert site.store.locked == set()
    assert site.left_over() == NOTHING


async def test_a_maildrop_belongs_to_one_session(site):
    first, _ = await site.login()
    second, transport = site.connect()
    await say(second, b"USER mark\r\nPASS mark\r\nSTAT\r\n")
    assert transport.take().endswith(b"-ERR [IN-USE] the maildrop is open in another session\r\n-ERR not now\r\n")
    await site.login("anna")
    first.connection_lost(None)
    await say(second, b"USER mark\r\nPASS mark\r\n")
    assert transport.take().endswith(b"+OK logged in\r\n")


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        ("wrong", b"-ERR [AUTH] wrong name or password\r\n"),
        ("unavailable", b"-ERR [SYS/TEMP] logins cannot be checked now, try again later\r\n"),
        ("busy", b"-ERR [SYS/TEMP] too many logins at once, try again later\r\n"),
    ],
)
async def test_a_login_that_comes_to_nothing_says_whether_another_password_may_help(site, status, reply):
    site.people.answer = Login(status)
    connection, transport = site.connect()
    await say(connection, b"USER mark\r\nPASS mark\r\n")
    assert transport.take().endswith(reply)
    assert site.people.asked == [("mark", "mark", "192.0.2.7")]
    assert site.store.locked == set()


async def test_sasl_goes_step_by_step_and_begins_anew_after_a_cancel(site):
    connection, transport = site.connect()
    answers = b"\r\n".join(base64.b64encode(word) for word in (b"mark", b"mark"))
    await say(connection, b"AUTH LOGIN\r\n*\r\nAUTH LOGIN\r\n%b\r\nSTAT\r\n" % answers)
    said = transport.take().split(b"\r\n")
    assert said[2:] == [
        b"-ERR exchange cancelled",
        b"+ VXNlcm5hbWU6",
        b"+ UGFzc3dvcmQ6",
        b"+OK logged in",
        b"+OK 2 %d" % site.store.usage(1).octets,
        b"",
    ]


async def test_mechanisms_are_those_of_the_logins_and_plain_text_only_where_it_may_be_shown(site):
    for access, mechanisms in (
        (Access(), b"SASL SCRAM-SHA-256\r\n"),
        (Access(starttls=True), b"SASL SCRAM-SHA-256\r\nSTLS\r\n"),
        (Access(plaintext=True), b"SASL SCRAM-SHA-256 PLAIN LOGIN\r\n"),
        (Access(secure=True), b"SASL SCRAM-SHA-256 PLAIN LOGIN\r\n"),
    ):
        connection, transport = site.connect(access)
        await say(connection, b"CAPA\r\n")
        assert mechanisms in transport.take()


# What waits when the connection ends.


@pytest.mark.parametrize("end", ["lost", "shut"])
async def test_a_login_that_is_decided_after_the_end_locks_nothing(site, end):
    site.people.holding = True
    connection, transport = site.connect()
    connection.data_received(b"USER mark\r\nPASS mark\r\n")
    if end == "lost":
        connection.connection_lost(None)
        assert site.people.waiting[0].done is None, "cancelled: nobody waits for it"
    else:
        connection.shut(DRAINING)
    transport.take()
    site.people.waiting[0].decide()
    assert site.store.locked == set()
    assert transport.take() == b""
    connection.connection_lost(None)
    assert site.left_over() == NOTHING


async def test_a_connection_leaves_memory_without_the_collector(site):
    kinds = (ServerConnection, Pop3ServerSession, Pop3Session)
    gc.collect()
    others = {id(item) for item in gc.get_objects() if isinstance(item, kinds)}  # of tests before, still held

    def made():
        return [item for item in gc.get_objects() if isinstance(item, kinds) and id(item) not in others]

    gc.disable()
    try:
        connection, transport = await site.login()
        await say(connection, b"RETR 1\r\nLIST\r\n")
        assert len(made()) >= 2
        connection.connection_lost(None)
        transport._protocol = None
        site.people.waiting.clear()
        del connection
        await turns()
        assert made() == []
    finally:
        gc.enable()


# Trouble with the store.


class Troubled(MemoryStore):
    """``trouble``: what maildrop or content raises."""

    trouble: "Exception | None" = None

    def maildrop(self, mailbox):
        if self.trouble is not None:
            raise self.trouble
        return super().maildrop(mailbox)


async def test_a_maildrop_that_cannot_be_read_is_temporary_and_said_in_the_log(caplog):
    site = Pop3InProcess(Troubled())
    site.store.trouble = StorageError("store: cannot be read: disk on fire")
    connection, transport = site.connect()
    await say(connection, b"USER mark\r\nPASS mark\r\n")
    assert transport.take().endswith(b"-ERR [SYS/TEMP] the maildrop cannot be read, try again later\r\n")
    assert "disk on fire" in caplog.text


async def test_a_bug_behind_a_login_is_no_silence_to_the_client(caplog):
    site = Pop3InProcess(Troubled())
    site.store.trouble = RuntimeError("a bug")
    connection, transport = site.connect()
    await say(connection, b"USER mark\r\nPASS mark\r\nNOOP\r\n")
    assert transport.take().endswith(
        b"-ERR [SYS/TEMP] the maildrop cannot be read, try again later\r\n-ERR not now\r\n"
    )
    assert "a bug" in caplog.text


async def test_a_message_that_went_away_under_the_session_is_refused_and_the_session_goes_on(site):
    connection, transport = await site.login()
    site.store.items[1].clear()
    await say(connection, b"RETR 1\r\nTOP 2 1\r\nNOOP\r\n")
    assert transport.take() == b"-ERR [SYS/PERM] the message is not there any more\r\n" * 2 + b"+OK\r\n"


class BreakingDrop:
    """A maildrop of one message of which ``good`` pieces can be read."""

    sizes, uids = (300_000,), (1,)

    def __init__(self, good):
        self.good = good

    def content(self, index):
        for _ in range(self.good):
            yield b"x" * 99_998 + b"\r\n"
        raise StorageError("piece 7 of content 1 is missing")

    def close(self):
        return None


async def test_a_message_that_cannot_be_read_is_temporary_and_one_that_breaks_off_ends_the_session(site, caplog):
    for good in (0, 1, 2):
        site.store.maildrop = lambda mailbox, good=good: BreakingDrop(good)
        connection, transport = site.connect()
        await say(connection, b"USER mark\r\nPASS mark\r\n")
        transport.take()
        await say(connection, b"RETR 1\r\nNOOP\r\n")
        await turns()
        said = transport.take()
        if not good:
            assert said == b"-ERR [SYS/TEMP] the message cannot be read, try again later\r\n+OK\r\n"
        else:
            assert said.startswith(b"+OK 300000 octets\r\nxxx")
            assert len(said) == good * 100_000 + 19
            assert connection.leaving
    assert caplog.text.count("piece 7 of content 1 is missing") == 3
    assert "Traceback" not in caplog.text


# Limits.


async def test_connections_beyond_a_limit_are_turned_away(site):
    site = Pop3InProcess(connections=3, connections_per_client=2)
    peers = [("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.1", 3), ("192.0.2.2", 4), ("192.0.2.3", 5)]
    made = [site.connect(peer=peer) for peer in peers]
    turned_away = [transport.take().startswith(b"-ERR [SYS/TEMP] too many") for _, transport in made]
    assert turned_away == [False, False, True, False, True]
    for connection, _ in made:
        connection.connection_lost(None)
    assert site.left_over() == NOTHING


async def test_logins_too_soon_are_refused_by_mailbox(site, caplog):
    site = Pop3InProcess(login_delay=60.0)

    async def login(user):
        connection, transport = site.connect()
        await say(connection, b"USER %b\r\nPASS %b\r\nQUIT\r\n" % (user, user))
        connection.connection_lost(None)
        return transport.take().split(b"\r\n")[2]

    assert await login(b"mark") == b"+OK logged in"
    assert (await login(b"mark")).startswith(b"-ERR [LOGIN-DELAY] ")
    assert await login(b"anna") == b"+OK logged in"
    site.clock.ahead = 59.0
    assert (await login(b"mark")).startswith(b"-ERR [LOGIN-DELAY] ")
    site.clock.ahead = 61.0
    assert await login(b"mark") == b"+OK logged in"
    site.clock.ahead = 200.0
    assert await login(b"anna") == b"+OK logged in"
    assert len(site.pop3._logged_in) == 1, "what is over is forgotten"


async def test_the_delay_is_announced_and_by_default_there_is_none(site):
    _, transport = await site.login()
    connection, transport = site.connect()
    await say(connection, b"CAPA\r\n")
    assert b"LOGIN-DELAY" not in transport.take()
    delayed = Pop3InProcess(login_delay=60.0)
    connection, transport = delayed.connect()
    await say(connection, b"CAPA\r\n")
    assert b"LOGIN-DELAY 60\r\n" in transport.take()


# Drain.


async def test_a_drain_sends_idle_connections_away_and_waits_for_the_others(site):
    idle, idle_transport = await site.login()
    await say(idle, b"DELE 1\r\n")
    reading, reading_transport = await site.login("anna")
    site.people.holding = True
    waiting, waiting_transport = site.connect()
    waiting.data_received(b"USER mark\r\nPASS mark\r\n")
    reading.data_received(b"RETR")
    idle_transport.take()
    site.pop3.drain()
    assert idle_transport.take() == DRAINING
    assert site.pop3.connections.busy() == 2
    reading.data_received(b" 1\r\n")
    site.people.waiting[-1].decide()
    assert waiting_transport.take().endswith(DRAINING), "no session begins now"
    site.pop3.drain()
    assert site.pop3.connections.busy() == 0
    assert reading_transport.take() == b"-ERR no such message\r\n" + DRAINING
    _, transport = site.connect()
    assert transport.take() == DRAINING
    for connection in (idle, reading, waiting):
        connection.connection_lost(None)
    assert site.store.usage(1).messages == 2, "a drain is no QUIT"
    assert site.left_over() == NOTHING


async def test_who_is_in_the_update_hears_what_came_of_it(site):
    connection, transport = await site.login()
    connection.data_received(b"DELE 1\r\nQUIT\r\n")
    site.pop3.drain()
    assert not connection.leaving
    await turns()
    assert transport.take().endswith(b"+OK bye\r\n")
    assert site.store.usage(1).messages == 1


async def test_a_bug_in_a_call_back_is_reported_with_its_place(site, caplog, monkeypatch):
    monkeypatch.setattr(site.people, "check", lambda *arguments: 1 / 0)
    connection, transport = site.connect()
    with caplog.at_level(logging.ERROR):
        await say(connection, b"USER mark\r\nPASS mark\r\n")
    assert transport.take().endswith(b"-ERR [SYS/TEMP] internal error\r\n")
    assert "ZeroDivisionError" in caplog.text
