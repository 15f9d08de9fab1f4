"""The stage of the demonstration: three servers, a name server, taps between them and a sink, on loopback.

Owns: who is there, what their configurations say, the order of starts and stops. Never does: send anything or judge.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from mta.cli.demonstration import nameserver
from mta.cli.demonstration.installation import Installation, toml
from mta.cli.demonstration.places import Address, Places, text
from mta.clock import Clock
from mta.errors import MtaError
from mta.services.dns_tap import DnsTap
from mta.services.sink import Sink
from mta.services.tap import Tap

PARADIGMS = "paradigms.example"
MINASI = "minasi.example"
BURST = "burst.example"
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
    """All servers. ``passwords``: of the people, by their address; new ones for each performance."""

    def __init__(self, directory: Path, places: Places, clock: Clock, workers: int, dns: str) -> None:
        self.directory = directory
        self.places = places
        self.clock = clock
        self.passwords = {address: secrets.token_urlsafe(12) for address in (AUTHOR, READER)}
        self.dns = dns
        self.name_server: nameserver.NameServer | None = None
        self.dns_tap = DnsTap(places.dns_behind, clock)
        self.athena_tap = Tap(places.athena_behind, clock)
        self.hermes_tap = Tap(places.hermes_behind, clock)
        self.arlington_tap = Tap(places.arlington_behind, clock)
        self.sink = Sink(f"sink.{BURST}", clock, lambda arrival: None)
        self.athena = Installation("athena", directory / "athena", athena_toml(directory / "athena", places))
        self.hermes = Installation("hermes", directory / "hermes", hermes_toml(directory / "hermes", places, workers))
        self.arlington = Installation(
            "arlington", directory / "arlington", arlington_toml(directory / "arlington", places)
        )

    @property
    def installations(self) -> tuple[Installation, ...]:
        return self.athena, self.hermes, self.arlington

    async def leave(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Stops all installations at once, as an exit: when something else went wrong before, that is what the
        operator should hear."""
        ended = await asyncio.gather(*(server.stop() for server in self.installations), return_exceptions=True)
        trouble = next((one for one in ended if one is not None), None)
        if error is None and trouble is not None:
            raise trouble


@asynccontextmanager
async def set_up(stage: Stage) -> AsyncIterator[None]:
    """Everything runs inside, and nothing after it. Raises MtaError for what does not start or end as it should."""
    places = stage.places
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_stop_name_server, stage)
        stack.push_async_callback(stage.dns_tap.stop)
        await stage.dns_tap.start(*places.dns)
        stack.push_async_callback(stage.sink.stop)
        await stage.sink.start(*places.sink)
        for tap, place in taps(stage):
            stack.push_async_callback(tap.stop)
            await tap.start(*place)
        stack.push_async_exit(stage.leave)
        await together(_start_name_server(stage), *(server.start() for server in stage.installations))
        await together(
            stage.athena.add_person(AUTHOR, "Ada", stage.passwords[AUTHOR]),
            stage.arlington.add_person(READER, "Mark", stage.passwords[READER]),
        )
        yield


def taps(stage: Stage) -> list[tuple[Tap, Address]]:
    """Each with the place where it listens."""
    places = stage.places
    return [
        (stage.athena_tap, places.athena),
        (stage.hermes_tap, places.hermes),
        (stage.arlington_tap, places.arlington),
    ]


async def _start_name_server(stage: Stage) -> None:
    zone_texts = zones(stage.places)
    stage.name_server = await nameserver.start(stage.dns, stage.directory, zone_texts, stage.places.dns_behind)


async def _stop_name_server(stage: Stage) -> None:
    if stage.name_server is not None:
        await stage.name_server.stop()


async def together(*jobs: Coroutine[Any, Any, None]) -> None:
    """All at once. When one fails the others are cancelled, and its error is raised."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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


def zones(places: Places) -> nameserver.Zones:
    """What the name server says about both domains: figure 1 has it for minasi.example."""
    head = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\n"
    name_server = f"ns A {places.dns[0]}\n"
    return {
        MINASI: f"{head}@ MX 10 arlington\n{name_server}arlington A {places.arlington[0]}\n",
        PARADIGMS: f"{head}@ MX 10 hermes\n{name_server}hermes A {places.hermes[0]}\nathena A {places.athena[0]}\n",
    }


def athena_toml(directory: Path, places: Places) -> str:
    """The mail server of a house: mail for its own people stays, everything else goes to the gateway."""
    return toml(
        {"hostname": ATHENA, "data_dir": str(directory), "user": "", "workers": 1},
        [
            ("[[listener]]", {"address": text(places.athena_behind)}),
            ("[[listener]]", _pop3(places.athena_pop3)),
            ("[local]", {"domains": [PARADIGMS]}),
            ("[[route]]", {"domain": "*", "to": f"smtp://{text(places.hermes)}"}),
            ("[dns]", {"servers": [text(places.dns)]}),
        ],
        f"Athena, the mail server of {PARADIGMS}, as `mta demo` runs it. In front of each SMTP port is a recorder.",
    )


def hermes_toml(directory: Path, places: Places, workers: int) -> str:
    """The gateway: asks the DNS; mail for the house goes to its mail server."""
    return toml(
        {"hostname": HERMES, "data_dir": str(directory), "user": "", "workers": workers},
        [
            ("[[listener]]", {"address": text(places.hermes_behind)}),
            ("[relay]", {"domains": [PARADIGMS]}),
            ("[[route]]", {"domain": PARADIGMS, "to": f"smtp://{text(places.athena)}"}),
            ("[[route]]", {"domain": BURST, "to": f"smtp://{text(places.sink)}"}),
            ("[dns]", {"servers": [text(places.dns)]}),
            ("[delivery]", {"port": places.arlington[1], "retry_after": [RETRY_AFTER]}),
        ],
        f"Hermes, the gateway of {PARADIGMS}, as `mta demo` runs it.",
    )


def arlington_toml(directory: Path, places: Places) -> str:
    """The mail server of another house, which asks the DNS itself."""
    return toml(
        {"hostname": ARLINGTON, "data_dir": str(directory), "user": "", "workers": 1},
        [
            ("[[listener]]", {"address": text(places.arlington_behind)}),
            ("[[listener]]", _pop3(places.arlington_pop3)),
            ("[local]", {"domains": [MINASI]}),
            ("[dns]", {"servers": [text(places.dns)]}),
            ("[delivery]", {"port": places.hermes[1]}),
        ],
        f"Arlington, the mail server of {MINASI}, as `mta demo` runs it.",
    )


def _pop3(place: Address) -> dict[str, object]:
    """Everything here stays on this machine, so the password may go without TLS."""
    return {"protocol": "pop3", "address": text(place), "dangerously_allow_plaintext_auth": True}
