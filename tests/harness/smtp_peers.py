"""Postfix, Exim and OpenSMTPD as private servers on loopback that relay everything to one port, with TLS offered.

Owns: where they are found, their configurations and their ends. Debian installs one of them at a time: the
others are unpacked (``dpkg -x``) into the directory that ``MTA_PEERS`` names, and run from there in a mount namespace,
because users and paths are compiled into them. All need root. Never does: touch a configuration of the machine.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from bench.exim import configure
from bench.peers import START_LIMIT, Postfix
from bench.process import Child, await_listener, free_port
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.faults import COMPILER, compiled
from tests.harness.mta_server import wait_until

#: Octets of content that each of them takes, and Hermes beside them.
MESSAGE_SIZE = 4096
PEERS = ("postfix", "exim", "opensmtpd")
_PACKAGES = {"postfix": "postfix", "exim": "exim4-daemon-light", "opensmtpd": "opensmtpd"}
_PROGRAMS = {"postfix": "postfix", "exim": "exim4", "opensmtpd": "smtpd"}


def found(name: str) -> Path | None:
    """The program of a peer: installed, or unpacked below ``MTA_PEERS``."""
    unpacked = os.environ.get("MTA_PEERS", "")
    search = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    search += [f"{unpacked}/usr/sbin"] if unpacked else []
    path = shutil.which(_PROGRAMS[name], path=os.pathsep.join(search))
    return Path(path) if path else None


def missing(name: str) -> str:
    """Why this peer cannot run here; "" when it can."""
    if found(name) is None:
        return f"{name} (Debian: {_PACKAGES[name]}) is neither installed nor unpacked below MTA_PEERS"
    if os.geteuid() != 0:
        return f"{name} needs root"
    if name != "postfix" and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        return f"{name} needs a mount namespace, and none is to be had here"
    return ""


class Running(NamedTuple):
    """A server that takes mail on 127.0.0.1. ``certificate``: of its TLS."""

    name: str
    port: int
    certificate: Certificate
    server: "_Server"

    def await_empty_queue(self, patience: float = 30.0) -> None:
        """Until it has handed on everything it has accepted."""
        wait_until(self.server.is_empty, lambda: f"an empty queue of {self.name}", patience)


class _Server(Protocol):
    def start(self) -> int: ...

    def stop(self) -> None: ...

    def is_empty(self) -> bool: ...


@contextmanager
def running_peer(name: str, sink_port: int) -> Iterator[Running]:
    """Skips by name when it is not there; fails then when peers are required."""
    if reason := missing(name):
        if os.environ.get("MTA_REQUIRE_PEERS") == "1":
            pytest.fail(f"{reason}, and MTA_REQUIRE_PEERS=1 says that it must be")
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    directory.chmod(0o755)
    certificate = make_certificate(directory, kind="rsa:2048")  # the only kind with which we can help OpenSMTPD 6.8
    server = _KINDS[name](directory, sink_port, certificate)
    try:
        yield Running(name, server.start(), certificate, server)
    finally:
        server.stop()
        shutil.rmtree(directory)


def _files(*directories: Path) -> bool:
    """Whether there is any file below."""
    return any(path.is_file() for directory in directories for path in directory.rglob("*"))


#: Users that Debian's packages make when they are installed, with the numbers that they have here.
_ACCOUNTS = {"opensmtpd": 2525, "opensmtpq": 2526, "Debian-exim": 2527}
_LINES = {"passwd": "{0}:x:{1}:{1}::/:/bin/false\n", "group": "{0}:x:{1}:\n"}
_POSTFIX = """\
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_error_sleep_time = 0
smtpd_forbid_bare_newline = reject
smtpd_forbid_bare_newline_exclusions =
message_size_limit = {size}
smtp_tls_security_level = none
local_header_rewrite_clients =
"""


class _Postfix:
    def __init__(self, directory: Path, sink_port: int, certificate: Certificate) -> None:
        further = _POSTFIX.format(certificate=certificate.certificate, key=certificate.private_key, size=MESSAGE_SIZE)
        self._spool = directory / "spool"
        self._postfix = Postfix("postfix", directory, sink_port, further)

    def start(self) -> int:
        return self._postfix.start()

    def stop(self) -> None:
        self._postfix.stop()

    def is_empty(self) -> bool:
        return not _files(*(self._spool / name for name in ("maildrop", "incoming", "active", "deferred")))


_EXIM_MAIN = """\
exim_path = {program}
tls_advertise_hosts = *
tls_certificate = {directory}/exim.pem
tls_privatekey = {directory}/exim.key
message_size_limit = {size}
"""
_EXIM_TRANSPORT = """\
  hosts_avoid_tls = *
  message_linelength_limit = 1000000
