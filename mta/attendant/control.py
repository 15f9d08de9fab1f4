"""The control channel to one service: a socket pair, one JSON object a line, both ways.

Owns: framing, request numbers, matching rows to requests. Never does: decide what an event means.

To the service: ``{"verb": "configure", …}`` first, ``{"verb": "drain"}``, and requests
``{"id", "verb", "shard", "args"}``.
From it: events ``{"event": "ready" | "heartbeat" | "failing" | "flush" | "drained" | "fatal", …}`` and for each
request any number of ``{"id", "row"}``, then ``{"id", "end": true}`` or
``{"id", "error": text, "exit": sysexits code}``.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import msgspec

from mta.errors import MtaError, TemporaryError

Row = dict[str, Any]

#: Octets of one line; a service that sends more has lost its mind.
LINE_LIMIT = 4 << 20
#: Seconds between two rows of an answer.
ROW_PATIENCE = 30.0


class RemoteError(MtaError):
    """The service answered a request with an error; text and exit code are its own."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Channel(asyncio.Protocol):
    """The attendant's end. Loop thread only."""

    def __init__(self, name: str, on_event: Callable[[Row], None]) -> None:
        self._name = name
        self._on_event = on_event
        self._transport: asyncio.WriteTransport | None = None
        self._tail = bytearray()
        self._requests: dict[int, asyncio.Queue[Row]] = {}
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's classes do not inherit asyncio's

    def data_received(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        self._tail += rest
        if len(self._tail) > LINE_LIMIT:
            self.close()
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            message = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as e:
            self._on_event({"event": "failing", "reason": f"nonsense on the control channel: {e}"})
            return
        if "event" in message:
            self._on_event(message)
        elif (queue := self._requests.get(message.get("id", 0))) is not None:
            queue.put_nowait(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for queue in self._requests.values():
            queue.put_nowait({"error": f"{self._name} went away; try again", "exit": os.EX_TEMPFAIL})

    def send(self, message: Row) -> None:
        """Does nothing when the service is gone: its death is told elsewhere."""
        if self._transport is not None:
            self._transport.write(msgspec.json.encode(message) + b"\n")

    async def request(self, verb: str, args: Row, shard: int) -> AsyncIterator[Row]:
        """The rows of the answer. Raises RemoteError, or TemporaryError when the service is silent or gone."""
        if self._transport is None:
            raise TemporaryError(f"{self._name} is not running; try again, or see `mta status`")
        self._number += 1
        number = self._number
        queue = self._requests[number] = asyncio.Queue()
        try:
            self.send({"id": number, "verb": verb, "shard": shard, "args": args})
            while True:
                message = await self._next(queue)
                if "row" in message:
                    yield message["row"]
                elif "error" in message:
                    raise RemoteError(str(message["error"]), int(message.get("exit", os.EX_SOFTWARE)))
                else:
                    return
        finally:
            del self._requests[number]

    async def _next(self, queue: "asyncio.Queue[Row]") -> Row:
        try:
            return await asyncio.wait_for(queue.get(), ROW_PATIENCE)
        except TimeoutError:
            raise TemporaryError(f"{self._name} does not answer; see `mta status`") from None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
