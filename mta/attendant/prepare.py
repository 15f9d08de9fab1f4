"""What happens before the loop runs: directories, the lock, the sockets, and the end of being root.

Owns: the order of these steps. Never does: start a process. Everything here may block and may fail with one clear
line; after it, nothing needs root any more.
"""

import os
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from mta.attendant import datadir, privileges
from mta.attendant.filecheck import check_data, check_files
from mta.attendant.listeners import Listeners, Owner, Place, remove_socket, tcp_listener, unix_listener
from mta.attendant.roles import roles_of
from mta.clock import Clock
from mta.config import Config
from mta.errors import ConfigError, NotAllowedError

#: The admin socket is for the server's own user (and root).
ADMIN_MODE = 0o600


class Prepared(NamedTuple):
    """What the attendant starts from. ``token``: "" on a unix socket, where the file's mode guards. ``untimely``: a
    line for each certificate that is not valid now."""

    lock: int
    listeners: dict[str, Listeners]
    admin: socket.socket
    token: str
    untimely: list[str]


def prepare(config: Config, clock: Clock) -> Prepared:
    """Raises MtaError; then nothing stays bound and the lock is free again."""
    with ExitStack() as undo:
        prepared = _prepare(config, clock, undo)
        undo.pop_all()
        return prepared


def _prepare(config: Config, clock: Clock, undo: ExitStack) -> Prepared:
    account = privileges.account_of(config.user) if os.geteuid() == 0 else None
    token = read_token(config)
    datadir.make_data_dir(config.data_dir)
    owner = (account.uid, account.gid) if account is not None else None
    lock = datadir.hold_lock(config.data_dir, clock, _sleep, owner=owner)
    undo.callback(os.close, lock)
    for file in _files_outside(config):
        datadir.make_parent(file, owner)
    listeners = {
        role.name: _bind(role.places(config), role.processes(config), owner, undo) for role in roles_of(config)
    }
    admin = _bind_admin(config, owner)
    undo.callback(close_admin, config, admin)
    if account is not None:
        privileges.give(config.data_dir, account)
        privileges.drop(account)
    check_data(config)
    untimely = check_files(config, clock)  # as the user who will have to read them
    return Prepared(lock, listeners, admin, token, untimely)


def _bind(places: list[Place], processes: int, owner: Owner, undo: ExitStack) -> Listeners:
    for place in places:
        if place.path:
            datadir.make_parent(Path(place.path), None)
    listeners = Listeners(processes)
    undo.callback(listeners.close)
    listeners.bind(places, owner)
    return listeners


def _bind_admin(config: Config, owner: Owner) -> socket.socket:
    address = config.admin.address
    if address.path:
        return unix_listener(Path(address.path), ADMIN_MODE, owner)
    return tcp_listener(address.host, address.port, shared=False)


def close_admin(config: Config, admin: socket.socket) -> None:
    """The admin socket, and its file where it is a unix socket. Only while the lock is held: it may be another's."""
    admin.close()
    if config.admin.address.path:
        remove_socket(Path(config.admin.address.path))


def _files_outside(config: Config) -> list[Path]:
    files = [config.admin.address.path, config.log.events if config.log.events != "-" else ""]
    return [Path(file) for file in files if file]


def read_token(config: Config) -> str:
    """Read before root is given up: the file may be root's alone. "" on a unix socket. Raises MtaError."""
    if config.admin.address.path:
        return ""
    if config.admin.token_file is None:
        raise ConfigError([f'admin.token_file: is missing: "{config.admin.address}" can be reached by others'])
    try:
        token = Path(config.admin.token_file).read_text().strip()
    except PermissionError as e:
        raise NotAllowedError(f"admin.token_file: {config.admin.token_file} cannot be read: {e.strerror}") from e
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        raise ConfigError([f"admin.token_file: {config.admin.token_file} cannot be read: {reason}"]) from e
    if not token:
        raise ConfigError([f"admin.token_file: {config.admin.token_file} is empty: put a long random text into it"])
    return token


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)
