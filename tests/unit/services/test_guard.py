"""The guard at the door: what clients that are not known are refused, when, and that those who are known are not."""

import asyncio
import gc
from collections.abc import Callable

import pytest

from mta.config.units import network
from mta.metrics.layout import STRESS, TARPITTED
from mta.net.server import Deadlines, ServerConnection
from mta.policy.blocklists import BlockList
from mta.policy.hooks import Connection, Opinion, Reject
from mta.policy.stress import CALM, Look
from mta.policy.throttle import Deed
from mta.services.access import EVERYWHERE
from mta.services.visitor import Visitor
from tests.harness.guarded import ANY, HELLO, MAIL, RCPT, STRANGER, Answers, Guarded, replies
from tests.harness.in_process import BATCHES, CONTENT, turns
from tests.harness.transports import FakeTransport

PER_MINUTE = 1 / 60
NEVER = 1e9
BAD = BlockList("bad.example", 1.0, ANY)
GOOD = BlockList("good.example", -5.0, ANY)
QUERY = "7.100.51.198"
BUSY = Look(lag=3.0)


@pytest.fixture
async def make(tmp_path):
    sites = []

    def made(**arguments) -> Guarded:
        sites.append(Guarded(tmp_path, **arguments))
        return sites[-1]

    yield made
    for site in sites:
        await site.close()


def gone(site: Guarded, *connections) -> None:
    for connection in connections:
        connection.connection_lost(None)
    assert not any(site.left_over().values())
    assert not site.guard.strangers


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5.0):
        while not true():
            await asyncio.sleep(0.001)


# Limits.


async def behind_a_proxy(site: Guarded) -> tuple[ServerConnection, FakeTransport]:
    """A known proxy has connected, and is about to say who its client is."""
    access = BATCHES._replace(xclient=(network("192.0.2.0/24"),), extensions=(*EVERYWHERE, "XCLIENT"))
    connection, transport = site.connect(access=access)
    await turns(4)
    connection.data_received(HELLO)
    return connection, transport


async def test_behind_a_proxy_the_client_is_asked_about(make):
    site = make(
        lists=[BAD],
        resolver=Answers({f"{QUERY}.bad.example": ("127.0.0.2",)}),
        limits={Deed.CONNECTION: PER_MINUTE},
        greet_pause=NEVER,
    )
    connection, transport = await behind_a_proxy(site)
    connection.data_received(b"XCLIENT ADDR=198.51.100.7\r\n")
    assert replies(transport)[-1].startswith("220 ")
    connection.data_received(HELLO + MAIL + RCPT)
    await turns(6)
    assert replies(transport)[-1] == f"554 5.7.1 {STRANGER} is listed by bad.example"
    another, its = await behind_a_proxy(site)
    another.data_received(b"XCLIENT ADDR=198.51.100.7\r\n")
    assert "policy.connection_rate" in replies(its)[-1]
    assert another.leaving
    another.connection_lost(None)
    gone(site, connection)


class Prompt:
    def connect(self, client: Connection) -> Opinion:
        return Reject(550, "5.7.1", "no") if client.address == STRANGER else None


async def test_behind_a_proxy_who_is_refused_is_gone(make):
    site = make(policies=[Prompt()])
    connection, transport = await behind_a_proxy(site)
    transport.take()
    connection.data_received(b"XCLIENT ADDR=198.51.100.7\r\n")
    assert replies(transport) == ["550 5.7.1 no"]
    assert connection.leaving
    connection.data_received(HELLO + MAIL + RCPT)
    assert transport.take() == b""
    gone(site, connection)


@pytest.mark.parametrize(("answer", "reply"), [(None, "220 "), (Reject(550, "5.7.1", "no"), "550 5.7.1 no")])
async def test_behind_a_proxy_a_slow_hook_decides_about_the_client(make, answer, reply):
    class Slow:
        async def connect(self, client: Connection) -> Opinion:
            await asyncio.sleep(0)
            return answer if client.address == STRANGER else None

    site = make(policies=[Slow()])
    connection, transport = await behind_a_proxy(site)
    transport.take()
    connection.data_received(b"XCLIENT ADDR=198.51.100.7\r\n")
    assert connection.session.pending
    await turns(4)
    assert replies(transport)[-1].startswith(reply)
    assert connection.leaving == (answer is not None)
    gone(site, connection)


