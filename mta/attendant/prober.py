"""Asks the services how they are: a heartbeat shows that a loop runs, not that the service can do its work.

Owns: the rounds of probes, their deadlines and how many failures in a row mean that a service is ill. Never does:
restart anything; it tells ``on_ill``. A probe has two parts: the verb ``probe`` over the control channel, by which a
service exercises what it cannot do without, and, where a single process listens, a connection to each of its listeners
that waits for the greeting. Workers share their ports, so that a connection could not tell who is ill, and every one
would be counted as a client's: they look at their listeners themselves; mail that really goes through is the canary's.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from random import Random

from mta.attendant.listeners import Place
from mta.attendant.service import Service
from mta.errors import MtaError

#: Seconds between two probes of a service, give or take a fifth, so that they do not come all at once.
PROBE_EVERY = 10.0
JITTER = 0.2
#: Seconds that a service has for the answer, and each listener for its greeting.
PROBE_LIMIT = 5.0
#: Failures in a row after which a service is ill.
ILL_AFTER = 3
#: Protocols in which the server speaks first, and in clear.
GREETING = ("lmtp", "pop3")
#: Octets of a greeting.
GREETING_LIMIT = 4096


class Prober:
    """Probes of all services, each in a task of its own. ``places(service)``: (protocol, where) of listeners whose
    greeting tells about this service alone. Loop thread only."""

    def __init__(
        self,
        places: Callable[[Service], Sequence[tuple[str, Place]]],
        on_ill: Callable[[Service, str], None],
        random: Random,
    ) -> None:
        #: Failed probes since the start, by service.
        self.failures: dict[str, int] = {}
        self._places = places
        self._on_ill = on_ill
        self._random = random

    async def watch(self, service: Service) -> None:
        """For the attendant's whole life."""
        self.failures[service.name] = in_a_row = 0
        while True:
            await asyncio.sleep(PROBE_EVERY * self._random.uniform(1 - JITTER, 1 + JITTER))
            pid = service.pid
            if service.state != "running":
                in_a_row = 0
                continue
            found = await self.probe(service)
            if service.pid != pid or service.state != "running":
                in_a_row = 0  # it has ended or was told to meanwhile
            elif not found:
                in_a_row, service.reason = 0, ""
            else:
                in_a_row += 1
                self.failures[service.name] += 1
                service.reason = f"{found} ({in_a_row} probes in a row have failed)"
                if in_a_row >= ILL_AFTER:
                    in_a_row = 0
                    self._on_ill(service, service.reason)

    async def probe(self, service: Service) -> str:
        """What is wrong with a service now; "" when nothing is."""
        if service.channel is None:
            return "it has no control channel"
        try:
            async with asyncio.timeout(PROBE_LIMIT):
                async for _ in service.channel.request("probe", {}, 0):
                    pass
        except TimeoutError:
            return f"it has not answered within {PROBE_LIMIT:g} s"
        except MtaError as e:
            return str(e)
        return await self._greetings(self._places(service))

    async def _greetings(self, places: Iterable[tuple[str, Place]]) -> str:
        for protocol, place in places:
            where = place.path or f"{place.host}:{place.port}"
            try:
                async with asyncio.timeout(PROBE_LIMIT):
                    greeting = await greeting_of(place)
            except TimeoutError:
                return f"{protocol} at {where}: no greeting within {PROBE_LIMIT:g} s"
            except OSError as e:
                return f"{protocol} at {where}: {e.strerror or e}"
            if not greeting:
                return f"{protocol} at {where}: the connection was closed without a greeting"
        return ""


async def greeting_of(place: Place) -> bytes:
    """The first line that a listener says; b"" when it only hangs up. Any line will do: who says that there are too
    many connections is well. Raises OSError."""
    if place.path:
        reader, writer = await asyncio.open_unix_connection(place.path, limit=GREETING_LIMIT)
    else:
        reader, writer = await asyncio.open_connection(place.host, place.port, limit=GREETING_LIMIT)
    try:
        return await reader.readline()
    except ValueError:
        return b"a line without an end"
    finally:
        with suppress(OSError):
            writer.write(b"QUIT\r\n")
        writer.close()
