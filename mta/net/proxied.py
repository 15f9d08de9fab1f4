"""Connections through a proxy: the PROXY header is read off the socket before anybody else hears of the connection.

Owns: whose headers are believed, the deadline and the number of those that have not come yet. Never does: read an octet
beyond the header, so what follows may be a TLS handshake as well as a greeting. Loop thread only.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Network, IPv6Network

from mta.net.handshake import taken_from
from mta.net.server import ServerConnection
from mta.net.shell import peer_of
from mta.policy.proxy import V2_LIMIT, Malformed, Proxied, read_header
from mta.policy.relay import within

_log = logging.getLogger("mta.proxy")

#: Seconds for the whole header: a proxy sends it at once.
HEADER_DEADLINE = 5.0
#: Connections of one listener whose header has not come yet; more are closed.
WAITING_LIMIT = 1_024
#: Seconds between two lines in the log about connections that were closed for their header.
LOG_EVERY = 1.0

#: Makes the shell of a connection whose client is at this address and port; None: at the socket's.
Make = Callable[[tuple[str, int] | None], ServerConnection]


class Proxies:
    """``door`` makes the protocol of each new connection of a listener."""

    def __init__(
        self, networks: Iterable[IPv4Network | IPv6Network], make: Make, deadline: float = HEADER_DEADLINE
    ) -> None:
        self._networks = tuple(networks)
        self._make = make
        self._deadline = deadline
        self._waiting: set[asyncio.Task[bool]] = set()
        self._quiet_until = 0.0
        self._unsaid = 0

    def door(self) -> "asyncio.Protocol":
        return _Door(self)

    def close(self) -> None:
        """Who has not said a header by now is cut off."""
        for task in self._waiting:
            task.cancel()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def came(self, transport: asyncio.Transport) -> None:
        address = peer_of(transport)[0]
        if address != "unix" and not within(address, self._networks):
            self._refuse(transport, address, "not one of proxy_networks")
        elif len(self._waiting) >= WAITING_LIMIT:
            self._refuse(transport, address, f"more than {WAITING_LIMIT} connections wait for their header")
        else:
            taken = taken_from(transport)
            task = asyncio.get_running_loop().create_task(self._admit(taken, address))
            self._waiting.add(task)
            task.add_done_callback(partial(self._done, taken))

    def _done(self, taken: socket.socket, task: "asyncio.Task[bool]") -> None:
        self._waiting.discard(task)
        if task.cancelled() or not task.result():
            taken.close()

    async def _admit(self, taken: socket.socket, proxy: str) -> bool:
        """The connection begins anew, behind its header. False: it does not, and is to be closed."""
        try:
            async with asyncio.timeout(self._deadline):
                header = await _header(taken)
            client = (header.address, header.port) if header.address else None
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self._make(client), taken)
        except TimeoutError:
            self._complain(proxy, f"no PROXY header within {self._deadline:g} s")
        except Malformed as error:
            self._complain(proxy, str(error))
        except OSError:  # it is gone
            return False
        else:
            return True
        return False

    def _refuse(self, transport: asyncio.Transport, address: str, why: str) -> None:
        self._complain(address, why)
        transport.abort()

    def _complain(self, address: str, why: str) -> None:
        """A line a second at most: who floods us must not fill the disk."""
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more were not told)" if self._unsaid else ""
        self._quiet_until, self._unsaid = now + LOG_EVERY, 0
        _log.warning("PROXY: a connection from %s was closed: %s%s", address, why, more)


class _Door(asyncio.Protocol):
    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._proxies.came(transport)  # type: ignore[arg-type]  # uvloop's is none by inheritance


async def _header(taken: socket.socket) -> Proxied:
    """Looks first and takes then: of what belongs to a header that is not whole yet all, else up to its end. Raises
    Malformed, OSError."""
    data = b""
    while True:
        await _readable(taken)
        try:
            peeked = taken.recv(V2_LIMIT, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not peeked:
            raise Malformed("closed before its PROXY header")
        header = read_header(data + peeked)
        if header is not None:
            taken.recv(header.size - len(data))
            return header
        data += taken.recv(len(peeked))


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock.fileno(), _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
