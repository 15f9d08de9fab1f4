"""A real Dovecot for interoperability tests, in a directory of its own below the system's temporary one.

Owns: the directory, short enough for sockets and open to Dovecot's users, the ports, and its end: its log has no error.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.dovecot import Dovecot
from bench.process import free_port
from tests.harness.sinks import peer_program


@contextmanager
def running_dovecot(people: Mapping[str, str]) -> Iterator[Dovecot]:
    """Skips by name when it is not installed; fails then when peers are required."""
    peer_program("dovecot", "dovecot-pop3d dovecot-lmtpd")
    directory = Path(tempfile.mkdtemp(prefix="dovecot-"))
    directory.chmod(0o755)
    server = Dovecot(directory, people, lmtp_port=free_port(), pop3_port=free_port())
    try:
        server.start()
        yield server
        errors = server.errors()
        assert errors == [], "\n".join(errors)
    finally:
        server.stop()
        shutil.rmtree(directory)


def emptied(server: Dovecot) -> None:
    """Nobody has any mail."""
    for home in server.home("x").parent.iterdir():
        shutil.rmtree(home)


def maildir(server: Dovecot, address: str) -> list[bytes]:
    """The files of a Maildir, oldest first, with CRLF for LF."""
    folders = [server.home(address) / "mail" / name for name in ("new", "cur")]
    files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    ordered = sorted(files, key=_delivered)
    return [path.read_bytes().replace(b"\n", b"\r\n") for path in ordered]


def _delivered(path: Path) -> tuple[int, int, int]:
    """``1795774646.M123456P789.host,…``: seconds, microseconds, process."""
    seconds, middle, _ = path.name.split(".", 2)
    microseconds, _, process = middle[1:].partition("P")
    return int(seconds), int(microseconds), int(process.partition("_")[0].partition("Q")[0])
