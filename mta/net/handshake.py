"""Handshakes of TLS: on a connection that has begun in the clear, or before its first word, and on either side.

Owns: the place of a connection's protocol while its handshake lasts, and what comes through TLS before anybody hears
that it is there. Never does: choose a context (``mta.net.tls``, ``mta.net.tls_client``), or say what follows when none
comes about: the loop tells nobody of an end in the middle of a handshake, so whoever waits here does. Loop thread only.
"""

import asyncio
import os
import socket
import ssl
from typing import NamedTuple

from mta.net.tls import Tls


class Secured(NamedTuple):
    """What a handshake came to. ``early``: octets that have come through TLS already, for the session."""

    transport: asyncio.Transport
    early: bytes


class _Door(asyncio.Protocol):
    """Stands for a connection until its handshake is done. Octets may come through TLS before the Task that waits for
    the handshake hears of it (asyncio; uvloop takes care of the order)."""

    def __init__(self) -> None:
        self.early: list[bytes] = []
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def taken_from(transport: asyncio.Transport) -> socket.socket:
    """The socket of a connection that was just made, before anything is read from it; the transport is gone.

    Implicit TLS begins so, because ``start_tls`` is safe only while reading is paused, and a loop may start to read
    when ``connection_made`` has returned, whatever was said in there. A listener with ``ssl=`` would tell us of a
    client only after its handshake, too late for the limits."""
    taken = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    taken.setblocking(False)
    transport.set_protocol(asyncio.Protocol())
    transport.abort()
    return taken


async def accepted(transport: asyncio.Transport, taken: socket.socket | None, tls: Tls, timeout: float) -> Secured:
    """The server's side. ``taken``: where TLS is implicit, else None, and reading is paused. ``timeout``: seconds.
    Raises OSError, of TLS too."""
    loop, door, context = asyncio.get_running_loop(), _Door(), tls.context
    if taken is None:
        made = await loop.start_tls(transport, door, context, server_side=True, ssl_handshake_timeout=timeout)
        return _secured(made, door)
    made, _ = await loop.connect_accepted_socket(lambda: door, taken, ssl=context, ssl_handshake_timeout=timeout)
    return _secured(made, door)


async def begun(transport: asyncio.Transport, context: ssl.SSLContext, name: str, timeout: float) -> Secured:
    """The client's side, with reading paused. ``name``: the host's, "" where it has none. Raises OSError, of TLS too,
    and ssl.CertificateError."""
    loop, door = asyncio.get_running_loop(), _Door()
    made = await loop.start_tls(transport, door, context, server_hostname=name, ssl_handshake_timeout=timeout)
    return _secured(made, door)


def _secured(transport: asyncio.Transport | None, door: _Door) -> Secured:
    if transport is None or door.lost:
        raise ConnectionResetError("the connection was lost")
    return Secured(transport, b"".join(door.early))
