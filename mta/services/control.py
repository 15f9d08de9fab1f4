"""A service's end of the control channel: lines of JSON from the attendant, lines of JSON back.

Owns: framing. Never does: the work behind a verb, which is the service's. The socket's end of file means that the
attendant is gone, and then the service must go at once. Loop thread only.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from mta.errors import MtaError

#: Octets of one line: a configuration with a great many routes.
LINE = 16 * 1_048_576
#: Octets of answers that may wait for the attendant before a listing pauses.
HIGH = 262_144

Args = Mapping[str, Any]
#: (verb, arguments, shard) → rows. Raises MtaError.
Answer = Callable[[str, Args, int], AsyncIterator[Mapping[str, Any]]]


class ControlChannel:
    """``answer`` gives the rows of a request, ``commands`` need none; ``notify`` tells the attendant something."""

    def __init__(self, answer: Answer, commands: Mapping[str, Callable[[], None]], ended: Callable[[], None]) -> None:
        self._answers = answer
        self._commands = commands
        self._ended = ended
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, end: socket.socket) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=end, limit=LINE)
        self._spawn(self._read(reader))

    async def stop(self) -> None:
        """Flushes what was said last."""
        for task in self._tasks:
            task.cancel()
        if self._writer is not None:
            try:
                await self._writer.drain()
                self._writer.close()
            except ConnectionError:
                pass  # the attendant is gone, and nobody else listens

    def notify(self, event: str, **facts: Any) -> None:
        self._say({"event": event, **facts})

    def _spawn(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await reader.readline()
            except (ConnectionError, ValueError):
                line = b""
            if not line:
                self._ended()
                return
            request = msgspec.json.decode(line)
            command = self._commands.get(request["verb"])
            if command is not None:
                command()
            else:
                self._spawn(self._answer(request))

    async def _answer(self, request: Mapping[str, Any]) -> None:
        number = request.get("id")
        try:
            async for row in self._answers(request["verb"], request.get("args") or {}, request.get("shard", 0)):
                self._say({"id": number, "row": row})
                if self._writer is not None and self._writer.transport.get_write_buffer_size() > HIGH:
                    await self._writer.drain()
            self._say({"id": number, "end": True})
        except MtaError as error:
            self._say({"id": number, "error": str(error), "exit": error.exit_code})
        except ConnectionError:
            return  # the attendant is gone; _read says so

    def _say(self, what: Mapping[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(msgspec.json.encode(what) + b"\n")