async def test_a_stranger_has_so_many_connections_and_gets_them_back(make):
    site = make(connections=2)
    first, second = site.stranger()[0], site.stranger()[0]
    _, turned_away = site.stranger()
    assert replies(turned_away) == [
        "421 4.7.0 too many for your network now (limits.connections_per_client), try again later"
    ]
    assert turned_away.closed
    assert site.refused("connections") == 1
    assert replies(site.stranger("198.51.100.8")[1])[0].startswith("220 ")
    first.connection_lost(None)
    third, transport = site.stranger()
    assert replies(transport)[0].startswith("220 ")
    assert len(site.guard.strangers) == 3
    gc.collect()
    assert third in site.guard.strangers
    assert second in site.guard.strangers


@pytest.mark.parametrize("policies", [(), (object(),)], ids=["", "with a hook"])
async def test_a_known_client_has_so_many_connections_too_and_gets_them_back(make, policies):
    site = make(connections=2, policies=policies)
    first, second = site.connect()[0], site.connect()[0]
    for _ in range(3):
        _, turned_away = site.connect()
        assert replies(turned_away) == ["421 4.3.2 too many connections, try again later"]
    assert site.refused("connections") == 3
    assert replies(site.connect(("192.0.2.8", 4711))[1])[0].startswith("220 ")
    assert replies(site.connect("/a/socket")[1])[0].startswith("220 ")
    for connection in (first, second):
        connection.connection_lost(None)
    assert all(replies(site.connect()[1])[0].startswith("220 ") for _ in range(2))
    assert replies(site.connect()[1])[0].startswith("421 4.3.2 ")


