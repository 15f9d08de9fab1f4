"""What the shells of incoming connections have in common, whatever they speak.

Owns: the transport, whether it is read from, its handshake, and how it is left. Never does: feed a session, or keep the
deadline of a phase; ``mta.net.server`` and ``mta.net.ldap`` do. Loop thread only.
"""

import asyncio
import math
import socket
from abc import ABC, abstractmethod

from mta.net.deadlines import Wheel
from mta.net.handshake import accepted, taken_from
from mta.net.tls import Tls

#: Seconds that a connection may take to close after our last word. Meanwhile what still comes is thrown away: a socket
#: closed over unread input is reset, and the last word lost with it.
LINGER = 5.0


def peer_of(transport: asyncio.BaseTransport) -> tuple[str, int]:
    """Address and port of the other end; "unix" on a unix socket."""
    peer = transport.get_extra_info("peername")
    return (peer[0], peer[1]) if isinstance(peer, tuple) else ("unix", 0)


class Shell(asyncio.Protocol, ABC):
    """``tls``: what TLS is made with, when the session asks for it or, implicit, before its first word. ``leaving``:
    our last word is said. ``gone``: the connection is no more, or never was any of ours."""

    __slots__ = ("_handshake", "_held", "_tls", "_wheel", "bucket", "gone", "leaving", "transport")

    def __init__(self, wheel: Wheel, tls: Tls | None) -> None:
        self._wheel = wheel
        self._tls = tls
        self._handshake: asyncio.Task[None] | None = None
        self._held = False
        self.transport: asyncio.Transport
        self.bucket = 0
        self.gone = False
        self.leaving = False

    @property
    def _implicit(self) -> bool:
        return self._tls is not None and self._tls.implicit

    def _turn_away(self, word: bytes) -> None:
        """Who is not let in hears it, unless TLS would have to come first."""
        self.gone = True
        if not self._implicit:
            self.transport.write(word)
        self.transport.close()

    def _hold(self, *, held: bool) -> None:
        """Reads from the client, or does not."""
        if held != self._held:
            self._held = held
            if held:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # The handshake: the one Task of a connection, for as long as it takes.

    def _secure(self, *, first: bool = False) -> None:
        """What comes from now on is the handshake, and not for the session. ``first``: implicit TLS, from inside
        ``connection_made``."""
        taken = taken_from(self.transport) if first else None
        if not first:
            self._hold(held=True)
            self._held = False  # as the transport under TLS has it
        self._handshake = asyncio.get_running_loop().create_task(self._shake_hands(taken))

    async def _shake_hands(self, taken: socket.socket | None) -> None:
        """One that comes to nothing is told from here: the loop tells nobody."""
        assert self._tls is not None
        secured = None
        try:
            secured = await accepted(self.transport, taken, self._tls, min(self._tls.handshake, self._patience()))
        except OSError as error:  # of TLS too: a client that cannot is a client that goes
            self._handshake_failed(error)
        finally:
            self._handshake = None
            if secured is None or self.leaving:
                (self.transport if secured is None else secured.transport).abort()
                self.connection_lost(None)
        if secured is not None and not self.gone:
            self.transport = secured.transport
            self.transport.set_protocol(self)
            self._secured(secured.early)

    def _patience(self) -> float:
        """Seconds that a handshake may take beside its own limit."""
        return math.inf

    def _handshake_failed(self, error: OSError) -> None:
        """Nobody's bug; who wants to tell it does."""

    @abstractmethod
    def _secured(self, early: bytes) -> None:
        """There is TLS; ``early`` has come through it already."""

    # The end.

    def _cut_handshake(self) -> bool:
        """Who is in a handshake hears no last word. False: there is none under way."""
        if self._handshake is None:
            return False
        self.leaving = True
        asyncio.get_running_loop().call_soon(self._handshake.cancel)  # by then its first step is made
        return True

    def _leave(self, *, linger: bool) -> None:
        """The last word is said. The transport flushes it; a peer that never reads, or never closes, is cut off."""
        self.leaving = True
        self._wheel.watch(self, asyncio.get_running_loop().time() + LINGER)
        if not linger or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self._hold(held=False)

    @abstractmethod
    def check(self, now: float) -> float:
        """See ``mta.net.deadlines``."""
