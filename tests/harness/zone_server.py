"""Real DNS servers for interoperability tests: nsd with zones, unbound in front of it, each on a free loopback port.

Owns: their configuration, their processes (in the foreground) and their end. Skips by name when one is not installed;
with MTA_REQUIRE_PEERS=1 that is a failure.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import dns.exception
import dns.message
import dns.query
import pytest

from bench.process import free_port

ANSWERS_WITHIN = 10.0
_SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"

Started = TypeVar("Started", bound="_Server")

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


_RESOLVER_CONFIG = """
server:
  interface: 127.0.0.1
  port: {port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound.pid"
  logfile: "{directory}/unbound.log"
  use-syslog: no
  do-not-query-localhost: no
  module-config: "iterator"
  local-zone: "test." nodefault
remote-control:
  control-enable: no
stub-zone:
  name: "{origin}"
  stub-addr: 127.0.0.1@{upstream}
"""


def program(name: str) -> str:
    """Where a server program is. Skips, or fails when peers are required."""
    path = shutil.which(name, path=_SEARCH)
    if path is None:
        if os.environ.get("MTA_REQUIRE_PEERS") == "1":
            pytest.fail(f"{name} is not installed, and MTA_REQUIRE_PEERS=1 says that it must be")
        pytest.skip(f"{name} is not installed")
    return path


class _Server:
    """A DNS server process on loopback. ``address`` is what ``[dns] servers`` takes."""

    def __init__(self, name: str, directory: Path, probe: str) -> None:
        """``probe``: a name for which it has an answer of whatever kind once it is up."""
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._name = name
        self._config = directory / f"{name}.conf"
        self._log = directory / f"{name}.log"
        self._probe = probe
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = [program(self._name), "-d", "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + ANSWERS_WITHIN
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = self._log.read_text() if self._log.exists() else "(no log)"
                self.stop()
                pytest.fail(f"{self._name} does not answer:\n{log}")

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


class RealZoneServer(_Server):
    """nsd, authoritative for zones: origin → zone text."""

    def __init__(self, directory: Path, zones: Mapping[str, str], probe: str) -> None:
        super().__init__("nsd", directory, probe)
        config = _CONFIG.format(port=self.port, directory=directory)
        for origin, text in zones.items():
            (directory / origin).write_text(text)
            config += f'zone:\n  name: "{origin}"\n  zonefile: "{directory / origin}"\n'
        self._config.write_text(config)


class RealResolver(_Server):
    """unbound, which asks ``upstream`` for everything below ``origin``, as the resolver of a site does."""

    def __init__(self, directory: Path, origin: str, upstream: RealZoneServer) -> None:
        super().__init__("unbound", directory, origin)
        self._config.write_text(
            _RESOLVER_CONFIG.format(port=self.port, directory=directory, origin=origin, upstream=upstream.port)
        )


@contextmanager
def running(server: Started) -> Iterator[Started]:
    server.start()
    try:
        yield server
    finally:
        server.stop()