async def test_a_proxy_does_not_use_up_its_own_limit_for_its_clients(make):
    site = make(connections=2, reception={"connections_per_client": 2})
    for n in range(6):
        connection, transport = await behind_a_proxy(site)
        connection.data_received(b"XCLIENT ADDR=203.0.113.%d\r\n" % (n // 2))
        assert replies(transport)[-1].startswith("220 ")
    connection, transport = await behind_a_proxy(site)
    connection.data_received(b"XCLIENT ADDR=203.0.113.0\r\n")
    assert replies(transport)[-1].startswith("421 4.3.2 ")
    assert connection.leaving


async def test_a_unix_socket_has_no_client_of_many_connections(make):
    site = make(connections=2, reception={"connections_per_client": 2})
    talks = [site.connect("/run/socket") for _ in range(4)]
    assert [replies(transport)[-1][:4] for _, transport in talks] == ["220 "] * 4
    gone(site, *(connection for connection, _ in talks))


async def test_strangers_come_only_so_fast_and_the_known_as_they_like(make):
    site = make(limits={Deed.CONNECTION: 3 * PER_MINUTE})
    said = [replies(site.stranger()[1])[0] for _ in range(4)]
    assert [line[:3] for line in said] == ["220", "220", "220", "421"]
    assert "policy.connection_rate" in said[3]
    for address in ("192.0.2.7", "203.0.113.9"):
        assert all(replies(site.stranger(address)[1])[0].startswith("220 ") for _ in range(6))
    site.clock.now += 20.1
    assert replies(site.stranger()[1])[0].startswith("220 ")


async def test_the_known_are_not_watched_at_all(make):
    site = make(limits={Deed.MESSAGE: PER_MINUTE}, tarpit=NEVER)
    connection, transport = site.connect()
    assert connection.on_mistakes is None
    assert site.reception.sessions[connection].visitor is None
    connection.data_received(HELLO + (MAIL + b"RSET\r\n") * 5 + b"WHAT\r\n" * 5)
    assert len(replies(transport)) == 1 + 1 + 10 + 5


async def test_messages_and_recipients_have_a_rate_each(make):
    site = make(limits={Deed.MESSAGE: 2 * PER_MINUTE, Deed.RECIPIENT: 3 * PER_MINUTE})
    connection, transport = site.stranger()
    transport.take()
    connection.data_received(HELLO + MAIL + RCPT * 4 + b"RSET\r\n" + MAIL + b"RSET\r\n" + MAIL)
    said = replies(transport)
    assert [line[:3] for line in said] == ["250", "250", "250", "250", "250", "450", "250", "250", "250", "450"]
    assert "4.7.1" in said[5]
    assert "policy.recipient_rate" in said[5]
    assert "policy.message_rate" in said[9]
    assert [(event.reason, event.response.code) for event in site.written()] == [
        ("recipient_rate", 450),
        ("message_rate", 450),
    ]


async def test_too_many_errors_end_the_session_and_keep_the_client_out_for_a_while(make):
    site = make(limits={Deed.ERROR: 5 * PER_MINUTE})
    connection, transport = site.stranger()
    connection.data_received(HELLO + b"WHAT\r\n" * 5)
    assert not transport.closed
    connection.data_received(b"WHAT\r\n")
    assert "421 4.7.0" in replies(transport)[-1]
    assert connection.leaving
    assert "policy.error_rate" in replies(site.stranger()[1])[0]
    site.clock.now += 12.1
    assert replies(site.stranger()[1])[0].startswith("220 ")


async def test_wrong_passwords_keep_the_client_out(make):
    site = make(limits={Deed.FAILURE: 2 * PER_MINUTE})
    connection, _ = site.stranger()
    visitor = site.reception.sessions[connection].visitor
    visitor.login_failed()
    visitor.login_failed()
    assert "policy.failure_rate" in replies(site.stranger()[1])[0]


async def test_a_reserve_is_kept_for_the_known(make):
    site = make(reserve=0.5, reception={"connections": 4})
    assert [replies(site.stranger()[1])[0][:3] for _ in range(3)] == ["220", "220", "421"]
    assert [replies(site.connect()[1])[0][:3] for _ in range(3)] == ["220", "220", "421"]


# Tarpit and the pause before the greeting.


async def test_errors_are_answered_later_and_later_and_nothing_is_read_meanwhile(make, monkeypatch):
    site = make(tarpit=0.5)
    connection, transport = site.stranger()
    later = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda seconds, call: later.append((seconds, call)))
    connection.data_received(HELLO + b"WHAT\r\n" * 3)
    assert not later
    transport.take()
    connection.data_received(b"WHAT\r\nNOOP\r\n")
    assert [seconds for seconds, _ in later] == [0.5]
    assert transport.take() == b""
    assert not transport.reading
    later.pop()[1]()
    assert [line[:3] for line in replies(transport)] == ["500", "250"]
    assert transport.reading
    connection.data_received(b"WHAT\r\n")
    assert [seconds for seconds, _ in later] == [1.0]
    assert site.counters.get(TARPITTED) == 2
    connection.connection_lost(None)
    later.pop()[1]()


async def test_who_half_closes_in_the_tarpit_gets_the_late_replies(make):
    site = make(tarpit=0.001)
    connection, transport = site.stranger()
    connection.data_received(HELLO + b"WHAT\r\n" * 5)
    assert connection.eof_received()
    await until(lambda: transport.closed)
    assert transport.said.count(b"500 ") == 5


async def test_the_last_word_is_not_held_back(make):
    site = make(tarpit=NEVER)
    connection, transport = site.stranger()
    connection.data_received(HELLO + b"WHAT\r\n" * 5)
    assert b"500 " not in transport.said
    connection.shut(b"421 4.3.2 bye\r\n")
    assert transport.said.endswith(b"421 4.3.2 bye\r\n")


async def test_who_speaks_before_the_greeting_is_refused(make):
    site = make(greet_pause=NEVER)
    connection, transport = site.stranger()
    assert transport.said == b""
    connection.data_received(HELLO)
    assert replies(transport)[0].startswith("554 5.5.")
    assert connection.leaving
    assert site.refused("early") == 1
    gone(site, connection)


async def test_who_waits_is_greeted_and_the_known_need_not_wait(make):
    site = make(greet_pause=0.001)
    connection, transport = site.stranger()
    assert replies(site.connect()[1])[0].startswith("220 ")
    assert transport.said == b""
    await until(lambda: transport.said)
    assert replies(transport)[0].startswith("220 ")
    connection.data_received(HELLO)
    assert replies(transport)[-1].startswith("250 ")


async def test_who_leaves_during_the_pause_leaves_nothing(make):
    site = make(greet_pause=0.001)
    connection, transport = site.stranger()
    gone(site, connection)
    await asyncio.sleep(0.003)
    assert transport.said == b""


# Lists of addresses.


async def test_a_listed_client_hears_at_rcpt_which_list_it_is_on(make):
    site = make(lists=[BAD], resolver=Answers({f"{QUERY}.bad.example": ("127.0.0.2",)}))
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT)
    await turns(6)
    connection.data_received(RCPT)
    assert replies(transport)[-2:] == [f"554 5.7.1 {STRANGER} is listed by bad.example"] * 2
    assert site.refused("dnsbl") == 2
    assert {event.reason for event in site.written()} == {"dnsbl: bad.example"}


async def test_a_list_is_awaited_at_the_first_recipient_and_nobody_else_waits(make):
    answers = Answers({})
    site = make(lists=[BAD], resolver=answers)
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT + b"NOOP\r\n")
    await turns()
    assert connection.session.pending
    assert replies(transport)[-1] == "250 2.1.0 ok"
    other, its = site.connect()
    other.data_received(HELLO + MAIL + RCPT)
    assert replies(its)[-1] == "250 2.1.5 ok"
    answers.release.set()
    await turns(8)
    assert replies(transport) == ["250 2.1.5 ok", "250 2.0.0 ok"]
    connection.data_received(RCPT)
    assert replies(transport) == ["250 2.1.5 ok"]
    assert answers.asked == [f"{QUERY}.bad.example"]


