"""The shell of an LDAP connection: turns, reading stopped and started, logins, the idle deadline, the end."""

import asyncio
from typing import cast

import pytest

from mta.ldap import messages
from mta.ldap.book import Book
from mta.ldap.session import LdapSession, Login
from mta.net.deadlines import Wheel
from mta.net.ldap import INPUT_HIGH, LdapConnection, Shared, Turns
from mta.net.shell import LINGER
from tests.harness.clocks import SetClock
from tests.harness.ldap_wire import SETTINGS, Folk, Reply, bind, folk, replies, request, search
from tests.harness.transports import FakeTransport

IDLE = 80.0
ROOT = search(1, base="", scope="BASE")


class Pipe(FakeTransport):
    """As a socket: it can be closed on one side. ``half``: it can not, as under TLS."""

    half = True

    def can_write_eof(self) -> bool:
        return self.half

    def replies(self) -> list[Reply]:
        return replies(self.take())


class Site:
    """Connections of a service without one. ``refusal``: the last word for who comes now."""

    def __init__(self, directory: Folk) -> None:
        loop = asyncio.get_running_loop()
        self.book = Book(directory, ("minasi.example",))
        self.turns = Turns(loop)
        self.wheel = Wheel(loop)
        self.refusal = b""
        self.closed: list[LdapConnection] = []
        self.logins: list[Login] = []
        self.shared = Shared(self._opened, self.closed.append, self._login, self.wheel, self.turns, IDLE)

    def connect(self, address: str = "192.0.2.7") -> tuple[LdapConnection, Pipe]:
        connection = LdapConnection(self.shared, None)
        transport = Pipe(connection, (address, 4711))
        connection.connection_made(transport)
        return connection, transport

    def _opened(self, connection: LdapConnection, address: str) -> LdapSession | bytes:
        settings = SETTINGS._replace(plaintext=True)
        return self.refusal or LdapSession(self.book, settings, SetClock(), "none", lambda: None)

    def _login(self, connection: LdapConnection, login: Login) -> None:
        self.logins.append(login)


@pytest.fixture
async def site() -> Site:
    return Site(folk(3000))


async def until_quiet(site: Site) -> int:
    """Turns of the loop until nobody stands in line."""
    turns = 0
    while len(site.turns):
        await asyncio.sleep(0)
        turns += 1
    return turns


@pytest.fixture
async def now(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loop's time, as a list of one; the wheel is not started, the tests call ``check``."""
    moment = [asyncio.get_running_loop().time()]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: moment[0])
    return moment


async def test_the_answers_of_a_read_leave_together(site: Site):
    connection, transport = site.connect()
    assert transport.written == []
    connection.data_received(bind(1) + request(2, "delRequest", b"dc=x") + bind(3))
    assert len(transport.written) == 1
    assert [reply.number for reply in transport.replies()] == [1, 2, 3]


async def test_a_search_goes_on_in_turns_of_the_loop(site: Site):
    connection, transport = site.connect()
    connection.data_received(search(1, size=5))
    assert transport.replies() == []
    assert await until_quiet(site) > 10
    assert len(transport.replies()) == 6


