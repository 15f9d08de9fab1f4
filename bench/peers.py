"""The peers: what each can do, how they are found, and the two simplest of them.

Owns: the ``Peer`` protocol, the straight line (no relay at all) and Postfix from a private configuration directory.
Never does: measure. A peer listens on 127.0.0.1 only, relays everything to the sink, and is stopped by its own pid or
through its own command.
"""

import os
import pwd
import re
import subprocess
import time
from pathlib import Path
from typing import Protocol

from bench.machine import program, said
from bench.process import await_listener, free_port
from mta.errors import UnavailableError

START_LIMIT = 20.0


class Peer(Protocol):
    """A relay under test. Its directory is kept from ``start`` to ``start``, so that it meets its own spool again."""

    name: str

    def version(self) -> str: ...

    def start(self) -> int:
        """Up and listening; the port. Raises UnavailableError with the reason."""

    def stop(self) -> None:
        """Down, whatever state it is in. Idempotent."""

    def check(self) -> str:
        """Called while it is down: what is wrong with its books, "" when nothing is."""


class Straight:
    """No relay: the source talks to the sink. What the load generator itself can do on this machine."""

    def __init__(self, name: str, directory: Path, sink_port: int) -> None:
        self.name = name
        self._sink_port = sink_port

    @staticmethod
    def missing() -> str:
        return ""

    def version(self) -> str:
        return "no relay"

    def start(self) -> int:
        return self._sink_port

    def stop(self) -> None:
        return None

    def check(self) -> str:
        return ""


#: Limits relaxed as far as is sensible for a relay that has one destination; everything else as shipped.
_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
command_directory = {commands}
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = peer.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 200
initial_destination_concurrency = 20
default_destination_concurrency_limit = 50
smtp_destination_concurrency_limit = 50
qmgr_message_active_limit = 20000
in_flow_delay = 0
smtp_dns_support_level = disabled
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = 127.0.0.1
maillog_file = {directory}/maillog
maillog_file_prefixes = /
alias_maps =
alias_database =
local_recipient_maps =
"""

#: Services that a relay needs, as shipped but outside a chroot: name, type, private, wake-up, process limit, program.
_SERVICES = (
    ("127.0.0.1:{port}", "inet", "n", "-", "200", "smtpd"),
    ("pickup", "unix", "n", "60", "1", "pickup"),
    ("cleanup", "unix", "n", "-", "0", "cleanup"),
    ("qmgr", "unix", "n", "300", "1", "qmgr"),
    ("tlsmgr", "unix", "-", "1000?", "1", "tlsmgr"),
    ("tlsproxy", "unix", "-", "-", "0", "tlsproxy"),
    ("rewrite", "unix", "-", "-", "-", "trivial-rewrite"),
    ("bounce", "unix", "-", "-", "0", "bounce"),
    ("defer", "unix", "-", "-", "0", "bounce"),
    ("trace", "unix", "-", "-", "0", "bounce"),
    ("verify", "unix", "-", "-", "1", "verify"),
    ("flush", "unix", "n", "1000?", "0", "flush"),
    ("proxymap", "unix", "-", "-", "-", "proxymap"),
    ("proxywrite", "unix", "-", "-", "1", "proxymap"),
    ("smtp", "unix", "-", "-", "-", "smtp"),
    ("lmtp", "unix", "-", "-", "-", "lmtp"),
    ("relay", "unix", "-", "-", "-", "smtp"),
    ("showq", "unix", "n", "-", "-", "showq"),
    ("error", "unix", "-", "-", "-", "error"),
    ("retry", "unix", "-", "-", "-", "error"),
    ("discard", "unix", "-", "-", "-", "discard"),
    ("anvil", "unix", "-", "-", "1", "anvil"),
    ("scache", "unix", "-", "-", "1", "scache"),
    ("postlog", "unix-dgram", "n", "-", "1", "postlogd"),
)


class Postfix:
    """Postfix from ``directory``: own configuration, queue and log. The machine's own Postfix is not touched."""

    def __init__(self, name: str, directory: Path, sink_port: int, further: str = "") -> None:
        """``further``: more lines of its main.cf."""
        self.name = name
        self._further = further
        self._directory = directory
        self._etc = directory / "etc"
        self._sink_port = sink_port
        self._port = 0
        self._command = program("postfix") or "postfix"

    @staticmethod
    def missing() -> str:
        if not program("postfix"):
            return "not installed (Debian: apt-get install postfix)"
        if os.geteuid() != 0:
            return "needs root: Postfix starts its programs under other users"
        return ""

    def version(self) -> str:
        return f"Postfix {said('postconf', '-d', '-h', 'mail_version')}"

    def start(self) -> int:
        if not self._port:
            self._configure(free_port())
        self._run("start")
        await_listener(self._port, time.monotonic() + START_LIMIT)
        return self._port

    def _configure(self, port: int) -> None:
        for name in ("etc", "spool", "data"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        os.chown(self._directory / "data", pwd.getpwnam("postfix").pw_uid, -1)
        daemons, commands = (said("postconf", "-d", "-h", f"{kind}_directory") for kind in ("daemon", "command"))
        main = _MAIN_CF.format(directory=self._directory, sink=self._sink_port, daemons=daemons, commands=commands)
        (self._etc / "main.cf").write_text(main + self._further)
        (self._etc / "master.cf").write_text(master_cf(port))
        self._port = port

    def _run(self, verb: str, check: bool = True) -> None:
        argv = [self._command, "-c", str(self._etc), verb]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"postfix {verb} took more than 60 s; see {self._directory}/maillog") from None
        if check and done.returncode != 0:
            said_last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
            raise UnavailableError(f"postfix {verb} failed: {said_last[0]}; see {self._directory}/maillog")

    def stop(self) -> None:
        """The sink leaves one message unanswered a run: what is deferred goes, so that no later run gets it."""
        if self._port:
            self._run("stop", check=False)
            clean = [program("postsuper") or "postsuper", "-c", str(self._etc), "-d", "ALL"]
            subprocess.run(clean, capture_output=True, timeout=60, check=False)

    def check(self) -> str:
        """Warnings and worse of the run that is over; the log then starts anew."""
        log = self._directory / "maillog"
        text = log.read_text(errors="replace") if log.exists() else ""
        log.unlink(missing_ok=True)
        found = re.findall(r"(?:fatal|panic): .*", text)
        return f"{len(found)} fatal errors in its log, first: {found[0]}" if found else ""


def master_cf(port: int) -> str:
    """The service table. Columns: service, type, private, unprivileged, chroot, wake-up, process limit, command."""
    return "".join(
        f"{service.format(port=port)} {kind} {private} - n {wake} {limit} {command}\n"
        for service, kind, private, wake, limit, command in _SERVICES
    )
