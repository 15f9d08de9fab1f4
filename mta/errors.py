"""Errors that cross a module's border. Each carries what an operator needs: what, where, what to do.

Owns: the exception classes and their sysexits codes. Never does: logging or deciding what follows
(``mta.policy.trouble`` decides for deliveries, ``mta.cli`` prints for operators).
"""

import os


class MtaError(Exception):
    """Base of every error that an operator may see; the text is one line. ``exit_code`` is from sysexits.h."""

    exit_code: int = os.EX_SOFTWARE


class UsageError(MtaError):
    """The command line asks for something that does not exist or contradicts itself."""

    exit_code = os.EX_USAGE


class DataError(MtaError):
    """Input that is not in the form it should have: a message without an end, an id that is none."""

    exit_code = os.EX_DATAERR


class UnavailableError(MtaError):
    """A service that should answer does not: no server behind the admin socket, connection refused."""

    exit_code = os.EX_UNAVAILABLE


class CannotCreateError(MtaError):
    """A directory or file that the server needs cannot be made."""

    exit_code = os.EX_CANTCREAT


class StorageError(MtaError):
    """The disk said no: a failed commit, a spool that cannot be read."""

    exit_code = os.EX_IOERR


class TemporaryError(MtaError):
    """Will pass by itself: locked by another process, a remote that is busy."""

    exit_code = os.EX_TEMPFAIL


class NotAllowedError(MtaError):
    """The process lacks a permission."""

    exit_code = os.EX_NOPERM


class ConfigError(MtaError):
    """The configuration is wrong. One line per finding, each with its path: ``mta.toml: relay.networks[1]: …``."""

    exit_code = os.EX_CONFIG

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings
