"""Exim from a private configuration file.

Owns: its configuration and its daemon. Never does: touch the machine's own Exim. Needs root, as Exim does to change
to its own user. Limits are relaxed like those of Postfix: no limit on parallel reception, delivery at once for every
message of a connection, any number of messages down a connection.
"""

import os
import pwd
import time
from pathlib import Path

from bench.machine import program, said
from bench.process import Child, await_listener, free_port

START_LIMIT = 20.0
_USERS = ("Debian-exim", "exim", "mail")

#: Relays everything to one port of 127.0.0.1. ``{main}`` and ``{transport}``: further options of these sections.
_CONFIGURE = """\
primary_hostname = peer.test
exim_user = {user}
exim_group = {group}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6 = true
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
never_users =
deliver_drop_privilege = true
acl_smtp_rcpt = accept
acl_smtp_data = accept
smtp_enforce_sync = false
{main}

begin acl

begin routers
to_sink:
  driver = manualroute
  domains = *
  transport = sink
  route_list = * 127.0.0.1
  self = send

begin transports
sink:
  driver = smtp
  port = {sink}
  allow_localhost = true
  hosts_try_fastopen =
{transport}

begin retry
* * F,1h,{retry}
"""

_MAIN = """\
tls_advertise_hosts =
chunking_advertise_hosts =
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1000
remote_max_parallel = 50
message_size_limit = 100M
"""
_TRANSPORT = "  connection_max_messages = 0"


def account() -> pwd.struct_passwd | None:
    """The user that Exim runs under on this machine."""
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next((users[name] for name in _USERS if name in users), None)


def binary() -> str | None:
    """Debian says exim4, others exim."""
    return program("exim4") or program("exim")


class Exim:
    """One daemon and the processes it forks for each reception and delivery."""

    def __init__(self, name: str, directory: Path, sink_port: int) -> None:
        self.name = name
        self._directory = directory
        self._sink_port = sink_port
        self._port = 0
        self._child: Child | None = None

    @staticmethod
    def missing() -> str:
        if not binary():
            return "not installed (Debian: exim4-daemon-light, in place of Postfix)"
        if os.geteuid() != 0:
            return "needs root: Exim changes to its own user"
        return "" if account() else f"none of its users is there: {', '.join(_USERS)}"

    def version(self) -> str:
        return " ".join(said(binary() or "exim", "-bV").split()[:3])

    def start(self) -> int:
        if not self._port:
            self._configure(free_port())
        argv = [binary() or "exim", "-C", str(self._directory / "configure"), "-bdf"]
        self._child = Child(argv, cwd=self._directory)
        await_listener(self._port, time.monotonic() + START_LIMIT, self._child)
        return self._port

    def _configure(self, port: int) -> None:
        user = account()
        assert user is not None
        for name in ("spool", "log"):
            (self._directory / name).mkdir(exist_ok=True)
            os.chown(self._directory / name, user.pw_uid, user.pw_gid)
        (self._directory / "configure").write_text(
            configure(self._directory, user.pw_uid, user.pw_gid, port, self._sink_port)
        )
        self._port = port

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def check(self) -> str:
        log = self._directory / "log" / "paniclog"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return f"{len(lines)} lines in its panic log, first: {lines[0]}" if lines else ""


def configure(
    directory: Path,
    user: int,
    group: int,
    port: int,
    sink: int,
    *,
    main: str = _MAIN,
    transport: str = _TRANSPORT,
    retry: str = "1m",
) -> str:
    """The file for ``-C``; users by number, so that no name has to be in it."""
    return _CONFIGURE.format(
        directory=directory, user=user, group=group, port=port, sink=sink, main=main, transport=transport, retry=retry
    )
