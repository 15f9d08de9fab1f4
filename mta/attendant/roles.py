"""Which kinds of service there are, and which listeners each of them answers on.

Owns: the table of roles. Never does: start anything. A new kind of service is a line here and a module that reads
its ``configure`` message from the control channel.
"""

from typing import NamedTuple

from mta.attendant.listeners import Place
from mta.config import Config
from mta.errors import ConfigError


class Role(NamedTuple):
    """``one_each``: as many processes as ``config.workers``, named ``<name>-N``; else one, named ``<name>``."""

    name: str
    module: str
    protocols: tuple[str, ...]
    one_each: bool
    description: str

    def processes(self, config: Config) -> int:
        return config.workers if self.one_each else 1

    def places(self, config: Config) -> list[Place]:
        return [
            Place(number, listener.host, listener.port, listener.path)
            for number, listener in enumerate(config.listener)
            if listener.protocol in self.protocols
        ]


WORKER = Role(
    "worker",
    "mta.services.worker",
    ("smtp", "submission", "lmtp"),
    True,
    "reception, queue and delivery",
)
ROLES = (WORKER,)


def roles_of(config: Config) -> tuple[Role, ...]:
    """The roles that this configuration needs. Raises ConfigError for a listener that nobody answers."""
    served = {protocol for role in ROLES for protocol in role.protocols}
    strays = [
        f'listener[{number}].protocol: no service here speaks "{listener.protocol}"'
        for number, listener in enumerate(config.listener)
        if listener.protocol not in served
    ]
    if strays:
        raise ConfigError(strays)
    return ROLES
