"""POP3 clients that nobody here wrote: fetchmail, mpop, getmail6 and curl, each with a configuration of its own.

Owns: their files, and what they fetched, read back with CRLF line ends. Each call is one run of the program, which must
end by itself. A program that is not installed skips the test by name, or fails it when peers are required.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.harness.sinks import peer_program

Tls = Literal["none", "starttls", "implicit"]
_LIMIT = 60


@dataclass
class Account:
    """Where and as whom to fetch. ``ca``: whom to trust, for TLS. ``directory``: the client's home."""

    directory: Path
    port: int
    user: str
    password: str
    tls: Tls = "none"
    ca: Path | None = None
    files: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path


class Fetched:
    """One run: ``code``, ``said`` (both outputs), and every message that it has delivered so far."""

    def __init__(self, done: "subprocess.CompletedProcess[bytes]", messages: Sequence[bytes] = ()) -> None:
        self.code = done.returncode
        self.output = done.stdout
        self.said = (done.stdout + done.stderr).decode(errors="replace")
        self.messages = list(messages)


def run(account: Account, argv: Sequence[str | Path], stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Without the caller's configuration: HOME is the client's own directory."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(account.directory), "LC_ALL": "C.UTF-8", "USER": "tester"}
    return subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        capture_output=True,
        timeout=_LIMIT,
        env=environ,
        cwd=account.directory,
    )


def _files(directory: Path) -> list[bytes]:
    """Every message in files of LF lines, with CRLF."""
    return [re.sub(rb"\r?\n", b"\r\n", path.read_bytes()) for path in sorted(directory.rglob("*")) if path.is_file()]


def _delivery_program(account: Account) -> tuple[Path, Path]:
    """The directory that it writes messages to, a file for each, and the shell script that does so."""
    box = account.directory / "fetched"
    box.mkdir(exist_ok=True)
    return box, account.write("mda", f'cat > "$(mktemp {box}/XXXXXXXX)"\n')


def fetchmail(account: Account, *, keep: bool, uidl: bool = True, authenticate: str = "password") -> Fetched:
    """Each message through a delivery program into a file. Exit 0: something came, 1: nothing was there."""
    box, mda = _delivery_program(account)
    tls = {"none": "sslproto ''", "starttls": "sslproto 'auto'", "implicit": "ssl"}[account.tls]
    trust = f"sslcertck sslcertfile '{account.ca}'" if account.ca else ""
    rc = account.write(
        "fetchmailrc",
        f"""set no syslog
set no bouncemail
set invisible
set idfile '{account.directory}/ids'
poll localhost via 127.0.0.1 with protocol POP3 port {account.port} auth {authenticate} {"uidl" if uidl else ""}
  user '{account.user}' password '{account.password}' {tls} sslcommonname localhost {trust}
  {"keep" if keep else "no keep"} no rewrite fetchall mda '/bin/sh {mda}'
""".replace(" fetchall", "" if keep else " fetchall"),
    )
    words = [peer_program("fetchmail", "fetchmail"), "--fetchmailrc", rc, "--pidfile", account.directory / "pid", "-v"]
    return Fetched(run(account, words), _files(box))


def mpop(account: Account, *, keep: bool, auth: str = "on") -> Fetched:
    """Into a Maildir. ``auth``: "user", "plain", "scram-sha-256" …; "on": the best it finds."""
    box = account.directory / "Maildir"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True, exist_ok=True)
    tls = "on" if account.tls != "none" else "off"
    rc = account.write(
        "mpoprc",
        f"""account default
host 127.0.0.1
port {account.port}
user {account.user}
password "{account.password}"
auth {auth}
tls {tls}
tls_starttls {"on" if account.tls == "starttls" else "off"}
{f"tls_trust_file {account.ca}" if account.ca else ""}
keep {"on" if keep else "off"}
received_header off
uidls_file {account.directory}/uidls
delivery maildir {box}
""",
    )
    done = run(account, [peer_program("mpop", "mpop"), f"--file={rc}", "--debug"])
    return Fetched(done, _files(box))


def getmail(account: Account, *, keep: bool) -> Fetched:
    """getmail6, which speaks no STLS and knows by unique-id what it has seen. Each message goes through a program: as
    root it fills no Maildir."""
    box, mda = _delivery_program(account)
    secure = account.tls == "implicit"
    rc = account.write(
        "getmailrc",
        f"""[retriever]
type = {"SimplePOP3SSLRetriever" if secure else "SimplePOP3Retriever"}
server = {"localhost" if secure else "127.0.0.1"}
port = {account.port}
username = {account.user}
password = {account.password}
{f"ca_certs = {account.ca}" if secure else ""}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("{mda}",)
allow_root_commands = true
[options]
delete = {"false" if keep else "true"}
read_all = false
delivered_to = false
received = false
verbose = 2
""",
    )
    words = [peer_program("getmail", "getmail6"), f"--getmaildir={account.directory}", f"--rcfile={rc}"]
    return Fetched(run(account, words), _files(box))


def curl(account: Account, path: str = "", *options: str) -> Fetched:
    """One transfer from ``pop3(s)://127.0.0.1/path``; its standard output is ``output``."""
    scheme = "pop3s" if account.tls == "implicit" else "pop3"
    trust = ["--cacert", account.ca] if account.ca else []
    required = ["--ssl-reqd"] if account.tls == "starttls" else []
    words = [
        peer_program("curl", "curl"), "--silent", "--show-error", "--verbose", "--user",
        f"{account.user}:{account.password}", *trust, *required, *options,
        f"{scheme}://127.0.0.1:{account.port}/{path}",
    ]  # fmt: skip
    return Fetched(run(account, words))
