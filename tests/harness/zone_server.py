"""A real name server for interoperability tests: nsd, authoritative, in the foreground, on a free loopback port.

Owns: its directory, its process and its end. Skips by name when nsd is absent; with MTA_REQUIRE_PEERS=1 that is a
failure.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

ANSWERS_WITHIN = 10.0
_SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"

_CONFIG = """
server:
  ip-address: 127.0.0.1
  port: {port}
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: "{directory}"
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  zonelistfile: "{directory}/zone.list"
  logfile: "{directory}/nsd.log"
remote-control:
  control-enable: no
"""


def nsd_program() -> str:
    """Where nsd is. Skips, or fails when peers are required."""
    program = shutil.which("nsd", path=_SEARCH)
    if program is None:
        if os.environ.get("MTA_REQUIRE_PEERS") == "1":
            pytest.fail("nsd is not installed, and MTA_REQUIRE_PEERS=1 says that it must be")
        pytest.skip("nsd is not installed")
    return program


class RealZoneServer:
    """nsd with zones: origin → zone text. ``address`` is what ``[dns] servers`` takes."""

    def __init__(self, directory: Path, zones: Mapping[str, str], probe: str) -> None:
        """``probe``: a name for which it has an answer of whatever kind once it is up."""
        self.port = _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._directory = directory
        self._probe = probe
        self._process: subprocess.Popen[bytes] | None = None
        config = _CONFIG.format(port=self.port, directory=directory)
        for origin, text in zones.items():
            (directory / origin).write_text(text)
            config += f'zone:\n  name: "{origin}"\n  zonefile: "{directory / origin}"\n'
        (directory / "nsd.conf").write_text(config)

    def start(self) -> None:
        command = [nsd_program(), "-d", "-c", str(self._directory / "nsd.conf")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + ANSWERS_WITHIN
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = (self._directory / "nsd.log").read_text()
                self.stop()
                pytest.fail(f"nsd does not answer:\n{log}")

    def stop(self) -> None:
        """Ends the process that was started here, by its id. Idempotent."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(ANSWERS_WITHIN)
            self._process = None

    def _answers(self) -> bool:
        query = dns.message.make_query(self._probe, "SOA")
        try:
            dns.query.udp(query, "127.0.0.1", port=self.port, timeout=0.2)
        except (dns.exception.DNSException, OSError):
            return False
        return True


@contextmanager
def real_zone_server(directory: Path, zones: Mapping[str, str], probe: str) -> Iterator[RealZoneServer]:
    server = RealZoneServer(directory, zones, probe)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    """Free for UDP and TCP a moment ago."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(udp.getsockname())
            except OSError:
                continue
            return int(udp.getsockname()[1])
