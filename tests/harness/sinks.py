"""Where mail ends in tests: Postfix's smtp-sink as a third party, and a recording sink of our own that can be scripted.

Owns: their processes, threads and sockets; each is started on a free loopback port and ended here. ``LoopThread`` runs
asyncio servers beside a test that is written as a plain story.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from bench.process import free_port
from mta.services.zone import ZoneServer, zone_from_dict
from tests.harness.mta_server import wait_until
from tests.harness.scripted_remote import Answer, Received, ScriptedRemote, _Shell

T = TypeVar("T")
_SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def peer_program(name: str, package: str) -> str:
    """Where a third party's program is. Skips by name, or fails when peers are required."""
    path = shutil.which(name, path=_SEARCH)
    if path is None:
        missing_peer(name, package)
    return path


def missing_peer(name: str, package: str) -> NoReturn:
    """Skips by name, or fails when peers are required."""
    if os.environ.get("MTA_REQUIRE_PEERS") == "1":
        pytest.fail(f"{name} (Debian: {package}) is not installed, and MTA_REQUIRE_PEERS=1 says that it must be")
    pytest.skip(f"{name} (Debian: {package}) is not installed")


class SmtpSink:
    """Postfix's smtp-sink; it writes each message to a file of its own below ``directory`` (``-d``)."""

    def __init__(self, directory: Path, *options: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self._program = peer_program("smtp-sink", "postfix")
        self._directory = directory / "dumps"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._options = options
        self.host = host
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "SmtpSink":
        """Returns when it takes connections."""
        user = []
        if os.geteuid() == 0:
            user = ["-u", "root"]  # it wants a name to drop to; its dumps lie in a directory of the test's user
        command = [self._program, *user, *self._options, "-d", f"{self._directory}/%M."]
        self._process = subprocess.Popen([*command, f"{self.host}:{self.port}", "200"], stderr=subprocess.PIPE)
        wait_until(self._answers, "smtp-sink answers")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"smtp-sink ended: {self._process.communicate()[1]!r}")
        try:
            socket.create_connection((self.host, self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None

    def dumps(self) -> list[bytes]:
        """What it has written: pseudo header fields (X-…: …), then the message, with LF for CRLF."""
        return [path.read_bytes() for path in sorted(self._directory.iterdir())]

    def contents(self) -> list[bytes]:
        """Messages as they came, CRLF line ends again; smtp-sink writes each to its file when it has it whole."""
        return [sink_content(dump) for dump in self.dumps()]

    def by_recipient(self) -> dict[str, bytes]:
        """The same, by the first recipient."""
        return {sink_recipient(dump): sink_content(dump) for dump in self.dumps()}


def sink_recipient(dump: bytes) -> str:
    """The first forward-path of a dump of ``smtp-sink -d``."""
    return dump.partition(b"\nX-Rcpt-Args: <")[2].partition(b">")[0].decode()


def sink_content(dump: bytes) -> bytes:
    """The content of a dump of ``smtp-sink -d``: behind its pseudo header, which ends with its own Received field, and
    before the empty line that it writes at the end."""
    head, _, content = dump.partition(b"Received: ")
    assert head.startswith(b"X-Client-Addr: "), dump[:200]
    lines = content.split(b"\n")
    start = next(n for n, line in enumerate(lines) if n and not line.startswith((b" ", b"\t")))
    return b"\r\n".join(lines[start:-1])


class LoopThread:
    """An event loop in a thread of its own; ``run`` waits for a coroutine in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


class RecordingSink:
    """A scripted SMTP (or LMTP) server in a thread.

    ``script``: verb → answers, see ScriptedRemote; each list is used up over all connections together, so that
    ``{"RCPT": ["450 later"]}`` defers the first recipient ever and takes all others. ``itertools.repeat`` never ends.
    ``received`` are the transactions taken to their end of content whatever was replied, ``remotes`` the connections.
    """

    def __init__(
        self,
        loop: LoopThread,
        script: Mapping[str, Iterable[Answer | str]] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str = "",
        make: Callable[[], ScriptedRemote] | None = None,
        **options: Any,
    ) -> None:
        self._loop = loop
        self._script = {verb: iter(answers) for verb, answers in (script or {}).items()}
        self._make = make or (lambda: ScriptedRemote(self._script, **options))
        self.host = host
        self.port = port
        self.path = path
        self.remotes: list[ScriptedRemote] = []
        self.open: set[asyncio.Transport] = set()
        self.most_open = 0
        self._server: asyncio.Server | None = None

    def start(self) -> "RecordingSink":
        """Binds; after a ``stop`` the same port again."""
        self._loop.run(self._listen())
        return self

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self.path:
            self._server = await loop.create_unix_server(self._shell, self.path)
            return
        self.port = self.port or free_port()
        self._server = await loop.create_server(self._shell, self.host, self.port)

    def _shell(self) -> asyncio.Protocol:
        remote = self._make()
        self.remotes.append(remote)
        return _CountingShell(remote, self)

    def stop(self) -> None:
        """Closes the port and every connection. Idempotent."""
        if self._server is not None:
            self._loop.run(self._close())
            self._server = None

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in tuple(self.open):
            transport.abort()
        await self._server.wait_closed()

    @property
    def received(self) -> list[Received]:
        return [message for remote in self.remotes for message in remote.received]

    @property
    def violations(self) -> list[str]:
        return [violation for remote in self.remotes for violation in remote.violations]

    def wait_for(self, count: int, patience: float = 30.0) -> list[Received]:
        """At least so many transactions."""

        def missing() -> str:
            return f"{count} messages; {len(self.received)} came"

        wait_until(lambda: len(self.received) >= count, missing, patience)
        return self.received


class _CountingShell(_Shell):
    """Tells the sink how many connections are open at once."""

    def __init__(self, remote: ScriptedRemote, sink: RecordingSink) -> None:
        super().__init__(remote, sink.open)
        self._sink = sink

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sink.most_open = max(self._sink.most_open, len(self._sink.open))


class Zones:
    """The project's own small DNS server in a thread: ``Zones(loop, {"example.org": ["MX 10 mx.example.org."]})``."""

    def __init__(self, loop: LoopThread, records: Mapping[str, Iterable[str]], ttl: int = 1) -> None:
        self._loop = loop
        self.server = ZoneServer([zone_from_dict(records, ttl)])

    @property
    def address(self) -> str:
        return self.server.address

    def start(self) -> "Zones":
        self._loop.run(self.server.start())
        return self

    def stop(self) -> None:
        self._loop.run(self.server.stop())
