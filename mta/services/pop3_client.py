"""A POP3 client that fetches what lies in a mailbox: for the demo, for tests and for probes (RFC 1939).

Owns: one session at a time, its limits, and the recording of what was said, passwords left out. Never does: TLS, retry,
keep mail, or trust the server: every reply and every message has a limit, and every wait ends. Loop thread only.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from mta.errors import UnavailableError
from mta.services.dialogue import Dialogue

#: Octets of one reply line; RFC 2449 §4 allows 512.
MAX_LINE: Final = 4096
#: Octets of one message as it comes, transparency included.
MAX_MESSAGE: Final = 64 << 20
#: Seconds that a server may be silent while it owes something.
PATIENCE: Final = 20.0
#: Octets read at once.
CHUNK: Final = 65_536

_END: Final = b"\r\n.\r\n"


class Pop3Refused(UnavailableError):
    """The server said -ERR; ``command`` is the verb it said it to."""

    def __init__(self, place: str, command: str, reply: str) -> None:
        super().__init__(f"{place}: {command}: {reply}")
        self.command = command
        self.reply = reply


class Pop3Client:
    """A session that is logged in. Every method raises UnavailableError when the server refuses or goes away."""

    def __init__(
        self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dialogue: Dialogue | None
    ) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._dialogue = dialogue
        self._buffer = bytearray()

    async def login(self, user: str, password: str) -> None:
        """Waits for the greeting, then USER and PASS."""
        await self._reply("the greeting")
        await self._command(f"USER {user}")
        await self._command(f"PASS {password}", shown="PASS ********")

    async def stat(self) -> tuple[int, int]:
        """Messages and their octets."""
        reply = await self._command("STAT")
        fields = reply.split()
        if len(fields) < 3 or not (fields[1].isdigit() and fields[2].isdigit()):
            raise UnavailableError(f"{self._place}: STAT: no two numbers in {reply!r}")
        return int(fields[1]), int(fields[2])

    async def retrieve(self, number: int) -> bytes:
        """Message ``number``, the first is 1; line ends are CRLF."""
        await self._command(f"RETR {number}")
        self._buffer[:0] = b"\r\n"  # the end of the reply may be the beginning of an empty message's end
        octets = await self._until(_END, MAX_MESSAGE)
        if self._dialogue is not None:
            self._dialogue.said("server", "", len(octets))
            self._dialogue.said("server", ".")
        return (octets.replace(b"\r\n.", b"\r\n") + b"\r\n")[2:]

    async def delete(self, number: int) -> None:
        await self._command(f"DELE {number}")

    async def quit(self) -> None:
        """Only now what was deleted is gone."""
        await self._command("QUIT")

    async def _command(self, text: str, shown: str = "") -> str:
        if self._dialogue is not None:
            self._dialogue.said("client", shown or text)
        self._writer.write(f"{text}\r\n".encode())
        return await self._reply(text.split(" ")[0])

    async def _reply(self, to: str) -> str:
        line = (await self._until(b"\r\n", MAX_LINE)).decode("utf-8", "replace")
        if self._dialogue is not None:
            self._dialogue.said("server", line)
        if not line.startswith("+OK"):
            raise Pop3Refused(self._place, to, line)
        return line

    async def _until(self, end: bytes, limit: int) -> bytes:
        """What comes before ``end``, which is taken as well."""
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end) + 1)
            if searched > limit:
                raise UnavailableError(f"{self._place}: more than {limit:,} octets without an end")
            self._buffer += await self._more()
        octets = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return octets

    async def _more(self) -> bytes:
        try:
            octets = await asyncio.wait_for(self._reader.read(CHUNK), PATIENCE)
        except TimeoutError:
            raise UnavailableError(f"{self._place}: silent for {PATIENCE:.0f} s") from None
        except OSError as e:
            raise UnavailableError(f"{self._place}: {e.strerror or e}") from e
        if not octets:
            raise UnavailableError(f"{self._place}: closed the connection too early")
        return octets


@asynccontextmanager
async def session(
    host: str, port: int, user: str, password: str, *, dialogue: Dialogue | None = None
) -> AsyncIterator[Pop3Client]:
    """Connected and logged in; without ``quit`` nothing is deleted. Raises UnavailableError."""
    place = f"{host}:{port}"
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), PATIENCE)
    except TimeoutError:
        raise UnavailableError(f"{place}: takes no connection within {PATIENCE:.0f} s") from None
    except OSError as e:  # asyncio puts words of its own in the place of the system's
        raise UnavailableError(f"{place}: {os.strerror(e.errno) if e.errno else e}") from e
    try:
        client = Pop3Client(place, reader, writer, dialogue)
        await client.login(user, password)
        yield client
    finally:
        writer.close()


async def fetch(host: str, port: int, user: str, password: str, *, dialogue: Dialogue | None = None) -> list[bytes]:
    """Every message, and takes them out of the mailbox. Raises UnavailableError; then all of them are still there."""
    async with session(host, port, user, password, dialogue=dialogue) as client:
        count, _ = await client.stat()
        messages = [await client.retrieve(number) for number in range(1, count + 1)]
        for number in range(1, count + 1):
            await client.delete(number)
        await client.quit()
    return messages
