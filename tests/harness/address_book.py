"""The LDAP service on a real directory, in a loop beside the test.

Owns: the writer's environment, the listening sockets, a certificate. Passwords are verified by the
process's own ``Logins``. ``with AddressBook(tmp_path, loop_thread) as book`` ends what it started.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from mta.clock import SystemClock
from mta.config import Config
from mta.config.sections import Ldap, Listener, Local
from mta.directory.changes import Changes
from mta.directory.passwords import make_credentials
from mta.directory.writer import DirectoryWriter
from mta.metrics import MetricsTable
from mta.services.ldap import LdapService, tls_of
from mta.services.login import Logins
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.directory import SMALL
from tests.harness.sinks import LoopThread
from tests.harness.sockets import listening

BASE = "dc=minasi,dc=example"
PEOPLE = f"ou=people,{BASE}"
PASSWORD = "analytical"
#: (address, given name, surname, others)
FOLK: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "ada.lovelace@minasi.example",
        "Ada",
        "Lovelace",
        {
            "title": "Countess",
            "department": "Engines",
            "phone": "+44 20 7946-0000",
            "further": ["ada@minasi.example"],
        },
    ),
    ("anders.angstrom@minasi.example", "Anders", "Ångström", {"department": "Optics"}),
    ("charles.babbage@minasi.example", "Charles", "Babbage", {"department": "Engines"}),
    ("mark@minasi.example", "Mark", "Minasi", {"title": "Author, editor + teacher"}),
    ("o'hara+x=y@minasi.example", "", "", {}),
)


def settings(made: Certificate | None = None, **ldap: Any) -> Config:
    """A configuration with the section ``[ldap]`` as given, and listeners of every kind of TLS."""
    files = {"certificate": made.certificate, "private_key": made.private_key} if made is not None else {}
    kinds = ("none", "starttls", "required", "implicit")
    listeners = tuple(Listener(protocol="ldap", tls=tls, **files) for tls in kinds)
    spoken = msgspec.structs.replace(listeners[0], dangerously_allow_plaintext_auth=True)
    return Config(
        local=Local(domains=("minasi.example", "arlington.example")), ldap=Ldap(**ldap), listener=(*listeners, spoken)
    )


PLAIN, STARTTLS, REQUIRED, IMPLICIT, SPOKEN = range(5)


class AddressBook:
    """``ports``: by kind of listener (PLAIN … SPOKEN; the last one takes passwords without TLS)."""

    def __init__(self, directory: Path, loop: LoopThread, *, folk: Sequence[Any] = FOLK, **ldap: Any) -> None:
        self._loop = loop
        made = make_certificate(directory)
        self.certificate = made.certificate
        self._config = settings(made, **ldap)
        self.writer = DirectoryWriter(directory / "directory", **SMALL)
        self.counters = MetricsTable.create(1).row(0)
        self.ports: list[int] = []
        self.writer.change(lambda changes: _fill(changes, folk))

    def __enter__(self) -> "AddressBook":
        self._loop.run(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        self.writer.close()

    def stop(self, patience: float = 1.0) -> None:
        self._loop.run(self._stop(patience))

    async def _stop(self, patience: float) -> None:
        await self.service.stop(patience)
        self.logins.stop()

    async def _start(self) -> None:
        self.logins = Logins(self.writer.reading, self._config)
        self.service = LdapService(
            self._config,
            self.writer.reading,
            self.logins,
            tls_of(self._config),
            self.counters,
            SystemClock(),
        )
        bound = [(index, listening()) for index in range(len(self._config.listener))]
        self.ports = [sock.getsockname()[1] for _, sock in bound]
        await self.service.start(bound)


def _fill(changes: Changes, folk: Sequence[Any]) -> None:
    for address, given, surname, others in folk:
        person = changes.add_person(address, given_name=given, surname=surname, **others)
        if given == "Ada":
            changes.set_credentials(person.id, make_credentials(PASSWORD))
    changes.add_list("staff@minasi.example", ["mark@minasi.example"])
