"""The shell around a POP3 session: deadlines before and after the login, long outputs, slow readers, the end."""

import asyncio

from mta.net.deadlines import Wheel
from mta.net.server import ROUNDS, Deadlines, ServerConnection
from mta.net.shell import LINGER
from mta_ext.pop3_server import Pop3ServerSession
from tests.harness.in_process import turns
from tests.harness.pop3_handler import Pop3Handler
from tests.harness.transports import FakeTransport

DEADLINES = Deadlines(600.0, 600.0, 1.0, 60.0)
LOGIN = b"USER paula\r\nPASS secret\r\n"
PART = 65_536


class Site:
    """One connection on a transport of the test, with a clock of its own."""

    def __init__(self, monkeypatch, messages=None, deadlines=DEADLINES):
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        self.handler = Pop3Handler()
        self.handler.messages = messages or self.handler.messages
        self.handler.session = Pop3ServerSession(self.handler, "hermes.example", plaintext_login=True)
        self.closed = []
        self.wheel = Wheel(loop)
        self.connection = ServerConnection(
            lambda connection, peer: self.handler.session, self.closed.append, self.wheel, deadlines
        )
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)

    def say(self, octets):
        self.connection.data_received(octets)

    def wait(self, seconds):
        """Second by second, as the wheel looks."""
        for _ in range(int(seconds)):
            self.now += 1.0
            if not self.connection.leaving:
                self.connection.check(self.now)

    def go(self, seconds):
        """The wheel's own turns."""
        self.now += seconds
        self.wheel._turn()
        self.wheel.stop()


async def test_the_first_look_comes_with_the_deadline_of_the_login(monkeypatch):
    site = Site(monkeypatch)
    site.go(DEADLINES.login + 2)
    assert site.connection.leaving


async def test_commands_do_not_move_the_deadline_of_the_login(monkeypatch):
    site = Site(monkeypatch)
    for _ in range(59):
        site.say(b"CAPA\r\n")
        site.wait(1)
    assert not site.connection.leaving
    site.transport.take()
    site.wait(2)
    assert site.connection.leaving
    assert site.transport.take() == b"", "RFC 1939: without a word"


async def test_after_the_login_only_idleness_counts(monkeypatch):
    site = Site(monkeypatch)
    site.wait(50)
    site.say(LOGIN)
    for _ in range(4):
        site.wait(500)
        site.say(b"NOOP\r\n")
    assert not site.connection.leaving
    site.say(b"DELE 1\r\n")
    site.wait(610)
    assert site.connection.leaving
    assert site.transport.closed or site.transport.half_closed
    assert site.handler.deletes == [], "a timeout is no QUIT"


async def test_a_login_that_waits_for_us_is_no_fault_of_the_client(monkeypatch):
    site = Site(monkeypatch)
    site.say(b"USER waits\r\nPASS x\r\n")
    site.wait(100)
    assert not site.connection.leaving
    site.handler._open("waits")
    site.handler.waiting.clear()
    site.connection.answer(b"+OK\r\n")
    site.wait(500)
    assert not site.connection.leaving


async def test_without_a_deadline_of_the_login_there_is_none(monkeypatch):
    site = Site(monkeypatch, deadlines=DEADLINES._replace(login=0.0))
    for _ in range(10):
        site.say(b"CAPA\r\n")
        site.wait(100)
    assert not site.connection.leaving


async def test_a_client_that_reads_a_long_message_slowly_is_not_idle(monkeypatch):
    site = Site(monkeypatch, [[b"x" * 998 + b"\r\n"] * 500])
    site.say(LOGIN)
    site.transport.deaf = True
    site.say(b"RETR 1\r\n")
    for _ in range(6):
        site.wait(500)
        site.transport.waiting, site.transport.paused = 0, False
        site.connection.resume_writing()  # and it does not read what comes by that
    assert not site.connection.leaving
    said = len(site.transport.said)
    site.wait(610)
    assert site.connection.leaving, "one that does not read is"
    assert len(site.transport.said) == said
    assert not site.transport.said.endswith(b"\r\n.\r\n")


async def test_a_long_message_leaves_in_turns_and_then_commands_go_on(monkeypatch):
    site = Site(monkeypatch, [[b"x" * 998 + b"\r\n"] * 5000])
    site.say(LOGIN + b"RETR 1\r\nSTAT\r\nQUIT\r\n")
    assert len(site.transport.said) < (ROUNDS + 2) * PART
    assert not site.transport.closed
    await turns(10)
    assert site.transport.said.endswith(b"\r\n.\r\n+OK 1 5000000\r\n+OK bye\r\n")
    assert site.transport.closed == "closed"
    assert site.handler.deletes == [[]]


async def test_a_client_that_stops_reading_stops_us(monkeypatch):
    site = Site(monkeypatch, [[b"x" * 998 + b"\r\n"] * 5000])
    site.say(LOGIN)
    site.transport.deaf = True
    site.say(b"RETR 1\r\n" * 20_000)
    assert site.transport.waiting < 2 * PART
    assert not site.transport.reading
    assert site.handler.pulled < 100


async def test_a_client_that_only_stops_sending_gets_all_of_its_message(monkeypatch):
    site = Site(monkeypatch, [[b"x" * 998 + b"\r\n"] * 5000])
    site.transport.deaf = True
    site.say(LOGIN + b"RETR 1\r\n")
    assert site.connection.eof_received(), "True: the loop keeps our half open"
    site.transport.flush()
    await turns(10)
    assert site.transport.said.endswith(b"x\r\n.\r\n")
    assert site.transport.closed == "closed"


async def test_what_was_said_before_quit_is_given_the_time_it_takes(monkeypatch):
    site = Site(monkeypatch, [[b"x" * 998 + b"\r\n"] * 60])
    site.say(LOGIN)
    site.transport.deaf = True
    site.say(b"RETR 1\r\nQUIT\r\n")
    site.transport.deaf = True
    assert site.transport.closed == "closed"
    waiting = site.transport.waiting
    assert waiting > 50_000
    for left in range(waiting - 1000, waiting - 10_000, -1000):
        site.transport.waiting = left
        site.now += LINGER + 1
        assert site.connection.check(site.now) == site.now + LINGER
    site.now += LINGER + 1
    assert site.connection.check(site.now) == 0.0
    assert site.transport.closed == "aborted", "nothing was taken since the last look"


async def test_a_lost_connection_tells_the_owner_once(monkeypatch):
    site = Site(monkeypatch)
    site.say(LOGIN + b"DELE 1\r\n")
    site.connection.connection_lost(ConnectionResetError())
    site.connection.connection_lost(None)
    assert site.closed == [site.connection]
    assert len(site.wheel) == 0
    assert site.handler.deletes == []


async def test_in_the_clear_there_are_no_facts_of_tls(monkeypatch):
    site = Site(monkeypatch)
    monkeypatch.setattr(site.transport, "get_extra_info", lambda name, default=None: default)
    assert site.connection.tls is None
