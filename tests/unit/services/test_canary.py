"""Canaries against a server that speaks real SMTP over real sockets, and a store and a directory in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mta.clock import SystemClock
from mta.errors import DataError, TemporaryError
from mta.log import Event
from mta.services.canary import DISPLAY_NAME, Canaries, Target

ADDRESS = "canary@minasi.example"


class House:
    """One listener, one mailbox. ``replies``: by the command's first word, what is said instead of the usual."""

    def __init__(self) -> None:
        self.replies: dict[str, str] = {}
        self.heard: list[str] = []
        self.mailbox: list[str] = []
        self.people: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.events: list[Event] = []
        self.said: list[str] = []
        self.lost = False
        self.alias = False
        self.down: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.replies.get("", "220 hermes.example ESMTP").encode() + b"\r\n")
        while line := (await reader.readline()).decode().strip():
            self.heard.append(line)
            word = line.split()[0].split(":")[0].upper()
            usual = {"EHLO": "250-hermes.example\r\n250 HELP", "LHLO": "250 ok", "DATA": "354 go on", "QUIT": "221 bye"}
            reply = self.replies.get(word, usual.get(word, "250 2.0.0 ok"))
            if reply == "hang up":
                break
            writer.write(reply.encode() + b"\r\n")
            if word == "DATA" and reply.startswith("354"):
                content = (await reader.readuntil(b"\r\n.\r\n")).decode()
                writer.write(self.replies.get(".", "250 2.0.0 06H0PNA5B4000 queued").encode() + b"\r\n")
                if not self.lost and "." not in self.replies:
                    self.mailbox.append(content.partition("Subject: ")[2].partition("\r\n")[0])
            if word == "QUIT":
                break
        writer.close()

    async def ask(self, service: str, verb: str, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(verb)
        if service in self.down:
            raise TemporaryError(f"{service} is not running; try again, or see `mta status`")
        if verb == "user.show" and args["user"] not in self.people:
            raise DataError("nobody")
        if verb == "user.add":
            if self.alias:
                raise DataError(f"{ADDRESS} is taken: it is an alias")
            self.people[ADDRESS] = {"address": args["address"], "display_name": args["display_name"]}
        if verb in ("user.show", "user.add"):
            yield self.people[ADDRESS]
        if verb == "mailbox.list":
            for subject in self.mailbox:
                yield {"subject": subject}
        if verb == "mailbox.remove":
            assert args["everything"]
            self.mailbox.clear()

    def canaries(self, target: Target, timeout: float = 10.0) -> Canaries:
        return Canaries(
            [target],
            ADDRESS,
            self.ask,
            self.events.append,
            self.said.append,
            SystemClock(),
            Random(1),
            hostname="hermes.example",
            interval=60.0,
            timeout=timeout,
        )


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[tuple[House, Target]]:
    house = House()
    server = await asyncio.start_server(house.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield house, Target(f"{host}:{port}", "smtp", host, port, "", "none")


Listening = tuple[House, Target]


async def test_a_canary_that_arrives_is_removed_and_leaves_its_time(listening: Listening) -> None:
    house, target = listening
    house.mailbox.append("somebody wrote to the canary")
    canaries = house.canaries(target)
    await canaries.fly(target)
    flights = canaries.flights[target.name]
    assert (flights.sent, flights.failed, flights.trouble) == (1, 0, "")
    assert 0 < flights.seconds < 5
    assert house.mailbox == []
    assert house.people == {ADDRESS: {"address": ADDRESS, "display_name": DISPLAY_NAME}}
    assert house.heard[:4] == ["EHLO hermes.example", f"MAIL FROM:<{ADDRESS}>", f"RCPT TO:<{ADDRESS}>", "DATA"]
    assert canaries.status()["state"] == "running"
    await canaries.fly(target)
    assert house.asked.count("user.add") == 1
    assert house.events == []


@pytest.mark.parametrize(
    ("address", "name", "trouble"),
    [
        (ADDRESS, "Ann Canary", f"{ADDRESS} is somebody's, Ann Canary <{ADDRESS}>, whose mail would be removed"),
        ("mark@minasi.example", DISPLAY_NAME, f"{ADDRESS} is somebody's, {DISPLAY_NAME} <mark@minasi.example>"),
        ("", "", f"{ADDRESS} is taken: it is an alias"),
    ],
    ids=["somebody of that name", "a further address of somebody", "an alias"],
)
async def test_the_mail_of_somebody_who_has_the_address_is_left_alone(
    listening: Listening, address: str, name: str, trouble: str
) -> None:
    house, target = listening
    house.mailbox.append("a letter")
    house.alias = not address
    if address:
        house.people[ADDRESS] = {"address": address, "display_name": name}
    canaries = house.canaries(target)
    await canaries.fly(target)
    assert canaries.flights[target.name].trouble.startswith(trouble)
    assert (house.mailbox, house.heard) == (["a letter"], [])


async def test_nothing_is_removed_while_nobody_can_tell_whose_mailbox_it_is(listening: Listening) -> None:
    house, target = listening
    house.mailbox.append("a letter")
    house.down.add("directory")
    canaries = house.canaries(target)
    await canaries.fly(target)
    assert (len(house.mailbox), canaries.flights[target.name].failed) == (2, 0)
    house.down.clear()
    await canaries.fly(target)
    house.mailbox.append("to the canary")
    house.down.add("directory")
    await canaries.fly(target)  # it was its own when that was last seen
    assert house.mailbox == []


@pytest.mark.parametrize(
    ("word", "reply", "trouble"),
    [
        ("", "421 4.3.2 too many", "the greeting: 421 4.3.2 too many"),
        ("EHLO", "502 no", "EHLO hermes.example: 502 no"),
        ("MAIL", "452 4.3.1 out of disk space", "MAIL: 452 4.3.1 out of disk space"),
        ("RCPT", "550 5.1.1 no such recipient here", "RCPT: 550 5.1.1 no such recipient here"),
        ("DATA", "hang up", "DATA: the connection was closed"),
        (".", "451 4.3.0 storage trouble", "the end of content: 451 4.3.0 storage trouble"),
        ("EHLO", "250-" + "x" * 5000, "EHLO hermes.example: the reply has no end"),
    ],
)
async def test_what_stops_a_canary_is_told_with_its_place(
    listening: Listening, word: str, reply: str, trouble: str
) -> None:
    house, target = listening
    house.replies[word] = reply
    canaries = house.canaries(target)
    for _ in range(2):
        await canaries.fly(target)
    flights = canaries.flights[target.name]
    assert (flights.failed, flights.in_a_row, flights.trouble) == (2, 2, trouble)
    assert house.said == [f"canary by {target.name}: {trouble}"]  # said once for as long as it lasts
    event = house.events[1]
    assert (event.type, event.sender, event.recipient, event.num_attempts) == ("TransientFailure", ADDRESS, ADDRESS, 2)
    assert event.response is not None
    assert event.response.content == trouble
    status = canaries.status()
    assert (status["state"], status["reason"]) == ("failing", f"{target.name}: {trouble}")
    house.replies.clear()
    await canaries.fly(target)
    assert house.said[-1] == f"canary by {target.name}: it arrives again (2 did not)"
    assert canaries.status()["reason"] == ""


async def test_one_that_does_not_arrive_in_time_is_lost(listening: Listening) -> None:
    house, target = listening
    house.lost = True
    canaries = house.canaries(target, timeout=0.2)
    await canaries.fly(target)
    assert canaries.flights[target.name].trouble == "it did not arrive within 0.2 s"


@pytest.mark.parametrize(("service", "failures"), [("store", 1), ("directory", 0)])
async def test_a_service_that_is_down_fails_it_only_where_it_is_needed(
    listening: Listening, service: str, failures: int
) -> None:
    house, target = listening
    house.down.add(service)
    canaries = house.canaries(target)
    await canaries.fly(target)
    assert canaries.flights[target.name].failed == failures


async def test_a_listener_that_wants_a_login_is_spoken_to_as_far_as_that(listening: Listening) -> None:
    house, target = listening
    house.replies["MAIL"] = "530 5.7.0 authentication required"
    canaries = house.canaries(target._replace(protocol="submission"))
    await canaries.fly(target)
    assert (canaries.flights[target.name].failed, canaries.flights[target.name].seconds) == (0, 0.0)
    assert house.heard[-1] == "QUIT"


async def test_lmtp_on_a_unix_socket_is_flown_through_as_well(tmp_path: Path) -> None:
    house = House()
    path = str(tmp_path / "lmtp.sock")
    async with await asyncio.start_unix_server(house.serve, path):
        target = Target(f"unix:{path}", "lmtp", "", 0, path, "none")
        canaries = house.canaries(target)
        await canaries.fly(target)
    assert canaries.flights[target.name].failed == 0
    assert house.heard[0] == "LHLO hermes.example"


async def test_nobody_listening_is_a_failure_like_any_other() -> None:
    house = House()
    target = Target("127.0.0.1:1", "smtp", "127.0.0.1", 1, "", "none")
    canaries = house.canaries(target)
    await canaries.fly(target)
    assert canaries.flights[target.name].trouble


async def test_rounds_go_on_for_ever(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    house, target = listening
    canaries = house.canaries(target)
    canaries._interval = 0.01
    flying = asyncio.create_task(canaries.run())
    done: Callable[[], bool] = lambda: canaries.flights[target.name].sent >= 3  # noqa: E731
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.01)
    flying.cancel()
    assert canaries.flights[target.name].failed == 0
