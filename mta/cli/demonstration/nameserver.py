"""The name server of the demonstration: nsd, Knot DNS or unbound when one is installed, else the small one of our own.

Owns: the zones as text, what each program must be told to serve them as an ordinary user or as root, its process from
the start to the end. Never does: recursion, or touch what is configured on the machine.
"""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import dns.asyncquery
import dns.exception
import dns.message

from mta.cli.demonstration.child import die_with_parent
from mta.cli.demonstration.places import Address
from mta.errors import UnavailableError
from mta.services.zone import ZoneServer, zone_from_text

OWN: Final = "own"
AUTO: Final = "auto"
#: Seconds that a program may take to answer, and to end.
PATIENCE: Final = 5.0
#: Seconds that it may take for one answer, and between two questions, while it starts.
POLL: Final = 0.02
#: Such programs lie where not everybody's PATH leads.
_SEARCH: Final = "/usr/sbin:/usr/local/sbin:/sbin"

#: Origin → zone in the form of RFC 1035 §5.
Zones = Mapping[str, str]


class NameServer(Protocol):
    """``software``: what is shown."""

    software: str

    async def start(self) -> None:
        """Returns when it answers. Raises UnavailableError."""

    async def stop(self) -> None:
        """Idempotent."""


class Own:
    """Our own small server, in this process."""

    software = "Hermes's own"

    def __init__(self, zones: Zones, place: Address) -> None:
        self._server = ZoneServer([zone_from_text(text, origin) for origin, text in zones.items()], *place)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()


class Program(NamedTuple):
    """A name server that somebody else wrote. ``config``: its file, but for the zones; ``zone``: added for each.
    In both, host, port, directory, origin and file are filled in. ``arguments``: before the name of the file."""

    software: str
    program: str
    arguments: tuple[str, ...]
    config: str
    zone: str


PROGRAMS: Final = {
    "nsd": Program(
        "nsd",
        "nsd",
        ("-d", "-c"),
        """\
server:
  ip-address: {host}
  port: {port}
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: "{directory}"
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  zonelistfile: "{directory}/zone.list"
remote-control:
  control-enable: no
""",
        'zone:\n  name: "{origin}"\n  zonefile: "{file}"\n',
    ),
    "knot": Program(
        "Knot DNS",
        "knotd",
        ("-c",),
        """\
server:
    listen: "{host}@{port}"
    rundir: "{directory}"
    pidfile: "{directory}/knot.pid"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{directory}"
control:
    listen: "{directory}/knot.sock"
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: "{directory}"
    zonefile-sync: -1
    journal-content: none
zone:
""",
        '  - domain: "{origin}"\n    file: "{file}"\n',
    ),
    "unbound": Program(
        "unbound",
        "unbound",
        ("-d", "-c"),
        """\
server:
  interface: {host}
  port: {port}
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound.pid"
  use-syslog: no
  module-config: "iterator"
remote-control:
  control-enable: no
""",
        'auth-zone:\n  name: "{origin}"\n  zonefile: "{file}"\n  for-upstream: no\n  for-downstream: yes\n',
    ),
}


class Real:
    """A program's process. Its files lie in ``directory``, which it makes."""

    def __init__(self, program: Program, path: str, directory: Path, zones: Zones, place: Address) -> None:
        self.software = program.software
        self._program = program
        self._path = path
        self._directory = directory
        self._zones = zones
        self._place = place
        self._process: Process | None = None

    async def start(self) -> None:
        file = self._write()
        answers = False
        try:
            with open(self._log, "wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    self._path, *self._program.arguments, str(file),
                    stdin=DEVNULL, stdout=log, stderr=STDOUT, preexec_fn=die_with_parent(),
                )  # fmt: skip
            answers = await asyncio.wait_for(self._answers(self._process), PATIENCE)
        except (OSError, TimeoutError):
            pass  # told below
        finally:
            if not answers:
                await self.stop()
        if not answers:
            raise UnavailableError(f"{self.software} ({self._path}) does not answer: {self._last_words()}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not care."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    def _write(self) -> Path:
        self._directory.mkdir(parents=True)
        host, port = self._place
        values = {"host": host, "port": port, "directory": self._directory}
        text = self._program.config.format(**values)
        for origin, zone in self._zones.items():
            file = self._directory / f"{origin}.zone"
            file.write_text(zone)
            text += self._program.zone.format(**values, origin=origin, file=file)
        config = self._directory / f"{self._program.program}.conf"
        config.write_text(text)
        return config

    async def _answers(self, process: Process) -> bool:
        """Until it answers for every zone; False when it ends before that."""
        host, port = self._place
        for origin in self._zones:
            query = dns.message.make_query(origin, "SOA")
            while True:
                if process.returncode is not None:
                    return False
                try:
                    if (await dns.asyncquery.udp(query, host, POLL, port)).answer:
                        break
                except (dns.exception.DNSException, OSError):
                    pass  # not yet
                await asyncio.sleep(POLL)
        return True

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"


def installed(name: str) -> str | None:
    """Where the program of this kind of name server is."""
    return shutil.which(PROGRAMS[name].program, path=f"{os.environ.get('PATH', '')}:{_SEARCH}")


async def start(wanted: str, directory: Path, zones: Zones, place: Address) -> NameServer:
    """The name server of that name (``PROGRAMS``, OWN); AUTO: the first one that is there and answers. It runs.

    Raises UnavailableError: not installed, or not able to.
    """
    for name in PROGRAMS if wanted == AUTO else [wanted]:
        if name == OWN:
            break
        path = installed(name)
        try:
            if path is None:
                raise UnavailableError(f"{PROGRAMS[name].program} is not installed; --dns {OWN} needs nothing")
            server = Real(PROGRAMS[name], path, directory / name, zones, place)
            await server.start()
            return server
        except UnavailableError:
            if wanted != AUTO:
                raise
    own = Own(zones, place)
    await own.start()
    return own
