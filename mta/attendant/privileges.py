"""From root to an ordinary user, once, after the listeners are bound.

Owns: which user that is, giving it the data directory, and the drop with its proof. Never does: come back; only
``acting_as``, with which a command tries things out, does.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mta.errors import ConfigError, NotAllowedError

DEFAULT_USER = "_mta"


class Account(NamedTuple):
    name: str
    uid: int
    gid: int


def account_of(user: str) -> Account | None:
    """Whom to become: the configured user, else ``_mta`` when there is one, else None (stay).

    Raises ConfigError for a user that does not exist.
    """
    try:
        entry = pwd.getpwnam(user or DEFAULT_USER)
    except KeyError:
        if not user:
            return None
        raise ConfigError([f"user: there is no user {user!r} on this machine; add it, or set another one"]) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def account_of_uid(uid: int) -> Account:
    """The account with this number. Raises NotAllowedError when it has no name, so that nothing runs half as root."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise NotAllowedError(f"user {uid} has no name on this machine: run as that user") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def give(path: Path, account: Account) -> None:
    """Hands a directory over. Its content goes with it only while root owns the directory: later the account could
    have put links there, and root must not follow them."""
    if path.stat().st_uid == account.uid:
        return
    owned_by_root = path.stat().st_uid == 0
    for directory, names, files, fd in os.fwalk(path, follow_symlinks=False) if owned_by_root else ():
        for name in (*names, *files):
            os.chown(name, account.uid, account.gid, dir_fd=fd, follow_symlinks=False)
        del directory
    os.chown(path, account.uid, account.gid)


@contextmanager
def acting_as(account: Account | None) -> Iterator[None]:
    """For a while, and for the whole process: what the account may not read, we may not. None: nothing changes."""
    if account is None or account.uid == 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.initgroups(account.name, account.gid)
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def drop(account: Account) -> None:
    """Becomes the account for good. Raises NotAllowedError when the kernel lets us back."""
    if account.uid == 0:
        return
    os.initgroups(account.name, account.gid)
    os.setgid(account.gid)
    os.setuid(account.uid)
    os.environ["HOME"] = pwd.getpwuid(account.uid).pw_dir
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3:
        raise NotAllowedError(f"could not become {account.name}: the kernel kept another identity")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise NotAllowedError(f"could not become {account.name}: the way back to root is open")
