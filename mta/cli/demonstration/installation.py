"""One server of the demonstration: an installation of its own, run by ``mta run`` as an operator would.

Owns: its directory and TOML file, its process from the start to the end, its admin API, its people and its event log.
Never does: anything that an operator could not do.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mta.attendant.service import PACKAGES
from mta.cli.client import AdminClient
from mta.cli.demonstration.child import die_with_parent
from mta.errors import UnavailableError

Row = dict[str, Any]

#: Seconds that a start, an end, or an event may take on a busy machine.
PATIENCE = 60.0
#: Seconds between looks at the event log.
POLL = 0.02


class Installation:
    """``start`` returns when every listener answers; ``stop`` when the last process is gone; then ``start`` again."""

    def __init__(self, name: str, directory: Path, text: str) -> None:
        from mta.config import load

        self.name = name
        self.directory = directory
        self.file = directory.parent / f"{name}.toml"
        self.log = directory.parent / f"{name}.log"
        self.file.write_text(text)
        self.config = load(self.file, {})
        self.admin = AdminClient(self.config)
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._collecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises UnavailableError with the server's own words when it does not get ready."""
        self._ready.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mta", "--config", str(self.file), "run",
            stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE,
            cwd=PACKAGES, env=environment(os.environ), preexec_fn=die_with_parent(),
        )  # fmt: skip
        self._collecting = asyncio.create_task(self._collect(self._process))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._collecting}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            raise UnavailableError(f"{self.name} did not start: {self._last_words()}")

    async def stop(self) -> None:
        """Drains it. Raises UnavailableError when it does not end in time or not with status 0. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            raise UnavailableError(f"{self.name} did not stop within {PATIENCE:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
        if self._collecting is not None:
            await self._collecting
        if process.returncode:
            raise UnavailableError(f"{self.name} ended with status {process.returncode}: {self._last_words()}")

    async def ask(self, question: Callable[[AdminClient], Any]) -> Any:
        """An answer of the admin API; the client blocks, so a thread waits for it."""
        return await asyncio.to_thread(question, self.admin)

    async def add_person(self, address: str, name: str, password: str) -> None:
        """Into its directory. Raises MtaError."""
        person = {"address": address, "display_name": name, "password": password}
        await self.ask(lambda admin: list(admin.post("/api/v1/directory/user.add", person)))

    async def event(self, kind: str, **fields: object) -> Row:
        """The first event of that kind with these fields, when it is in its log. Raises UnavailableError."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    for row in self._events():
                        if row["type"] == kind and all(row.get(name) == value for name, value in fields.items()):
                            return row
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise UnavailableError(f"{self.name}'s event log has no {kind} of {fields}") from None

    def _events(self) -> Iterator[Row]:
        """Whole lines only: the last one may be on its way."""
        path = Path(self.config.log.events)
        octets = path.read_bytes() if path.exists() else b""
        return map(json.loads, octets[: octets.rfind(b"\n") + 1].splitlines())

    async def cpu_seconds(self) -> float | None:
        """CPU that all its processes have used so far; None where the machine does not tell."""
        status: Row = await self.ask(lambda admin: next(admin.get("/api/v1/status")))
        try:
            return sum(_cpu_of(service["pid"]) for service in status["services"] if service["pid"])
        except OSError:
            return None

    async def _collect(self, process: Process) -> None:
        """Its stderr goes to a file; the line ``mta: ready`` is what ``start`` waits for."""
        assert process.stderr is not None
        with open(self.log, "ab", buffering=0) as log:
            async for line in process.stderr:
                log.write(line)
                if line.strip() == b"mta: ready":
                    self._ready.set()

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("mta: ") if lines else "it said nothing"


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """For the servers: their files alone say what they are, and no service manager waits for them."""
    return {name: value for name, value in environ.items() if not name.startswith("MTA_") and name != "NOTIFY_SOCKET"}


def toml(head: Mapping[str, object], tables: "list[tuple[str, Mapping[str, object]]]", comment: str) -> str:
    """The text of a configuration. Strings, numbers and lists of them are spelled in TOML as in JSON."""
    lines = [f"# {comment}"]
    for table, keys in [("", head), *tables]:
        lines += ["", table] if table else []
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    return "\n".join([*lines, ""])


def _cpu_of(pid: int) -> float:
    """User and kernel time of a process in seconds: fields 14 and 15 of /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
