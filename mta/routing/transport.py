"""Asks name servers: our own UDP transport on asyncio, with TCP for what does not fit.

Owns: the sockets. A small pool of connected UDP sockets per name server, with ports that the kernel draws at random
and that are left after some hundred questions; random ids; the question checked in every answer (RFC 5452 §9); EDNS
with 1232 octets; several tries over all servers, in which a late answer to an early try still counts.
Octets that do not belong to a question, or that do not parse, are dropped and the wait goes on.
Never does: cache, follow a CNAME, or decide what an answer means. Loop thread only.

"""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from random import Random
from typing import Final

import dns.flags
import dns.message
import dns.name
import dns.rcode
from dns.rdatatype import RdataType

from mta.routing.answers import DnsTrouble, Reason
from mta.routing.nameservers import NameServer

#: Sockets per name server: enough that ports are hard to guess, few enough for any limit on descriptors.
SOCKETS_PER_SERVER: Final = 4
#: Questions until a socket is replaced by one with another port.
QUESTIONS_PER_SOCKET: Final = 500
#: Octets of an answer by UDP that no path fragments (DNS flag day 2020).
UDP_PAYLOAD: Final = 1232
#: Questions under way at once; the others wait. Ids are 16 bits a socket, so that they stay hard to guess.
MAX_UNDER_WAY: Final = 2000
#: Questions in their first try at once: as many datagrams as a server's receive buffer of the usual 208 KiB holds.
#: A question that is not answered by then gives its place to others, so that dead domains do not hold up the rest.
MAX_YOUNG: Final = 200
#: TCP connections at once.
MAX_TCP: Final = 16
#: Datagrams read at one wake-up before others get their turn.
MAX_READS: Final = 64
MIN_TRIES: Final = 3
MAX_TRIES: Final = 6
_HEADER: Final = 12


class Signal(Enum):
    """What can come instead of an answer."""

    TRUNCATED = "does not fit into a datagram"
    UNREACHABLE = "port or host unreachable"


Outcome = dns.message.Message | Signal


class Question:
    """A query as octets without its id, and the test whether other octets answer it."""

    def __init__(self, name: str, rdtype: RdataType) -> None:
        owner = dns.name.from_text(name)
        wire: bytes = dns.message.make_query(owner, rdtype, use_edns=0, payload=UDP_PAYLOAD).to_wire()
        self.name = name
        self._tail = wire[2:]
        end = _HEADER + len(owner.to_digestable())
        self._asked = wire[_HEADER:end].lower(), wire[end : end + 4]

    def wire(self, query_id: int) -> bytes:
        return query_id.to_bytes(2, "big") + self._tail

    def is_answered_by(self, data: bytes) -> bool:
        """True when ``data`` is a reply (QR, opcode QUERY) to exactly this question. The caller checks the id."""
        name, kind = self._asked
        end = _HEADER + len(name)
        return (
            len(data) >= end + 4
            and data[2] & 0xF8 == 0x80
            and data[4:6] == b"\0\1"
            and data[_HEADER:end].lower() == name
            and data[end : end + 4] == kind
        )


def read_message(data: bytes) -> Outcome | None:
    """The parsed message, TRUNCATED when its TC bit is set, None when it does not parse."""
    if data[2] & 0x02:
        return Signal.TRUNCATED
    try:
        return dns.message.from_wire(data)
    except Exception:
        return None  # hostile octets may break the parser of any record type; all of it means "no answer"