@pytest.mark.parametrize(
    "answers",
    [
        {f"{QUERY}.bad.example": ("127.0.0.2",), f"{QUERY}.good.example": ("127.0.0.1",)},
        {f"{QUERY}.bad.example": (), f"{QUERY}.good.example": ()},
        {f"{QUERY}.bad.example": None, f"{QUERY}.good.example": None},
        {f"{QUERY}.good.example": None},
    ],
)
async def test_a_good_list_outweighs_and_trouble_or_silence_weigh_nothing(make, answers):
    site = make(lists=[BAD, GOOD], resolver=Answers(answers), list_timeout=0.005)
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT)
    await until(lambda: not connection.session.pending)
    assert replies(transport)[-1] == "250 2.1.5 ok"


async def test_nobody_asks_about_the_known_and_who_leaves_leaves_nothing(make):
    answers = Answers({})
    site = make(lists=[BAD], resolver=answers)
    gc.collect()
    site.connect()
    site.stranger("203.0.113.9")
    await turns()
    assert answers.asked == []
    connection, _ = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT)
    await turns()
    connection.connection_lost(None)
    await turns(8)
    assert len(asyncio.all_tasks()) == 1
    assert not [found for found in gc.get_objects() if isinstance(found, Visitor)], "nobody waits for the collector"


# Stress.


async def test_under_stress_strangers_get_less_and_some_of_the_newest_idle_go(make, caplog):
    site = make(deadlines=Deadlines(300.0, 600.0, 500.0))
    strangers = [site.stranger(f"198.51.100.{number}") for number in range(8)]
    strangers[7][0].data_received(HELLO + MAIL)
    known, its = site.connect()
    site.guard.look(BUSY)
    assert site.counters.get(STRESS) == 1
    assert "stress begins: lag" in caplog.text
    assert [bool(connection.leaving) for connection, _ in strangers] == [False] * 6 + [True, False]
    assert replies(strangers[6][1])[-1] == "421 4.3.2 too busy now, try again later"
    assert not known.leaving
    assert replies(its)[-1].startswith("220 ")
    now = asyncio.get_running_loop().time()
    assert strangers[0][0].check(now + 11) == 0.0, "a command has ten seconds now"
    assert known.check(now + 11) > 0
    for _ in range(CALM):
        site.guard.look(Look())
    assert site.counters.get(STRESS) == 0
    assert "stress ends" in caplog.text
    late, _ = site.stranger("198.51.100.99")
    assert late.check(asyncio.get_running_loop().time() + 100) > 0


async def test_under_stress_few_errors_are_too_many_and_nobody_is_made_to_wait_for_the_greeting(make):
    site = make(greet_pause=NEVER, tarpit=0.0)
    site.guard.look(BUSY)
    connection, transport = site.stranger()
    assert replies(transport)[0].startswith("220 ")
    connection.data_received(HELLO + b"WHAT\r\n" * 4)
    assert replies(transport)[-1] == "421 4.7.0 too many errors while we are busy, try again later"
    assert connection.leaving


# The whole session.


async def test_a_busy_stranger_must_end_some_time_and_the_known_need_not(make):
    site = make(session_timeout=60.0)
    connection, transport = site.stranger()
    known, _ = site.connect()
    connection.data_received(HELLO)
    now = asyncio.get_running_loop().time()
    assert connection.check(now + 59) > 0
    connection.data_received(b"NOOP\r\n")
    assert connection.check(now + 61) == 0.0 or connection.leaving
    assert replies(transport)[-1].startswith("421 ")
    assert known.check(now + 61) > 0


async def test_who_has_logged_in_is_no_stranger(make):
    site = make(session_timeout=60.0)
    connection, _ = site.stranger()
    site.reception.sessions[connection].visitor.logged_in()
    assert connection.check(asyncio.get_running_loop().time() + 61) > 0
    site.guard.look(BUSY)
    assert not connection.leaving
    gone(site, connection)


async def test_a_strangers_message_goes_its_way(make):
    site = make(lists=[BAD], resolver=Answers({f"{QUERY}.bad.example": ()}), limits={Deed.MESSAGE: 1.0}, tarpit=0.5)
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT + b"DATA\r\n" + CONTENT + b".\r\n")
    await turns(12)
    assert replies(transport)[-1].endswith("queued")
    assert len(site.deliverer.entries) == 1
