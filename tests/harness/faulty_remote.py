"""A remote that fails at one stage in one way until it is told to behave, and keeps what it took.

Owns: the faults by name, the server of each. Never does: judging.
Stages: GREETING EHLO MAIL RCPT DATA CONTENT DOT QUIT.
"""

import asyncio
import socket
import struct

from tests.harness.scripted_remote import Answer, Received, ScriptedRemote, say
from tests.harness.sinks import LoopThread

STAGES = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT", "DOT", "QUIT")
#: What is said; "rst" and "positive, then …" need more than octets, see below.
FAULTS: dict[str, Answer] = {
    "hang": Answer(mute=True),
    "drop": Answer(drop=True),
    "rst": Answer(drop=True),
    "nonsense": say("\x16\x03 what do you want? \x00"),
    "no line end": Answer(b"250 half a rep", mute=True),
    "a wrong code": say("399 well"),
    "421": say("421 4.3.2 going down"),
    "450": say("450 4.2.0 later"),
    "550": say("550 5.7.1 never"),
    "a line of a megabyte": Answer(b"250-" + b"x" * 1_000_000 + b"\r\n250 ok\r\n"),
    "ten thousand lines": Answer(b"250-x\r\n" * 10_000 + b"250 ok\r\n"),
    "positive, then drop": Answer(drop=True),
    "positive, then 421": Answer(b"421 4.3.2 going down\r\n", drop=True),
}
#: Octets: small, so that the kernel does not take a whole content before the remote has failed over it.
RECEIVE_BUFFER = 65_536
_VERB = {"GREETING": "CONNECT"}


class FaultyRemote(ScriptedRemote):
    """One connection. CONTENT: the fault comes with the first octets of content, long before its end."""

    def __init__(self, server: "FaultyServer") -> None:
        super().__init__()
        self._server = server
        self._stage = server.stage
        self._fault = server.fault
        self.reset = False
        self.stopped = False

    def _answer(self, verb: str, default: str) -> int:
        if not self._server.faulty or verb != _VERB.get(self._stage, self._stage):
            return super()._answer(verb, default)
        self.reset = self._fault == "rst"
        if self._fault.startswith("positive"):
            code = super()._answer(verb, default)
            self._put(FAULTS[self._fault])
            return code
        answer = FAULTS[self._fault]
        self._put(answer)
        return int(answer.octets[:3]) if answer.octets[:3].isdigit() else 0

    def _step_content(self) -> bool:
        if self.stopped:
            return False
        if self._stage != "CONTENT" or not self._server.faulty:
            return super()._step_content()
        self.stopped = True
        self._answer("CONTENT", "250 2.0.0 queued, though it is not over")
        return False


class _Shell(asyncio.Protocol):
    def __init__(self, server: "FaultyServer") -> None:
        self._server = server
        self._remote = FaultyRemote(server)
        server.remotes.append(self._remote)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.open.add(transport)
        self._write(self._remote.connected())

    def data_received(self, data: bytes) -> None:
        self._write(self._remote.receive(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.discard(self._transport)

    def _write(self, octets: bytes) -> None:
        remote = self._remote
        if octets:
            self._transport.write(octets)
        if remote.stopped and not remote.closed:
            self._transport.pause_reading()
        if remote.closed and remote.reset:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        elif remote.closed:
            self._transport.close()


class FaultyServer:
    """``faulty`` False: from now on it behaves, except where it has hung already."""

    def __init__(self, loop: LoopThread, stage: str, fault: str) -> None:
        self._loop = loop
        self.stage = stage
        self.fault = fault
        self.faulty = True
        self.remotes: list[ScriptedRemote] = []
        self.open: set[asyncio.Transport] = set()
        self.port = 0

    def start(self) -> "FaultyServer":
        self._loop.run(self._listen())
        return self

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(lambda: _Shell(self), sock=listener)

    def stop(self) -> None:
        self._loop.run(self._close())

    async def _close(self) -> None:
        self._server.close()
        for transport in tuple(self.open):
            transport.abort()
        await self._server.wait_closed()

    @property
    def received(self) -> list[Received]:
        """Transactions taken to their end of content, whatever was replied."""
        return [message for remote in self.remotes for message in remote.received]
