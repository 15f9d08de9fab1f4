"""A wire to a name server that can be read: passes every datagram on and notes questions with their answers.

Owns: a UDP socket and, per question, one to the name server. Never does: change, answer, cache or ask anything itself,
or speak TCP: an answer that is too large for a datagram is for somebody else. Loop thread only.
"""

import asyncio
from typing import Any, Final, NamedTuple

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from mta.clock import Clock
from mta.errors import UnavailableError

#: Seconds until a name server's answer is not waited for any more.
PATIENCE: Final = 10.0
#: Questions that are on their way at once; more are dropped, as the net would drop them.
MAX_OPEN: Final = 1000


class Exchange(NamedTuple):
    """A question, and the record data of its answer in the order of the name server. ``name``: lower case, no final
    dot. ``rcode``: as in ``NOERROR``. ``seconds``: from the question to the answer."""

    name: str
    kind: str
    rcode: str
    answer: tuple[str, ...]
    seconds: float


class DnsTap:
    """Between ``start`` and ``stop`` each datagram goes on to ``target``, and what was asked is in ``exchanges``."""

    def __init__(self, target: tuple[str, int], clock: Clock) -> None:
        self.exchanges: list[Exchange] = []
        self._target = target
        self._clock = clock
        self._transport: asyncio.DatagramTransport | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        """Raises UnavailableError when the address is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: _Asked(self), (host, port))
        except OSError as e:
            raise UnavailableError(f"{host}:{port}: cannot listen: {e.strerror or e}") from e

    async def stop(self) -> None:
        """Idempotent; questions that are on their way stay without an answer."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def asked(self, question: bytes, client: Any) -> None:
        """A datagram from a client."""
        if len(self._open) < MAX_OPEN:
            task = asyncio.get_running_loop().create_task(self._pass_on(question, client))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _pass_on(self, question: bytes, client: Any) -> None:
        loop = asyncio.get_running_loop()
        began = self._clock.monotonic()
        answered = loop.create_future()
        try:
            way, _ = await loop.create_datagram_endpoint(lambda: _Answered(answered), remote_addr=self._target)
        except OSError:
            return  # no way to the name server: the client hears nothing, as it would without us
        try:
            way.sendto(question)
            answer = await asyncio.wait_for(answered, PATIENCE)
        except (TimeoutError, OSError):
            return
        finally:
            way.close()
        exchange = read(answer, self._clock.monotonic() - began)
        if exchange is not None:
            self.exchanges.append(exchange)
        if self._transport is not None:
            self._transport.sendto(answer, client)


def read(answer: bytes, seconds: float) -> Exchange | None:
    """What an answer says; None when it is no DNS message with one question."""
    try:
        message = dns.message.from_wire(answer)
    except dns.exception.DNSException:
        return None
    if len(message.question) != 1:
        return None
    asked = message.question[0]
    return Exchange(
        asked.name.to_text(omit_final_dot=True).lower(),
        dns.rdatatype.to_text(asked.rdtype),
        dns.rcode.to_text(message.rcode()),
        tuple(data.to_text().rstrip(".") for rrset in message.answer for data in rrset),
        seconds,
    )


class _Asked(asyncio.DatagramProtocol):
    """Our own socket; an unreachable client is not our trouble."""

    def __init__(self, tap: DnsTap) -> None:
        self._tap = tap

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._tap.asked(data, addr)


class _Answered(asyncio.DatagramProtocol):
    """A socket to the name server; the first word decides."""

    def __init__(self, answered: "asyncio.Future[bytes]") -> None:
        self._answered = answered

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)
