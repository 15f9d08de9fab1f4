"""The listening sockets: bound once, kept for the attendant's whole life, handed to workers by descriptor.

Owns: every listening socket. Never does: accept. Per TCP listener each worker has its own socket of one SO_REUSEPORT
group, so that the kernel spreads connections; a unix listener is one socket that all workers share.
A worker's death closes nothing: what has queued in the backlog waits for its successor.
"""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mta.errors import CannotCreateError, MtaError, NotAllowedError, UnavailableError

#: Connections that the kernel keeps for us; it cuts this to net.core.somaxconn.
BACKLOG = 4096


#: (uid, gid) of whom a file is made for; None: of whoever makes it.
Owner = tuple[int, int] | None


class Place(NamedTuple):
    """Where to listen. ``number``: position in ``config.listener``, below 0 for what is not configured. ``path`` set:
    a unix socket with this ``mode``."""

    number: int
    host: str
    port: int
    path: str
    mode: int = 0o666


class Listeners:
    """All sockets of one role's ``workers`` processes."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._shared: list[tuple[int, socket.socket]] = []
        self._own: list[list[tuple[int, socket.socket]]] = [[] for _ in range(workers)]
        self._paths: list[Path] = []

    def bind(self, places: Sequence[Place], owner: Owner = None) -> None:
        """Raises UnavailableError (in use), NotAllowedError (port below 1024) or CannotCreateError, naming the
        address. ``owner``: of unix sockets."""
        for place in places:
            if place.path:
                self._shared.append((place.number, unix_listener(Path(place.path), place.mode, owner)))
                self._paths.append(Path(place.path))
            else:
                self._bind_tcp(place)

    def _bind_tcp(self, place: Place) -> None:
        port = place.port
        if port:
            # Alone first: SO_REUSEPORT would let us share the port with another server of this user unnoticed.
            tcp_listener(place.host, port, shared=False).close()
        for sockets in self._own:
            sock = tcp_listener(place.host, port)
            port = sock.getsockname()[1]
            sockets.append((place.number, sock))

    def of(self, worker: int) -> list[tuple[int, int]]:
        """(descriptor, listener index) for a worker that is about to start."""
        return [(sock.fileno(), index) for index, sock in (*self._own[worker], *self._shared)]

    def own(self, worker: int) -> list[tuple[int, socket.socket]]:
        """(listener index, socket): those that nobody else accepts from while this process is down."""
        return [*self._own[worker], *self._shared] if self._workers == 1 else self._own[worker]

    def places(self) -> list[Place]:
        """Where a client of this machine reaches each listener: as bound, or the loopback address for all addresses."""
        return [_reached(number, sock.getsockname()) for number, sock in (*self._own[0], *self._shared)]

    def addresses(self) -> list[tuple[int, str]]:
        """(listener index, address as bound) of what is configured, for the log and the status."""
        bound = [(index, _shown(sock.getsockname())) for index, sock in (*self._own[0], *self._shared) if index >= 0]
        return sorted(bound)

    def close(self) -> None:
        for _, sock in (*self._shared, *(pair for sockets in self._own for pair in sockets)):
            sock.close()
        for path in self._paths:
            remove_socket(path)


def tcp_listener(host: str, port: int, shared: bool = True) -> socket.socket:
    """``shared``: one of a SO_REUSEPORT group. Raises MtaError that names the address."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as e:
        raise UnavailableError(f"listener {where}: {e.strerror}") from e
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as e:
        sock.close()
        raise _bind_error(where, e) from e
    return sock


def unix_listener(path: Path, mode: int, owner: Owner = None) -> socket.socket:
    """Binds a unix socket with exactly this mode. What a dead server left is replaced; a live one is an error."""
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise CannotCreateError(f"{path} exists and is no socket: remove it, or set another path")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            _remove_dead(path)
        mask = os.umask(0o777 & ~mode)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        path.chmod(mode)
        if owner is not None:
            os.chown(path, *owner, follow_symlinks=False)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as e:
        sock.close()
        raise _bind_error(f"unix:{path}", e) from e
    except MtaError:
        sock.close()
        raise
    return sock


def remove_socket(path: Path) -> None:
    """Takes the file of a unix socket away that was ours."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        pass  # made as root in a directory that is root's: the next start replaces it


def _remove_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise UnavailableError(f"unix:{path}: another process answers there: stop it, or set another path")


def _bind_error(where: str, e: OSError) -> MtaError:
    """What an operator can do about it."""
    unix = where.startswith("unix:")
    if isinstance(e, PermissionError):
        todo = "choose a directory of this user" if unix else "start as root (it is dropped) or use a port above 1023"
        return NotAllowedError(f"listener {where}: not allowed; {todo}")
    if isinstance(e, FileNotFoundError):
        return CannotCreateError(f"listener {where}: its directory does not exist")
    if e.errno == errno.EADDRINUSE:
        return UnavailableError(f"listener {where}: {e.strerror}; `ss -ltnp` shows who has it")
    if e.errno == errno.EADDRNOTAVAIL:
        return UnavailableError(f"listener {where}: not an address of this machine; `ip address` shows those")
    if unix and e.errno is None:  # Python's own check: sun_path holds 108 octets
        return CannotCreateError(f"listener {where}: the path is too long for a socket: at most 107 octets")
    return UnavailableError(f"listener {where}: {e.strerror or e}")


def _reached(number: int, address: Any) -> Place:
    if not isinstance(address, tuple):
        return Place(number, "", 0, address)
    host: str = address[0]
    return Place(number, {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), address[1], "")


def _shown(address: Any) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"unix:{address}"