class Endpoint:
    """One connected UDP socket and the questions that wait for an answer through it."""

    def __init__(self, server: NameServer, random: Random, dropped: Counter[str]) -> None:
        """Raises OSError when there is no route to the server."""
        flags = socket.AI_NUMERICHOST
        family, kind, proto, _, address = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM, flags=flags)[0]
        self._loop = asyncio.get_running_loop()
        self._random = random
        self._dropped = dropped
        self._waiting: dict[int, tuple[Question, asyncio.Future[Outcome]]] = {}
        self._retired = False
        self.asked = 0
        self._socket = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, proto)
        try:
            self._socket.connect(address)  # from now on the kernel drops what others send
            self._loop.add_reader(self._socket.fileno(), self._readable)
        except OSError:
            self._socket.close()
            raise

    def ask(self, question: Question) -> tuple[int, asyncio.Future[Outcome]]:
        """Sends the question under a fresh random id. The future gets a message or a Signal, never an exception."""
        query_id = self._random.getrandbits(16)
        while query_id in self._waiting:
            query_id = self._random.getrandbits(16)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting[query_id] = (question, future)
        self.asked += 1
        if not self._send(question.wire(query_id)):
            future.set_result(Signal.UNREACHABLE)
        return query_id, future

    def _send(self, wire: bytes) -> bool:
        for _ in range(2):
            try:
                self._socket.send(wire)
                return True
            except BlockingIOError:
                return True  # lost like any other datagram: the next try sends it again
            except OSError:
                continue  # the first may be left over from an earlier datagram
        return False

    @property
    def under_way(self) -> int:
        """Questions that wait for an answer."""
        return len(self._waiting)

    def forget(self, query_id: int) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(query_id, None)
        if self._retired and not self._waiting:
            self.close()

    def retire(self) -> None:
        """No new questions; the socket closes after the last answer."""
        self._retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Idempotent. Who still waits gets UNREACHABLE."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._settle_all(Signal.UNREACHABLE)

    def _readable(self) -> None:
        for _ in range(MAX_READS):
            try:
                data = self._socket.recv(65_535)
            except BlockingIOError:
                return
            except OSError:  # an ICMP message: nobody listens there
                self._settle_all(Signal.UNREACHABLE)
                return
            self._received(data)

    def _received(self, data: bytes) -> None:
        waiting = self._waiting.get(int.from_bytes(data[:2], "big"))
        if waiting is None or not waiting[0].is_answered_by(data):
            self._dropped["unasked"] += 1
            return
        outcome = read_message(data)
        if outcome is None:
            self._dropped["malformed"] += 1
        elif not waiting[1].done():
            waiting[1].set_result(outcome)

    def _settle_all(self, signal: Signal) -> None:
        for _, future in self._waiting.values():
            if not future.done():
                future.set_result(signal)


class Transport:
    """The name servers, and how they are asked. ``timeout``: seconds for a look-up with all its tries."""

    def __init__(self, servers: Sequence[NameServer], timeout: float, random: Random) -> None:
        self.servers = tuple(servers)
        self.timeout = timeout
        #: octets that came in and were no answer: ``unasked`` (nobody waits, or another question), ``malformed``
        self.dropped: Counter[str] = Counter()
        self._random = random
        self._preferred = 0
        self._closed = False
        self._pools: dict[NameServer, list[Endpoint]] = {server: [] for server in self.servers}
        self._room = asyncio.Semaphore(MAX_UNDER_WAY)
        self.young = asyncio.Semaphore(MAX_YOUNG)
        self._tcp_room = asyncio.Semaphore(MAX_TCP)

    @property
    def under_way(self) -> int:
        """Tries that wait for an answer."""
        return sum(endpoint.under_way for pool in self._pools.values() for endpoint in pool)

    async def query(self, name: str, rdtype: RdataType) -> dns.message.Message:
        """The answer of the first server that has one: rcode NOERROR or NXDOMAIN. Raises DnsTrouble."""
        async with self._room:
            exchange = _Exchange(self, Question(name, rdtype))
            try:
                return await exchange.run()
            finally:
                exchange.close()

    def close(self) -> None:
        """Closes every socket. Who still waits gets DnsTrouble. Idempotent."""
        self._closed = True
        for pool in self._pools.values():
            while pool:
                pool.pop().close()

    def endpoint(self, server: NameServer) -> Endpoint:
        """A socket to the server, chosen at random from a pool that fills as it is used. Raises OSError."""
        if self._closed:
            raise OSError("the transport is closed")
        pool = self._pools[server]
        if len(pool) < SOCKETS_PER_SERVER:
            endpoint = Endpoint(server, self._random, self.dropped)
            pool.append(endpoint)
            return endpoint
        endpoint = self._random.choice(pool)
        if endpoint.asked >= QUESTIONS_PER_SOCKET:
            pool.remove(endpoint)
            endpoint.retire()
            return self.endpoint(server)
        return endpoint

    def plan(self) -> Iterator[tuple[NameServer, float]]:
        """(server, seconds of patience) per try. Patience grows, and the sum is the timeout."""
        tries = min(max(MIN_TRIES, 2 * len(self.servers)), MAX_TRIES)
        unit = self.timeout / (tries * (tries + 1) / 2)
        for i in range(tries):
            yield self.servers[(self._preferred + i) % len(self.servers)], unit * (i + 1)

    def prefer(self, server: NameServer) -> None:
        """The server that answered is asked first from now on."""
        self._preferred = self.servers.index(server)

    async def over_tcp(self, server: NameServer, question: Question) -> Outcome | None:
        """The whole answer (RFC 7766); None when the octets are no answer. Raises OSError, EOFError."""
        async with self._tcp_room:
            reader, writer = await asyncio.open_connection(*server)
            try:
                query_id = self._random.getrandbits(16)
                wire = question.wire(query_id)
                writer.write(len(wire).to_bytes(2, "big") + wire)
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            finally:
                writer.transport.abort()  # all that was wanted is here: no lingering
        if data[:2] != query_id.to_bytes(2, "big") or not question.is_answered_by(data):
            return None
        return read_message(data)


