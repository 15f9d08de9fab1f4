"""swaks, the tester's SMTP client: which options the installed one has, and runs of it.

Owns: reading its table of options and protocols out of the program itself. Never does: assertions.
"""

import re
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.harness.sinks import missing_peer, peer_program

_OPTION = re.compile(r"^\s*\{\s*opts\s*=>\s*\[([^\]]+)\]", re.MULTILINE)
_PROTOCOL = re.compile(r"^\s*(\w+)\s*=>\s*\{ proto => '", re.MULTILINE)


class Swaks:
    """``options``: each spelling → the first spelling of the same option, as the program has them; ``protocols``:
    what ``--protocol`` takes."""

    def __init__(self) -> None:
        self.program = peer_program("swaks", "swaks")
        self.support = self.run("--support").stdout
        if "TLS supported" not in self.support:
            missing_peer("swaks with TLS", "libnet-ssleay-perl")
        source = Path(self.program).read_text(errors="replace")
        groups = [re.findall(r"'([^']+)'", found) for found in _OPTION.findall(source)]
        self.options = {spelling: group[0] for group in groups for spelling in group}
        self.protocols = set(_PROTOCOL.findall(source))

    def run(self, *options: str, stdin: bytes = b"", encoding: str = "utf-8") -> "subprocess.CompletedProcess[str]":
        """Without a configuration file of the user's; what it prints, errors too, is in ``stdout``."""
        done = subprocess.run(
            [self.program, "--config", *options],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(encoding, "replace"))

    def used(self, command_lines: Iterable[str]) -> set[str]:
        """The options on these lines, each by its first spelling. Fails on a word that looks like one and is none."""
        words = {word for line in command_lines for word in shlex.split(line) if re.fullmatch(r"--?[a-z0-9]\S*", word)}
        return {self.options[word.lstrip("-")] for word in words}
