"""The floor of a fetch: no server, but prepared answers from one small C program.

Owns: compiling ``pop3_floor.c`` and its process. In the same run as the servers it shows what the kernel, the loopback
and the bench's client allow at most. Never does: keep mail, so that there is nothing to fill and nothing to audit.
"""

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from bench.machine import program
from bench.process import Child, await_listener, free_port
from mta.errors import UnavailableError

SOURCE = Path(__file__).with_name("pop3_floor.c")
START_LIMIT = 5.0
_COMPILE_LIMIT = 60.0


class Floor:
    """A ``MailHost`` in shape only, without LMTP. Everybody's mailbox has ``messages`` of ``size`` octets."""

    lmtp = ""

    def __init__(self, name: str, directory: Path, people: Mapping[str, str], messages: int, size: int) -> None:
        self.name = name
        self.people = people
        self.pop3_port = free_port()
        self._program = directory / "pop3_floor"
        self._load = (messages, size)
        self._child: Child | None = None

    @staticmethod
    def missing() -> str:
        return "" if program("cc") else "no C compiler `cc` to make it with (Debian: apt-get install gcc libc6-dev)"

    @staticmethod
    def version() -> str:
        return "no server: prepared answers, what kernel, loopback and the client here allow at most; in no bar"

    def start(self) -> int:
        """Compiles it the first time. Raises UnavailableError."""
        if not self._program.exists():
            self._compile()
        self._child = Child([str(self._program), *map(str, (self.pop3_port, *self._load))])
        await_listener(self.pop3_port, time.monotonic() + START_LIMIT, self._child)
        return 0

    def _compile(self) -> None:
        argv = [program("cc") or "cc", "-O2", "-o", str(self._program), str(SOURCE)]
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_COMPILE_LIMIT)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UnavailableError(f"{SOURCE.name} cannot be compiled: {said[0]}") from None

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def check(self) -> str:
        """It has no books."""
        return ""
