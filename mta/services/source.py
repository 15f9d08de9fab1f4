"""A client that hands messages to a server over some connections: one letter with its dialogue, or a burst.

Owns: the connections, one message after the other on each, and how long each one took. Never does: retry, queue or
judge; what the server answered is in the results. Loop thread only.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

from mta.clock import Clock
from mta.errors import UnavailableError
from mta.services.dialogue import Dialogue
from mta_ext.reply import Reply
from mta_ext.smtp_client import SmtpClientSession


class Letter(NamedTuple):
    """What is handed over. ``content`` has CRLF line ends."""

    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes


class Sent(NamedTuple):
    """One transaction: the reply that decided it, monotonic seconds when MAIL was ready to go, seconds it took."""

    reply: Reply
    began: float
    took: float


class Source:
    """``results`` has one entry per transaction that ended, in the order of the replies."""

    def __init__(self, ehlo_name: str, clock: Clock, *, dialogue: Dialogue | None = None) -> None:
        self.results: list[Sent] = []
        self.ehlo_name = ehlo_name
        self.clock = clock
        self.dialogue = dialogue
        self._letters: Iterator[Letter] = iter(())
        self._left = 0

    async def run(self, host: str, port: int, letters: Iterable[Letter], connections: int = 1) -> list[Sent]:
        """Hands over every letter. Raises UnavailableError when a connection cannot be opened or ends in trouble."""
        loop = asyncio.get_running_loop()
        self._letters = iter(letters)
        self._left = connections
        self._done: asyncio.Future[None] = loop.create_future()
        opened: list[SourceConnection] = []
        try:
            for _ in range(connections):
                _, connection = await loop.create_connection(lambda: SourceConnection(self), host, port)
                opened.append(connection)
            await self._done
        except OSError as e:
            raise UnavailableError(f"{host}:{port}: {e.strerror or e}") from e
        finally:
            for connection in opened:
                connection.abort()
            if self._done.done() and not self._done.cancelled():
                self._done.exception()  # when connecting failed nobody else asks for it
        return self.results

    def next(self) -> Letter | None:
        return next(self._letters, None)

    def ended(self, reason: str | None) -> None:
        """A connection is over; ``reason`` when that was not its own wish."""
        self._left -= 1
        if self._done.done():
            return
        if reason is not None:
            self._done.set_exception(UnavailableError(reason))
        elif not self._left:
            self._done.set_result(None)


class SourceConnection(asyncio.Protocol):
    """One connection with its session (SmtpClientHandler): the next message when the last one has its reply."""

    __slots__ = ("_began", "_dialogue", "_filling", "_over", "_session", "_source", "_transport")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._session = SmtpClientSession(self, source.ehlo_name)
        self._dialogue = source.dialogue
        self._filling = False
        self._over = False
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        if self._dialogue is not None:
            self._dialogue.server(data)
        self._session.feed(data)
        self._pump()

    def pause_writing(self) -> None:
        self._filling = True

    def resume_writing(self) -> None:
        self._filling = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.eof()
        self._end(None)

    def abort(self) -> None:
        self._over = True
        self._transport.abort()

    def _pump(self) -> None:
        session = self._session
        while session.has_output and not self._filling:
            octets = session.take_output()
            if self._dialogue is not None:
                self._dialogue.client(octets)
            self._transport.write(octets)
        if session.closing:
            self._transport.close()

    def _end(self, reason: str | None) -> None:
        if not self._over:
            self._over = True
            self._source.ended(reason)

    # SmtpClientHandler.

    def on_ready(self) -> None:
        self._next()

    def on_room(self) -> None:
        if not self._session.outstanding:
            self._next()

    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        self._source.results.append(Sent(reply, self._began, self._source.clock.monotonic() - self._began))

    def on_trouble(self, stage: str, reply: Reply | None, reason: str, transactions: list[tuple[object, bool]]) -> None:
        self._end(f"at {stage}: {reply if reply is not None else reason}")

    def _next(self) -> None:
        letter = self._source.next()
        if letter is None:
            self._session.quit()
            return
        self._began = self._source.clock.monotonic()
        content = letter.content
        self._session.deliver(
            None,
            letter.reverse_path,
            letter.recipients,
            content,
            size=len(content),
            dotted=content.startswith(b".") or b"\n." in content,
            eight_bit=not content.isascii(),
        )
