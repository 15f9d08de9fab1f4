"""What clients may ask outside of a transaction: VRFY, EXPN (RFC 5321 §3.5) and ETRN (RFC 1985).

Owns: the answers. Never does: decide who may ask; the reception has. Loop thread only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from mta.errors import MtaError
from mta.services.idn import in_ascii
from mta.services.local import UNREADABLE, LocalMail

_log = logging.getLogger("mta.reception")

UNKNOWN: Final = b"550 5.1.1 no such recipient here\r\n"
NO_LIST: Final = b"550 5.1.1 no such list here\r\n"
QUEUING: Final = b"250 2.0.0 queuing started\r\n"
NOTHING_WAITS: Final = b"251 2.0.0 no messages waiting\r\n"
UNABLE: Final = b"458 4.3.0 cannot start the queue now\r\n"
BUSY: Final = b"458 4.3.2 too many are at it, try again later\r\n"
#: Lines of an answer to EXPN; a longer list is cut.
EXPAND_LIMIT: Final = 200
#: Flushes by ETRN that may be under way: each reads the queue.
FLUSH_LIMIT: Final = 4

#: ``await flush(domain)``: how many messages for a domain ("@domain": and those below it) are tried now. Raises
#: MtaError.
Flush = Callable[[str], Awaitable[int]]


class Inquiries:
    """One per worker. ``flush`` is set by whoever has the queue; without it ETRN cannot start anything."""

    def __init__(self, local: LocalMail) -> None:
        self._local = local
        self.on_flush: Flush | None = None
        self._flushing: set[asyncio.Task[None]] = set()

    def verify(self, text: str) -> bytes | None:
        """None: nothing is known of such an address, and the session says so (252)."""
        address = _address(text)
        if address.rpartition("@")[2].lower() not in self._local.domains:
            return None
        return self._local.refusal(address) or f"250 2.1.5 <{address}>\r\n".encode()

    def expand(self, text: str) -> bytes:
        """A list or an alias as those it names, one step deep."""
        address = _address(text)
        try:
            targets = self._local.members(address)
        except MtaError as error:
            _log.error("EXPN: %s", error)
            return UNREADABLE
        if not targets:
            return NO_LIST
        shown = targets[:EXPAND_LIMIT]
        return b"".join(
            b"250%b2.1.5 <%b>\r\n" % (b" " if n == len(shown) else b"-", target.encode())
            for n, target in enumerate(shown, 1)
        )

    def flush(self, text: str, answer: Callable[[bytes | None], None]) -> None:
        """``answer`` comes later on the loop: 250, 251, 458."""
        if len(self._flushing) >= FLUSH_LIMIT:
            asyncio.get_running_loop().call_soon(answer, BUSY)
            return
        task = asyncio.get_running_loop().create_task(self._flush(text.lower(), answer))
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)

    async def _flush(self, text: str, answer: Callable[[bytes | None], None]) -> None:
        reply = UNABLE
        try:
            if self.on_flush is not None and not text.startswith("#"):
                reply = QUEUING if await self.on_flush(text) else NOTHING_WAITS
        except MtaError as error:
            _log.error("ETRN: %s", error)
        finally:
            answer(reply)


def _address(text: str) -> str:
    """``Name <address>`` or the address alone."""
    text = text.strip()
    return in_ascii(text.rpartition("<")[2].rstrip(">") if text.endswith(">") else text)
