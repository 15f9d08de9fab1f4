"""The data directory: making it, and making sure that only one server uses it.

Owns: ``data_dir`` (mode 0700), the directories that other files of the configuration need, and ``mta.lock``.
Never does: look into the spool. Called once, before the loop runs, so it may block for LOCK_PATIENCE seconds.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from mta.clock import Clock
from mta.errors import CannotCreateError, NotAllowedError, TemporaryError

LOCK_NAME = "mta.lock"
#: How long a start waits for the workers of a server that was just killed.
LOCK_PATIENCE = 3.0
LOCK_POLL = 0.02


def make_data_dir(path: Path) -> None:
    """Makes it with mode 0700 (parents with the umask). Raises CannotCreateError that says what to do."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as e:
        raise CannotCreateError(
            f"data_dir {path} cannot be made: a file is in its place; remove it, or set data_dir in the configuration"
        ) from e
    except OSError as e:
        raise CannotCreateError(
            f"data_dir {path} cannot be made: {e.strerror}; make it, or set data_dir in the configuration"
        ) from e
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise CannotCreateError(f"data_dir {path} is not writable for this user: chown it, or set another data_dir")


def make_parent(path: Path, owner: tuple[int, int] | None) -> None:
    """The directory that ``path`` lies in, for the given (uid, gid) when it has to be made."""
    if path.parent.is_dir():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            os.chown(path.parent, *owner)
    except OSError as e:
        raise CannotCreateError(f"{path.parent} (for {path.name}) cannot be made: {e.strerror}") from e


def hold_lock(
    data_dir: Path,
    clock: Clock,
    sleep: Callable[[float], None],
    patience: float = LOCK_PATIENCE,
    owner: tuple[int, int] | None = None,
) -> int:
    """Takes the lock and gives its descriptor, which workers inherit: it is free only when all of them are gone.
    ``owner``: (uid, gid) whose file it becomes, so that commands of that user can ask for it.

    Raises TemporaryError when another server keeps it for longer than ``patience`` seconds.
    """
    path = data_dir / LOCK_NAME
    try:
        # Root opens it in a directory of the server's user, who may have put a link there.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError as e:
        raise NotAllowedError(f"{path}: not allowed; run as the user that owns {data_dir}") from e
    deadline = clock.monotonic() + patience
    while not _try_lock(fd):
        if clock.monotonic() >= deadline:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise TemporaryError(f"another `mta run` (pid {holder}) uses {data_dir}: stop it, or set another data_dir")
        sleep(LOCK_POLL)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    if owner is not None:
        os.fchown(fd, *owner)
    return fd


def is_locked(data_dir: Path) -> bool:
    """A server (or what is left of one) uses the directory. Raises NotAllowedError when that cannot be found out."""
    try:
        fd = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError as e:
        raise NotAllowedError(f"{data_dir}: not allowed; run as the user that owns it") from e
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
