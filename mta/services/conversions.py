"""Content for hosts that take less than we do: converted here, large content in a thread.

Owns: when and where ``mta.policy.seven_bit`` runs, and what came of it until it is taken. Never does: decide that it is
needed (``mta.policy.offer``). Loop thread only.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from mta.model.message import Message
from mta.model.spoolid import format_id
from mta.policy.seven_bit import Unconvertible, seven_bit
from mta.policy.trouble import Kind, Problem
from mta.queue.entry import Entry
from mta.routing.destination import Host

_log = logging.getLogger("mta.delivery")

#: Octets up to which a conversion is made at once: 2 or 3 ms of the loop.
AT_ONCE = 65_536


class Conversions:
    """Of one site. ``done`` is told of an entry whose large content is ready, or why none is, for a host."""

    def __init__(self, spawn: Callable[[Any], None], done: Callable[[Entry, Host, Problem | None], None]) -> None:
        self._spawn = spawn
        self._done = done
        # An entry that goes another way takes what was made for it with it.
        self._ready: WeakKeyDictionary[Entry, bytes] = WeakKeyDictionary()

    def take(self, entry: Entry, message: Message, host: Host) -> bytes | None:
        """The converted content. None: ``done`` will be called, or was called already."""
        ready = self._ready.pop(entry, None)
        if ready is not None:
            return ready
        if message.size > AT_ONCE:
            entry.in_flight = True
            self._spawn(self._convert(entry, message, host))
            return None
        try:
            return seven_bit(whole(entry, message))
        except Unconvertible as error:
            self._done(entry, host, problem_of(error))
            return None

    async def _convert(self, entry: Entry, message: Message, host: Host) -> None:
        problem = None
        try:
            # Read here, as the spool is the loop's; what takes long is the conversion.
            self._ready[entry] = await asyncio.to_thread(seven_bit, whole(entry, message))
        except Unconvertible as error:
            problem = problem_of(error)
        except (OSError, MemoryError) as error:
            problem = Problem(Kind.LOST, status="4.3.0", text=f"the content could not be read: {error}")
        except Exception as error:
            # A bug: the message is in no line now, and would wait for a restart if nobody heard of it.
            _log.error("conversion of message %s: %r", format_id(entry.spool_id), error, exc_info=error)
            problem = Problem(Kind.LOST, status="4.3.0", text=f"internal error: {error}")
        finally:
            entry.in_flight = False
        self._done(entry, host, problem)


def whole(entry: Entry, message: Message) -> bytes:
    """All of the content, in memory."""
    return entry.content if entry.content is not None else b"".join(entry.home.spool.content(message))


def problem_of(error: Unconvertible) -> Problem:
    return Problem(Kind.LACKING, status=error.status, text=f"the remote takes 7 bits only: {error.text}")
