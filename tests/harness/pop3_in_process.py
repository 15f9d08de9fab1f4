"""A POP3 service in this process: the real policy, session and connection, a store in memory, and people of the test.

Owns: the people (``mark`` and ``anna``, password = name), their mail, and when a login is decided. Never does:
assertions.
"""

import asyncio
from typing import Any

from mta.metrics import MetricsTable
from mta.metrics.layout import CONNECTIONS_IN
from mta.net.deadlines import Wheel
from mta.net.server import Deadlines, ServerConnection
from mta.policy import sasl
from mta.services.checks import Done, Login
from mta.services.pop3 import Access, Pop3, Pop3Settings
from mta.store.memory import MemoryStore
from mta.store.protocol import Copy, Delivery, Store
from tests.harness.clocks import ForwardClock
from tests.harness.transports import FakeTransport

PEOPLE = {"mark": Login("ok", 1, "mark@minasi.example"), "anna": Login("ok", 2, "anna@minasi.example")}
SETTINGS = Pop3Settings("store.example", 100, 50)
PATIENT = Deadlines(600.0, 600.0, 1.0, 60.0)
CLEAR = Access(plaintext=True)
HEAD = b"Return-Path: <a@b.example>\r\nDelivered-To: mark@minasi.example\r\n"


class Waiting:
    """A login that the test decides."""

    def __init__(self, login: Login, done: Done) -> None:
        self.login = login
        self.done: Done | None = done

    def cancel(self) -> None:
        self.done = None

    def decide(self) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(self.login)


class People:
    """``Logins`` of the test. ``holding``: logins wait for ``decide``. ``answer``: what everybody hears."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.waiting: list[Waiting] = []
        self.holding = False
        self.answer: Login | None = None

    def check(self, user: str, password: str, client: str, done: Done) -> Waiting:
        self.asked.append((user, password, client))
        known = PEOPLE[user] if user in PEOPLE and password == user else Login("wrong")
        check = Waiting(self.answer or known, done)
        self.waiting.append(check)
        if not self.holding:
            asyncio.get_running_loop().call_soon(check.decide)
        return check

    def exchange(self, mechanism: str, client: str) -> "Steps | None":
        known = {"PLAIN": sasl.Plain, "LOGIN": sasl.Login}
        return Steps(self, known[mechanism](), client) if mechanism in known else None


class Steps:
    """One exchange."""

    def __init__(self, people: People, mechanism: sasl.Mechanism, client: str) -> None:
        self._people = people
        self._mechanism = mechanism
        self._client = client

    def step(self, response: bytes | None, done: Done) -> sasl.Challenge | Waiting:
        step = self._mechanism.step(response)
        if isinstance(step, sasl.Challenge):
            return step
        user, password = (step.user, step.password) if isinstance(step, sasl.Attempt) else ("", "")
        return self._people.check(user, password, self._client, done)


class Pop3InProcess:
    """``connect`` gives a connection and its transport. Needs a running loop."""

    def __init__(self, store: Store | None = None, **settings: Any) -> None:
        self.store: Any = store or MemoryStore()
        self.store.start(lambda error: None)
        self.people = People()
        self.counters = MetricsTable.create(1).row(0)
        self.clock = ForwardClock()
        self.wheel = Wheel(asyncio.get_running_loop())
        self.pop3 = Pop3(SETTINGS._replace(**settings), self.people, self.store, self.counters, self.clock)

    async def deliver(self, *contents: bytes, mailbox: int = 1) -> None:
        """Into the mailbox, in order; returns after the commit."""
        for content in contents:
            settled = asyncio.get_running_loop().create_future()
            copies = [Copy(mailbox, HEAD)]
            self.store.deliver(Delivery(copies, content, lambda _, outcomes, to=settled: to.set_result(outcomes)))
            assert all(isinstance(outcome, int) for outcome in await settled)

    def connect(
        self, access: Access = CLEAR, peer: Any = ("192.0.2.7", 4711)
    ) -> tuple[ServerConnection, FakeTransport]:
        connection = ServerConnection(self.pop3.listener(access), self.pop3.closed, self.wheel, PATIENT)
        transport = FakeTransport(connection, peer)
        connection.connection_made(transport)
        return connection, transport

    async def login(self, user: str = "mark") -> tuple[ServerConnection, FakeTransport]:
        """Logged in, its output taken."""
        connection, transport = self.connect()
        await say(connection, b"USER %b\r\nPASS %b\r\n" % (user.encode(), user.encode()))
        assert transport.take().endswith(b"+OK logged in\r\n")
        return connection, transport

    async def close(self) -> None:
        await self.store.stop()

    def left_over(self) -> dict[str, int]:
        """What connections have left behind; all of it must be 0 when they are gone."""
        return {
            "connections": len(self.pop3.connections),
            "handlers": len(self.pop3._handlers),
            "watched": len(self.wheel),
            "gauge": self.counters.get(CONNECTIONS_IN),
        }


async def say(connection: ServerConnection, octets: bytes) -> None:
    """Returns when nothing is outstanding any more."""
    connection.data_received(octets)
    async with asyncio.timeout(20):
        while not connection.gone and not connection.leaving and connection.session.pending:
            await asyncio.sleep(0)