"""


class _Namespaced:
    """A server in a mount namespace: its accounts are there, and what it has compiled in is its own directory."""

    places: tuple[tuple[str, str], ...] = ()

    def __init__(self, directory: Path, sink_port: int, certificate: Certificate) -> None:
        self._directory = directory
        self._sink_port = sink_port
        self._certificate = certificate
        self._child: Child | None = None

    def _start(self, port: int, *argv: str) -> int:
        for kind in ("passwd", "group"):
            own = "".join(_LINES[kind].format(name, number) for name, number in _ACCOUNTS.items())
            kept = re.sub(f"(?m)^(?:{'|'.join(_ACCOUNTS)}):.*\n", "", Path("/etc", kind).read_text())
            (self._directory / kind).write_text(kept + own)
        # Nobody answers there, so that looking up a client's name takes no time.
        (self._directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        pairs = (*((name, f"/etc/{name}") for name in ("passwd", "group", "resolv.conf")), *self.places)
        binds = [f'mount --bind "{self._directory}/{own}" "{os.path.realpath(there)}"' for own, there in pairs]
        script = " && ".join([*binds, 'exec "$@"'])
        self._child = Child(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *argv])
        await_listener(port, time.monotonic() + START_LIMIT, self._child)
        return port

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()


class _Exim(_Namespaced):
    def start(self) -> int:
        program, port, user = found("exim"), free_port(), _ACCOUNTS["Debian-exim"]
        for name in ("spool", "log"):
            (self._directory / name).mkdir()
            os.chown(self._directory / name, user, user)
        for source, name in zip(self._certificate, ("exim.pem", "exim.key"), strict=True):
            shutil.copy(source, self._directory / name)
            os.chown(self._directory / name, user, user)
        main = _EXIM_MAIN.format(program=program, directory=self._directory, size=MESSAGE_SIZE)
        text = configure(
            self._directory, user, user, port, self._sink_port, main=main, transport=_EXIM_TRANSPORT, retry="1s"
        )
        (self._directory / "configure").write_text(text)
        return self._start(port, str(program), "-C", str(self._directory / "configure"), "-bdf", "-q1s")

    def is_empty(self) -> bool:
        # A message is there when its -H file is; -D alone is one that is arriving, or never will.
        return not any((self._directory / "spool" / "input").rglob("*-H"))


_OPENSMTPD = """\
pki peer.test cert "{certificate}"
pki peer.test key "{key}"
smtp max-message-size {size}
listen on 127.0.0.1 port {port} {tls} hostname peer.test
action "sink" relay host smtp://127.0.0.1:{sink}
match from any for any action "sink"
"""


_SMTPD_KEYS = Path(__file__).with_name("smtpd_keys.c")


class _OpenSmtpd(_Namespaced):
    places = (("spool", "/var/spool"), ("lib", "/var/lib"), ("run", "/var/run"))

    def start(self) -> int:
        program, port = found("opensmtpd"), free_port()
        for name in ("spool/smtpd", "lib/opensmtpd/empty", "run"):
            (self._directory / name).mkdir(parents=True)
        (self._directory / "spool" / "smtpd").chmod(0o711)
        text = _OPENSMTPD.format(
            certificate=self._certificate.certificate, key=self._certificate.private_key, size=MESSAGE_SIZE,
            port=port, sink=self._sink_port, tls="tls pki peer.test" if COMPILER else "",
        )  # fmt: skip
        (self._directory / "smtpd.conf").write_text(text)
        self._certificate.private_key.chmod(0o600)
        # Without a compiler it offers no TLS: no handshake would come about (see the file in C).
        preload = [f"LD_PRELOAD={compiled(_SMTPD_KEYS, self._directory)}"] if COMPILER else []
        return self._start(port, "env", *preload, str(program), "-d", "-f", str(self._directory / "smtpd.conf"))

    def is_empty(self) -> bool:
        return not _files(*(self._directory / "spool" / "smtpd" / name for name in ("incoming", "queue")))


_KINDS = {"postfix": _Postfix, "exim": _Exim, "opensmtpd": _OpenSmtpd}
