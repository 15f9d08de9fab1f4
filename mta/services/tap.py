"""A wire that can be read: takes connections, passes all octets on to one target and notes what was said.

Owns: a listener and, per connection, the way there and back. Never does: change, delay or answer anything.
Loop thread only.
"""

import asyncio
from collections.abc import Callable

from mta.clock import Clock
from mta.errors import UnavailableError
from mta.services.dialogue import Dialogue

#: Octets that are passed on at once.
CHUNK = 65_536


class Tap:
    """Between ``start`` and ``stop`` every session to its address ends up at ``target`` and in ``dialogues``."""

    def __init__(self, target: tuple[str, int], clock: Clock) -> None:
        self.dialogues: list[Dialogue] = []
        self._target = target
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        """Raises UnavailableError when the address is taken."""
        try:
            self._server = await asyncio.start_server(self._connected, host, port)
        except OSError as e:
            raise UnavailableError(f"{host}:{port}: cannot listen: {e.strerror or e}") from e

    async def stop(self) -> None:
        """Idempotent; sessions that are open are cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in list(self._sessions):
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.get_running_loop().create_task(self._session(reader, writer))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialogue = Dialogue(self._clock)
        self.dialogues.append(dialogue)
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()  # the client sees what it would have seen without us: a connection that is of no use
            return
        try:
            await asyncio.gather(
                _pass_on(reader, back, dialogue.client),
                _pass_on(there, writer, dialogue.server),
            )
        finally:
            back.close()
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None]) -> None:
    """Until one side ends; then the other one is closed too."""
    try:
        while octets := await reader.read(CHUNK):
            note(octets)
            writer.write(octets)
            await writer.drain()
    except OSError:
        pass  # reset by one side: the other one is told by the close below
    finally:
        writer.close()
