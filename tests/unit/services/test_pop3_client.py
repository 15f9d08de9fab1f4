"""The POP3 client against a server that says what the test wrote: limits, transparency, and every way to fail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.process import free_port
from mta.clock import SystemClock
from mta.errors import UnavailableError
from mta.services import pop3_client
from mta.services.dialogue import Dialogue, Turn
from mta.services.pop3_client import Pop3Refused, fetch, session

GREETING = b"+OK ready\r\n"
LOGIN = {b"USER ada": b"+OK\r\n", b"PASS secret": b"+OK\r\n", b"QUIT": b"+OK bye\r\n"}


class Server:
    """Answers from a table; a line that is not in it closes the connection."""

    def __init__(self, answers: dict[bytes, bytes], greeting: bytes, cut: int) -> None:
        self.heard: list[bytes] = []
        self.place = ("127.0.0.1", 0)
        self.over = asyncio.Event()
        self._answers = answers
        self._greeting = greeting
        self._cut = cut

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._say(writer, self._greeting)
            while line := await reader.readline():
                self.heard.append(line.rstrip(b"\r\n"))
                answer = self._answers.get(self.heard[-1])
                if answer is None:
                    break
                await self._say(writer, answer)
        finally:
            writer.close()
            self.over.set()

    async def _say(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        for at in range(0, len(octets), self._cut):
            writer.write(octets[at : at + self._cut])
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(answers: dict[bytes, bytes], greeting: bytes = GREETING, cut: int = 1 << 20) -> AsyncIterator[Server]:
    server = Server(LOGIN | answers, greeting, cut)
    listening = await asyncio.start_server(server.serve, *server.place)
    server.place = listening.sockets[0].getsockname()
    try:
        yield server
        await server.over.wait()
    finally:
        listening.close()


CONTENTS = [b"", b".\r\n", b"\r\n", b"a: b\r\n\r\n..\r\n.x\r\n.\r\n\r\n", b"no dots\r\n"]


def wire(content: bytes) -> bytes:
    """Transparency the slow and obvious way."""
    lines = content.split(b"\r\n")[:-1]
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 1 << 20])
async def test_messages_come_as_they_were_whole_and_in_pieces(cut: int) -> None:
    answers = {b"STAT": b"+OK %d 99\r\n" % len(CONTENTS)}
    for number, content in enumerate(CONTENTS, 1):
        answers[b"RETR %d" % number] = b"+OK\r\n" + wire(content)
        answers[b"DELE %d" % number] = b"+OK\r\n"
    async with serving(answers, cut=cut) as server:
        assert await fetch(*server.place, "ada", "secret") == CONTENTS
    assert server.heard[-1] == b"QUIT"
    assert [line for line in server.heard if line.startswith(b"DELE")] == [b"DELE %d" % n for n in range(1, 6)]


async def test_the_recording_has_everything_but_the_password() -> None:
    answers = {b"STAT": b"+OK 1 5\r\n", b"RETR 1": b"+OK 5 octets\r\n..x\r\n.\r\n", b"DELE 1": b"+OK\r\n"}
    dialogue = Dialogue(SystemClock())
    async with serving(answers) as server:
        assert await fetch(*server.place, "ada", "secret", dialogue=dialogue) == [b".x\r\n"]
    assert dialogue.turns == [
        Turn("server", "+OK ready"),
        Turn("client", "USER ada"), Turn("server", "+OK"),
        Turn("client", "PASS ********"), Turn("server", "+OK"),
        Turn("client", "STAT"), Turn("server", "+OK 1 5"),
        Turn("client", "RETR 1"), Turn("server", "+OK 5 octets"), Turn("server", "", 5), Turn("server", "."),
        Turn("client", "DELE 1"), Turn("server", "+OK"),
        Turn("client", "QUIT"), Turn("server", "+OK bye"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "greeting", "command"),
    [
        ({}, b"-ERR busy\r\n", "the greeting"),
        ({b"USER ada": b"-ERR no\r\n"}, GREETING, "USER"),
        ({b"PASS secret": b"-ERR [AUTH] no\r\n"}, GREETING, "PASS"),
        ({b"STAT": b"-ERR\r\n"}, GREETING, "STAT"),
        ({b"STAT": b"+OK 1 1\r\n", b"RETR 1": b"-ERR gone\r\n"}, GREETING, "RETR"),
        ({b"STAT": b"+OK 0 0\r\n", b"QUIT": b"-ERR not all of it\r\n"}, GREETING, "QUIT"),
    ],
)
async def test_a_refusal_says_who_said_what_to_which_command(
    answers: dict[bytes, bytes], greeting: bytes, command: str
) -> None:
    async with serving(answers, greeting) as server:
        with pytest.raises(Pop3Refused) as caught:
            await fetch(*server.place, "ada", "secret")
    assert caught.value.command == command
    assert str(caught.value).startswith(f"127.0.0.1:{server.place[1]}: {command}: -ERR")
    assert "secret" not in str(caught.value)


def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pop3_client, "MAX_LINE", 20)
    monkeypatch.setattr(pop3_client, "MAX_MESSAGE", 30)
    monkeypatch.setattr(pop3_client, "PATIENCE", 0.05)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({b"STAT": b"+OK"}, "silent for 0 s"),
        ({b"STAT": b"+OK x y\r\n"}, "no two numbers in '\\+OK x y'"),
        ({b"STAT": b"+OK 1\r\n"}, "no two numbers"),
        ({b"STAT": b"+OK " + b"1" * 40}, "more than 20 octets without an end"),
        ({b"STAT": b"+OK 1 1\r\n", b"RETR 1": b"+OK\r\n" + b"x" * 60}, "more than 30 octets without an end"),
        ({b"STAT": b"+OK 1 1\r\n"}, "closed the connection too early"),
    ],
)
async def test_nothing_is_waited_for_or_kept_without_a_limit(
    monkeypatch: pytest.MonkeyPatch, answers: dict[bytes, bytes], said: str
) -> None:
    limited(monkeypatch)
    async with serving(answers) as server:
        with pytest.raises(UnavailableError, match=said):
            await fetch(*server.place, "ada", "secret")


async def test_nobody_there_is_one_line() -> None:
    with pytest.raises(UnavailableError, match="Connection refused"):
        await fetch("127.0.0.1", free_port(), "ada", "secret")


async def test_a_session_may_leave_everything_where_it_is() -> None:
    async with serving({b"STAT": b"+OK 2 10\r\n"}) as server, session(*server.place, "ada", "secret") as client:
        assert await client.stat() == (2, 10)
    assert server.heard == [b"USER ada", b"PASS secret", b"STAT"]
