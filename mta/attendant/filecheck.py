"""Whether the server's user can read what the services will read, and whether it is of use, before any depends on it.

Owns: the list of these files. Never does: keep what it reads, or change user. Blocks for as long as the imports of the
policies take.
"""

import os
import pwd
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Final

import mta
from mta.attendant.hookcheck import check_hooks
from mta.clock import Clock
from mta.config import Config, check_passwords
from mta.errors import ConfigError, NotAllowedError
from mta.net.tls import check_certificates
from mta.net.tls_client import client_context

#: Directories below data_dir that services keep.
_MADE: Final = ("spool", "directory", "store")
_DENIED: Final = "Permission denied"
#: What a service cannot start without; who was root may have left it behind in root's home.
_PROGRAM: Final = ((sys.executable, os.X_OK), (os.__file__, os.R_OK), (str(mta.__file__), os.R_OK))


def check_files(config: Config, clock: Clock) -> list[str]:
    """Program, passwords, authorities, certificates, policies; a line for each certificate that is not valid now.
    Raises ConfigError with every finding, NotAllowedError when this user cannot run the program."""
    _check_program()
    lines: list[str] = []
    findings: list[str] = []

    def certificates(config: Config) -> None:
        if any(listener.tls != "none" for listener in config.listener):
            lines.extend(check_certificates(config, clock.now_ms()))

    looks: list[Callable[[Config], None]] = [check_passwords, _check_authorities, certificates, check_hooks]
    for look in looks:
        try:
            look(config)
        except ConfigError as error:
            findings += map(_for_user, error.findings)
    if findings:
        raise ConfigError(findings)
    return lines


def check_data(config: Config) -> None:
    """What an earlier start made, perhaps as another user. Raises NotAllowedError."""
    made = [config.data_dir / name for name in _MADE]
    made += [Path(top) / name for start in made for top, *names in os.walk(start) for name in chain(*names)]
    events = Path(config.log.events)
    # Nobody waits for its disk later; now it is a slip that somebody can put right.
    log = [] if config.log.events == "-" else [events.parent if _is_missing(events) else events]
    for path in (*made, *log):
        if not _is_missing(path) and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            what = path if path in log else config.data_dir
            raise NotAllowedError(
                f"{path} is not writable for user {_user()}, who has to keep it: `chown -R {_user()} {what}`"
            )


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except PermissionError:
        return False  # it may be there, and is of no use
    except OSError:
        return True
    return False


def _check_program() -> None:
    for file, mode in _PROGRAM:
        if not os.access(file, mode, effective_ids=True):
            raise NotAllowedError(
                f"user {_user()} may not use {file}: install Python and Hermes where everybody can read them, "
                "or set another user"
            )


def _check_authorities(config: Config) -> None:
    if config.delivery.tls_authorities is not None:
        try:
            client_context(check=True, authorities=config.delivery.tls_authorities)
        except ConfigError as error:
            raise ConfigError([f"delivery.tls_authorities: {finding}" for finding in error.findings]) from error


def _for_user(finding: str) -> str:
    """Root, who typed the command, can read it."""
    return finding.replace(_DENIED, f"{_DENIED} for user {_user()}, who has to read it")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