class _Exchange:
    """One question with all its tries. Every try stays open until the end, so that a late answer is still one."""

    def __init__(self, transport: Transport, question: Question) -> None:
        self._transport = transport
        self._question = question
        self._loop = asyncio.get_running_loop()
        self._give_up = 0.0
        self._tries: dict[asyncio.Future[Outcome], tuple[NameServer, Endpoint, int]] = {}
        self._troubled: dict[NameServer, Reason] = {}

    async def run(self) -> dns.message.Message:
        plan = self._transport.plan()
        async with self._transport.young:
            self._give_up = self._loop.time() + self._transport.timeout
            message = await self._try(*next(plan))
        for server, patience in plan:
            if message is not None:
                break
            message = await self._try(server, patience)
        if message is None:
            raise self._trouble()
        return message

    def close(self) -> None:
        for future, (_, endpoint, query_id) in self._tries.items():
            future.cancel()
            endpoint.forget(query_id)

    async def _try(self, server: NameServer, patience: float) -> dns.message.Message | None:
        """None when nobody answered in time, or the server is in trouble; then the others are next."""
        if server in self._troubled:
            return None
        try:
            endpoint = self._transport.endpoint(server)
        except OSError:
            self._troubled[server] = Reason.UNREACHABLE
            return None
        query_id, future = endpoint.ask(self._question)
        self._tries[future] = (server, endpoint, query_id)
        return await self._first_answer(patience)

    async def _first_answer(self, patience: float) -> dns.message.Message | None:
        """None when patience ends, or when every server that was asked is in trouble."""
        until = self._loop.time() + patience
        while self._tries and (left := until - self._loop.time()) > 0:
            settled, _ = await asyncio.wait(self._tries, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for future in settled:
                server, endpoint, query_id = self._tries.pop(future)
                endpoint.forget(query_id)
                message = await self._judge(server, future.result())
                if message is not None:
                    return message
        return None

    async def _judge(self, server: NameServer, outcome: Outcome | None) -> dns.message.Message | None:
        if outcome is Signal.TRUNCATED:
            outcome = await self._whole_answer(server)
        if isinstance(outcome, dns.message.Message):
            if outcome.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                self._transport.prefer(server)
                return outcome
            refused = outcome.rcode() == dns.rcode.REFUSED
            self._troubled[server] = Reason.REFUSED if refused else Reason.SERVFAIL
        else:
            self._troubled[server] = Reason.UNREACHABLE
        return None

    async def _whole_answer(self, server: NameServer) -> Outcome | None:
        try:
            async with asyncio.timeout_at(self._give_up):
                return await self._transport.over_tcp(server, self._question)
        except (OSError, EOFError):  # TimeoutError is an OSError
            return None

    def _trouble(self) -> DnsTrouble:
        """What a server said counts for more than silence, and silence for more than an unreachable port."""
        said = {reason: server for server, reason in self._troubled.items()}
        for reason in (Reason.SERVFAIL, Reason.REFUSED):
            if reason in said:
                return DnsTrouble(reason, self._question.name, str(said[reason]))
        silent = [server for server in self._transport.servers if server not in self._troubled]
        if silent:
            return DnsTrouble(Reason.TIMEOUT, self._question.name, str(silent[0]))
        return DnsTrouble(Reason.UNREACHABLE, self._question.name, str(said[Reason.UNREACHABLE]))
