"""Which kinds of service there are, which of them a configuration needs, and the listeners each of them answers on.

Owns: the table of roles, in the order in which they start (who is needed by others comes first). Never does: start
anything. A new kind of service is a line here and a module that reads its ``configure`` message from the control
channel.
"""

from collections.abc import Callable
from typing import NamedTuple

from mta.attendant.listeners import Place
from mta.config import Config
from mta.errors import ConfigError


class Role(NamedTuple):
    """``one_each``: as many processes as ``config.workers``, named ``<name>-N``; else one, named ``<name>``.
    ``needed``: by this configuration. ``own_places``: where it listens beside the configured listeners."""

    name: str
    module: str
    protocols: tuple[str, ...]
    one_each: bool
    description: str
    needed: Callable[[Config], bool]
    own_places: Callable[[Config], list[Place]] = lambda config: []

    def processes(self, config: Config) -> int:
        return config.workers if self.one_each else 1

    def places(self, config: Config) -> list[Place]:
        configured = [
            Place(number, listener.host, listener.port, listener.path)
            for number, listener in enumerate(config.listener)
            if listener.protocol in self.protocols
        ]
        return configured + self.own_places(config)


#: ``Place.number`` of the socket on which workers hand mail to the store: no listener of the configuration.
INTERNAL = -1
#: It is for our own processes.
INTERNAL_MODE = 0o600


def _listens(config: Config, *protocols: str) -> bool:
    return any(listener.protocol in protocols for listener in config.listener)


def _has_mailboxes(config: Config) -> bool:
    return bool(config.local.domains) or _listens(config, "pop3", "lmtp")


DIRECTORY = Role(
    "directory",
    "mta.services.directory",
    ("ldap",),
    False,
    "people, aliases, lists and their address book",
    lambda config: _has_mailboxes(config) or _listens(config, "ldap", "submission"),
)
STORE = Role(
    "store",
    "mta.services.store",
    ("lmtp", "pop3"),
    False,
    "mailboxes: mail comes in by LMTP and is fetched by POP3",
    _has_mailboxes,
    lambda config: [Place(INTERNAL, "", 0, str(config.store_socket), INTERNAL_MODE)],
)
WORKER = Role(
    "worker",
    "mta.services.worker",
    ("smtp", "submission"),
    True,
    "reception, queue and delivery",
    lambda config: True,
)
ROLES = (DIRECTORY, STORE, WORKER)


def roles_of(config: Config) -> tuple[Role, ...]:
    """The roles that this configuration needs, in the order of their start. Raises ConfigError for a listener that
    nobody answers."""
    served = {protocol for role in ROLES for protocol in role.protocols}
    strays = [
        f'listener[{number}].protocol: no service here speaks "{listener.protocol}"'
        for number, listener in enumerate(config.listener)
        if listener.protocol not in served
    ]
    if strays:
        raise ConfigError(strays)
    return tuple(role for role in ROLES if role.needed(config))
