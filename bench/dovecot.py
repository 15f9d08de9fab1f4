"""Dovecot from a private directory: LMTP in, POP3 out, a passwd-file of people. For tests and benchmarks alike.

Owns: its configuration and its master process, which stays in the foreground. Never does: touch the machine's own
Dovecot, or listen anywhere but on 127.0.0.1 and in its directory. As root its services run under Dovecot's users and
mail belongs to ``mail``; otherwise everything runs as who we are. TLS is off.
"""

import grp
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bench.machine import program, said
from bench.process import Child, await_listener

START_LIMIT = 20.0
STOP_LIMIT = 10.0
#: Who owns the mail when root starts it: Dovecot refuses to serve root's.
_OWNERS = ("mail", "nobody")
_HELPERS = ("dovenull", "dovecot")

Format = Literal["maildir", "mdbox"]

#: Everything at its default but where it is, whom it serves, that each message is synced before its 250, and that the
#: processes that talk to clients stay for the next one.
_CONFIG = """\
protocols = lmtp pop3
listen = 127.0.0.1
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
ssl = no
disable_plaintext_auth = no
default_login_user = {login}
default_internal_user = {internal}
default_internal_group = {internal_group}
first_valid_uid = 1
first_valid_gid = 1
auth_cache_size = 1M
auth_failure_delay = 0
mail_location = {format}:~/mail
mail_fsync = always
mail_max_userip_connections = 0
pop3_uidl_format = %08Xu%08Xv
lmtp_save_to_detail_mailbox = no
recipient_delimiter = +
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%Lu {directory}/people
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/homes/%Lu
}}
service lmtp {{
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {lmtp_port}
  }}
}}
service pop3-login {{
  {chroot}
  service_count = 0
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service anvil {{
  {chroot}
}}
service stats {{
  {chroot}
}}
"""


class Dovecot:
    """One Dovecot. ``people``: address → password, in clear. ``directory`` must be one that other users may enter."""

    def __init__(
        self, directory: Path, people: Mapping[str, str], *, lmtp_port: int, pop3_port: int, form: Format = "maildir"
    ) -> None:
        self._directory = directory
        self._people = dict(people)
        self._form = form
        self.lmtp_port = lmtp_port
        self.pop3_port = pop3_port
        self._child: Child | None = None

    @staticmethod
    def missing() -> str:
        if not program("dovecot"):
            return "not installed (Debian: apt-get install dovecot-pop3d dovecot-lmtpd)"
        if os.geteuid() == 0 and not _known(_OWNERS):
            return f"none of its users is there: {', '.join(_OWNERS)}"
        return ""

    @staticmethod
    def version() -> str:
        return f"Dovecot {said(program('dovecot') or 'dovecot', '--version').split(' ')[0]}"

    @property
    def lmtp_socket(self) -> Path:
        return self._directory / "lmtp"

    @property
    def log(self) -> Path:
        return self._directory / "log"

    def home(self, address: str) -> Path:
        return self._directory / "homes" / address.lower()

    def start(self) -> None:
        """Up and listening. Raises UnavailableError."""
        self._write()
        argv = [program("dovecot") or "dovecot", "-F", "-c", str(self._directory / "dovecot.conf")]
        with open(self._directory / "output", "wb") as output:
            self._child = Child(argv, cwd=self._directory, output=output.fileno())
        for port in (self.pop3_port, self.lmtp_port):
            await_listener(port, time.monotonic() + START_LIMIT, self._child)

    def _write(self) -> None:
        root = os.geteuid() == 0
        ourselves = pwd.getpwuid(os.geteuid())
        owner = (_known(_OWNERS) or ourselves) if root else ourselves
        login, internal = _HELPERS if root else (ourselves.pw_name, ourselves.pw_name)
        homes = self._directory / "homes"
        homes.mkdir(exist_ok=True)
        os.chown(homes, owner.pw_uid, owner.pw_gid)
        people = "".join(f"{address}:{{PLAIN}}{password}\n" for address, password in self._people.items())
        (self._directory / "people").write_text(people)
        text = _CONFIG.format(
            directory=self._directory,
            login=login,
            internal=internal,
            internal_group=_group_of(internal),
            format=self._form,
            uid=owner.pw_uid,
            gid=owner.pw_gid,
            chroot="" if root else "chroot =",
            lmtp_port=self.lmtp_port,
            pop3_port=self.pop3_port,
        )
        (self._directory / "dovecot.conf").write_text(text)

    def stop(self) -> None:
        """Down, whatever state it is in. Idempotent."""
        if self._child is not None:
            self._child.stop(STOP_LIMIT)

    def errors(self) -> list[str]:
        """What its log has of errors and worse."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line for line in lines if any(mark in line for mark in (": Error: ", ": Fatal: ", ": Panic: "))]


def _known(names: tuple[str, ...]) -> pwd.struct_passwd | None:
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next((users[name] for name in names if name in users), None)


def _group_of(user: str) -> str:
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
