"""The shell of an outgoing connection: what is written when, deadlines by stage, and an end that is told once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from mta.model.message import Message, Recipient, due_key
from mta.net.deadlines import Wheel
from mta.net.remote import IDLE_TIME, QUIT_TIME, RemoteConnection, RemoteDeadlines
from mta.queue.entry import Attempt, Entry
from mta.routing.destination import Host
from tests.harness.transports import FakeTransport

COMMAND, CONTENT = 10.0, 30.0
GREETED = b"220 remote.example\r\n250-remote.example\r\n250 PIPELINING\r\n"


class Owner:
    """Notes what it hears; ``leave`` says QUIT as the real one does."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def ready(self, remote: RemoteConnection) -> None:
        self.heard.append(("ready",))

    def room(self, remote: RemoteConnection) -> None:
        self.heard.append(("room",))

    def outcome(self, remote, attempt, stage, reply, recipients) -> None:
        self.heard.append(("outcome", stage, str(reply)))

    def trouble(self, remote, stage, reply, reason, lost) -> None:
        self.heard.append(("trouble", stage, [uncertain for _, uncertain in lost]))

    def leave(self, remote: RemoteConnection) -> None:
        self.heard.append(("leave",))
        remote.quit()

    def closed(self, remote: RemoteConnection) -> None:
        self.heard.append(("closed",))


class Scene:
    def __init__(self) -> None:
        self.owner = Owner()
        self.wheel = Wheel(asyncio.get_running_loop())
        deadlines = RemoteDeadlines(COMMAND, CONTENT)
        self.remote = RemoteConnection(
            self.owner, self.wheel, deadlines, "hermes.example", Host("mx.example", 25, 0), lmtp=False
        )
        self.transport = FakeTransport(self.remote, ("192.0.2.25", 25))
        self.remote.connection_made(self.transport)
        self.now = asyncio.get_running_loop().time()

    def hear(self, octets: bytes) -> bytes:
        self.remote.data_received(octets)
        return self.transport.take()

    def deliver(self, content: bytes | Iterator[bytes] = b"Subject: x\r\n\r\n") -> None:
        message = Message(1, "a@athena.example", [Recipient("b@b.example", "b.example")], 10, 0)
        entry = Entry(None, due_key(0, 1, 0), "b.example", message, None, 0.0)
        attempt = Attempt(entry, message.recipients, 0.0)
        self.remote.session.deliver(attempt, "a@athena.example", ["b@b.example"], content, size=10, dotted=True)
        self.remote.pump()
        self.transport.take()

    def seconds_until_something_happens(self) -> float:
        """Looks as the wheel does until the connection has been cut or the owner has heard something new."""
        heard, began = len(self.owner.heard), self.now
        self.remote.check(self.now)
        while len(self.owner.heard) == heard and not self.transport.closed and self.now < began + 1000:
            self.now += 1.0
            self.remote.check(self.now)
        return self.now - began


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The loop's time is the scene's."""
    made = Scene()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: made.now)
    return made


async def test_a_remote_that_never_greets_is_cut_off(scene: Scene):
    assert COMMAND <= scene.seconds_until_something_happens() <= COMMAND + 2
    assert scene.owner.heard == [("trouble", "GREETING", [])]
    assert scene.transport.closed == "aborted"
    scene.remote.connection_lost(None)
    assert scene.owner.heard[1:] == [("closed",)]


async def test_each_stage_has_its_deadline(scene: Scene):
    scene.hear(GREETED)
    scene.deliver()
    assert COMMAND <= scene.seconds_until_something_happens() <= COMMAND + 2
    assert scene.owner.heard[-1] == ("trouble", "MAIL", [False])


async def test_the_end_of_content_has_more_time_and_is_uncertain(scene: Scene):
    scene.hear(GREETED)
    scene.deliver()
    assert scene.hear(b"250 ok\r\n250 ok\r\n354 go\r\n") == b"Subject: x\r\n\r\n.\r\n"
    assert CONTENT <= scene.seconds_until_something_happens() <= CONTENT + 2
    assert scene.owner.heard[-1] == ("trouble", "DOT", [True])


async def test_replies_in_drops_of_octets_do_not_move_the_deadline(scene: Scene):
    began = scene.now
    while not scene.transport.closed:
        scene.now += 1.0
        scene.remote.data_received(b"2")
        scene.remote.check(scene.now)
    assert scene.now - began <= COMMAND + 2


async def test_a_remote_that_takes_no_content_any_more_is_cut_off(scene: Scene):
    scene.hear(GREETED)
    scene.deliver(iter([b"x" * 100_000] * 100))
    scene.transport.deaf = True
    scene.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert scene.transport.waiting < 400_000, "content is pulled as it is taken"
    assert CONTENT <= scene.seconds_until_something_happens() <= CONTENT + 2
    assert scene.owner.heard[-1] == ("trouble", "CONTENT", [False])


async def test_content_goes_on_when_the_remote_takes_it_again(scene: Scene):
    scene.hear(GREETED)
    scene.deliver(iter([b"x" * 100_000] * 10))
    scene.transport.deaf = True
    scene.remote.data_received(b"250 ok\r\n250 ok\r\n354 go\r\n")
    scene.transport.flush()
    assert scene.transport.said.endswith(b"x\r\n.\r\n")


async def test_an_idle_connection_leaves_after_its_time_and_does_not_wait_long_for_the_answer(scene: Scene):
    scene.hear(GREETED)
    assert IDLE_TIME <= scene.seconds_until_something_happens() <= IDLE_TIME + 2
    assert scene.owner.heard[-1] == ("leave",)
    assert scene.transport.take() == b"QUIT\r\n"
    assert QUIT_TIME <= scene.seconds_until_something_happens() <= QUIT_TIME + 2
    assert scene.transport.closed == "aborted"
    scene.remote.connection_lost(None)
    assert scene.owner.heard[-1] == ("closed",)
    assert [each for each in scene.owner.heard if each[0] == "trouble"] == []


async def test_after_the_answer_to_quit_the_connection_is_closed(scene: Scene):
    scene.hear(GREETED)
    scene.remote.quit()
    scene.hear(b"221 bye\r\n")
    assert scene.transport.closed == "closed"


async def test_a_remote_that_closes_its_half_is_dropped_whatever_waits_to_be_sent(scene: Scene):
    scene.hear(GREETED)
    scene.deliver(iter([b"x" * 100_000] * 100))
    scene.transport.deaf = True
    scene.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert not scene.remote.eof_received()
    assert scene.transport.closed == "aborted"
    scene.remote.connection_lost(None)
    assert scene.owner.heard[-2:] == [("trouble", "CONTENT", [False]), ("closed",)]


async def test_a_connection_that_is_gone_is_told_once_and_let_go(scene: Scene):
    scene.hear(GREETED)
    scene.deliver()
    scene.remote.connection_lost(ConnectionResetError())
    assert scene.owner.heard[-2:] == [("trouble", "MAIL", [False]), ("closed",)]
    heard = len(scene.owner.heard)
    scene.remote.quit()
    scene.remote.abort()
    scene.remote.pump()
    assert scene.remote.check(scene.now + 1000) == 0.0
    assert len(scene.owner.heard) == heard
    assert len(scene.wheel) == 0