async def test_connections_take_turns(site: Site):
    one, first = site.connect()
    one.data_received(search(1, size=1))
    await until_quiet(site)
    first.take()
    dear = "(|" + "(cn=x)" * 50 + ")"
    one.data_received(b"".join(search(number, dear) for number in range(1, 9)))
    other, second = site.connect()
    other.data_received(search(1, "(&(cn=ada lovelace)(cn=*)(sn=*))"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert [reply.kind for reply in second.replies()] == ["searchEntry", "searchDone"]
    assert one.session.running == 8
    await until_quiet(site)
    assert len(first.replies()) == 8


async def test_many_connections_of_one_client_are_no_more_than_one_of_another(site: Site):
    first, _ = site.connect()
    first.data_received(search(1, size=1))
    await until_quiet(site)
    dear = "(|" + "(cn=x)" * 50 + ")"
    crowd = [site.connect()[0] for _ in range(20)]
    for connection in crowd:
        connection.data_received(search(1, dear))
    other, transport = site.connect("192.0.2.8")
    other.data_received(search(1, dear))
    turns = 0
    while not transport.written:
        await asyncio.sleep(0)
        turns += 1
    pieces = 3000 * 51 / 6000
    assert turns < 2 * pieces + 10
    assert all(connection.session.running for connection in crowd)
    await until_quiet(site)


async def test_abandon_takes_effect_while_the_search_runs(site: Site):
    connection, transport = site.connect()
    connection.data_received(search(1))
    await asyncio.sleep(0)
    connection.data_received(request(2, "abandonRequest", 1))
    await until_quiet(site)
    assert all(reply.kind == "searchEntry" for reply in transport.replies())
    assert connection.session.running == 0


async def test_who_does_not_read_gets_no_more_until_it_does(site: Site):
    connection, transport = site.connect()
    transport.deaf = True
    connection.data_received(search(1))
    await until_quiet(site)
    said = len(transport.said)
    assert 0 < said < 200_000
    assert connection.session.running == 1
    assert not transport.reading
    transport.flush()
    await until_quiet(site)
    assert transport.reading
    assert replies(transport.said)[-1].kind == "searchDone"


async def test_much_input_behind_a_login_stops_reading(site: Site):
    connection, transport = site.connect()
    connection.data_received(bind(1, "ada@minasi.example", "secret"))
    assert site.logins == [Login("ada@minasi.example", "secret")]
    connection.data_received(ROOT * (INPUT_HIGH // len(ROOT) + 2))
    assert not transport.reading
    assert transport.written == []
    connection.answer_login(messages.SUCCESS, "", "ada@minasi.example")
    await until_quiet(site)
    assert transport.reading
    assert site.logins == [Login("ada@minasi.example", "secret")]
    assert transport.replies()[0].number == 1


async def test_a_login_that_is_settled_after_the_end_is_nothing(site: Site):
    connection, transport = site.connect()
    connection.data_received(bind(1, "ada@minasi.example", "secret"))
    connection.connection_lost(None)
    connection.answer_login(messages.SUCCESS)
    assert transport.written == []
    assert site.closed == [connection]


async def test_who_is_not_let_in_hears_why(site: Site):
    site.refusal = messages.notice(messages.BUSY, "too many")
    _, transport = site.connect()
    assert [reply.body["code"] for reply in transport.replies()] == [messages.BUSY]
    assert transport.closed == "closed"
    assert site.closed == []


async def test_unbind_closes_without_a_word(site: Site):
    connection, transport = site.connect()
    connection.data_received(request(1, "unbindRequest", None))
    assert (transport.said, transport.closed) == (b"", "closed")
    connection.connection_lost(None)
    assert site.closed == [connection]
    assert len(site.wheel) == 0


async def test_a_notice_is_said_before_the_end_and_what_still_comes_is_thrown_away(site: Site):
    connection, transport = site.connect()
    connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
    assert [reply.number for reply in transport.replies()] == [0]
    assert transport.half_closed
    assert not transport.closed
    connection.data_received(ROOT)
    await until_quiet(site)
    assert transport.said == b""
    connection.check(asyncio.get_running_loop().time() + LINGER)
    assert transport.closed == "aborted"


async def test_under_tls_there_is_no_half_close(site: Site):
    connection, transport = site.connect()
    transport.half = False
    connection.shut(messages.UNAVAILABLE, "shutting down")
    connection.shut(messages.UNAVAILABLE, "shutting down")
    assert [reply.body["code"] for reply in transport.replies()] == [messages.UNAVAILABLE]
    assert transport.closed == "closed"


async def test_requests_move_the_deadline_and_octets_do_not(site: Site, now: list[float]):
    connection, transport = site.connect()
    now[0] += IDLE - 1
    assert connection.check(now[0]) > now[0]
    connection.data_received(ROOT)
    assert connection.check(now[0]) > now[0]
    now[0] += IDLE - 1
    connection.data_received(ROOT[:-1])
    assert connection.check(now[0]) > now[0]
    assert not transport.half_closed
    now[0] += 1
    connection.check(now[0])
    assert transport.half_closed
    assert transport.replies()[-1].body["text"] == b"idle for too long"


async def test_a_search_that_its_client_does_not_read_is_no_excuse(site: Site, now: list[float]):
    connection, transport = site.connect()
    transport.deaf = True
    connection.data_received(search(1))
    await until_quiet(site)
    connection.check(now[0])
    now[0] += IDLE
    connection.check(now[0])
    assert transport.half_closed


async def test_a_bug_in_one_connection_does_not_stop_the_others(site: Site):
    broken, _ = site.connect()
    other, transport = site.connect()
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    broken.data_received(search(1))
    other.data_received(search(1, size=1))
    broken.session = cast(LdapSession, None)
    await until_quiet(site)
    assert len(told) == 1
    assert len(transport.replies()) == 2
