"""The stage of the demonstration: two relays, a name server and two sinks on loopback, in one directory.

Owns: who is there, what their configurations say, the order of starts and stops, and where arrived mail is waited
for. Never does: send anything or judge.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from mta.cli.demonstration.places import Places, text
from mta.cli.demonstration.relay import Relay, toml
from mta.clock import Clock
from mta.errors import MtaError
from mta.services.sink import Arrival, Sink
from mta.services.tap import Tap
from mta.services.zone import ZoneServer, zone_from_dict

PARADIGMS = "paradigms.example"
MINASI = "minasi.example"
DESK = f"desk.{PARADIGMS}"
ATHENA = f"athena.{PARADIGMS}"
HERMES = f"hermes.{PARADIGMS}"
ARLINGTON = f"arlington.{MINASI}"
AUTHOR = f"ada@{PARADIGMS}"
READER = f"mark@{MINASI}"
NOBODY = f"nobody@{MINASI}"
#: Seconds that anything on the stage may take.
PATIENCE = 20.0
#: Seconds between looks at something that cannot be waited for in another way.
POLL = 0.01
#: How long Hermes waits before it tries again: an operator would say minutes.
RETRY_AFTER = "1s"


class DemoFailed(MtaError):
    """Something was not as it should be; the text says what."""


class Stage:
    """All servers. ``arlington_mail`` and ``home_mail`` hold what arrived and was not looked at yet."""

    def __init__(self, directory: Path, places: Places, clock: Clock, workers: int) -> None:
        self.directory = directory
        self.places = places
        self.clock = clock
        self.arlington_mail: asyncio.Queue[Arrival] = asyncio.Queue()
        self.home_mail: asyncio.Queue[Arrival] = asyncio.Queue()
        self.dns = ZoneServer([zone_from_dict(_zone(places))], *places.dns)
        self.arlington = Sink(ARLINGTON, clock, self.arlington_mail.put_nowait, recipients={READER})
        self.home = Sink(f"mailboxes.{PARADIGMS}", clock, self.home_mail.put_nowait, recipients={AUTHOR})
        self.tap = Tap(places.hermes, clock)
        self.athena = Relay("athena", directory / "athena", athena_toml(directory / "athena", places))
        self.hermes = Relay("hermes", directory / "hermes", hermes_toml(directory / "hermes", places, workers))


@asynccontextmanager
async def set_up(stage: Stage) -> AsyncIterator[None]:
    """Everything runs inside, and nothing after it. Raises MtaError for what does not start or end as it should."""
    async with AsyncExitStack() as stack:
        await stage.dns.start()
        stack.push_async_callback(stage.dns.stop)
        for server, place in ((stage.arlington, stage.places.arlington), (stage.home, stage.places.home)):
            server.recording = True
            await server.start(*place)
            stack.push_async_callback(server.stop)
        await stage.tap.start(*stage.places.tap)
        stack.push_async_callback(stage.tap.stop)
        stack.push_async_exit(stage.athena.leave)
        stack.push_async_exit(stage.hermes.leave)
        await asyncio.gather(stage.athena.start(), stage.hermes.start())
        yield


async def mail(queue: "asyncio.Queue[Arrival]", what: str) -> Arrival:
    """The next arrival. Raises DemoFailed when none comes."""
    try:
        return await asyncio.wait_for(queue.get(), PATIENCE)
    except TimeoutError:
        raise DemoFailed(f"{what} did not arrive within {PATIENCE:.0f} s") from None


async def until(true: Callable[[], bool], what: str) -> None:
    """Looks again and again. Raises DemoFailed."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(POLL)
    except TimeoutError:
        raise DemoFailed(f"{what}: not so within {PATIENCE:.0f} s") from None


def verify(true: bool, what: str) -> None:
    """Raises DemoFailed."""
    if not true:
        raise DemoFailed(what)


def _zone(places: Places) -> dict[str, list[str]]:
    return {
        MINASI: [f"MX 10 {ARLINGTON}."],
        ARLINGTON: [f"A {places.arlington[0]}"],
        HERMES: [f"A {places.hermes[0]}"],
        ATHENA: [f"A {places.athena[0]}"],
    }


def athena_toml(directory: Path, places: Places) -> str:
    """The mail server of a house: mail for its own people stays, everything else goes to the gateway."""
    return toml(
        {"hostname": ATHENA, "data_dir": str(directory), "user": "", "workers": 1},
        [
            ("[[listener]]", {"address": text(places.athena)}),
            ("[[route]]", {"domain": PARADIGMS, "to": f"smtp://{text(places.home)}"}),
            ("[[route]]", {"domain": "*", "to": f"smtp://{text(places.tap)}"}),
            ("[dns]", {"servers": [text(places.dns)]}),
        ],
        f"Athena, the mail server of {PARADIGMS}, as `mta demo` runs it. The route to Hermes leads through a recorder.",
    )


def hermes_toml(directory: Path, places: Places, workers: int) -> str:
    """The gateway: asks the DNS; mail for the house goes to its mail server."""
    return toml(
        {"hostname": HERMES, "data_dir": str(directory), "user": "", "workers": workers},
        [
            ("[[listener]]", {"address": text(places.hermes)}),
            ("[[route]]", {"domain": PARADIGMS, "to": f"smtp://{text(places.athena)}"}),
            ("[dns]", {"servers": [text(places.dns)]}),
            ("[delivery]", {"port": places.arlington[1], "retry_after": [RETRY_AFTER]}),
        ],
        f"Hermes, the gateway of {PARADIGMS}, as `mta demo` runs it.",
    )
