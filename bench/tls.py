"""The relay with TLS on both legs: source → relay → sink, TLS 1.3 from the first octet, connections kept.

Owns: the certificate, the configurations with TLS, and what a run consists of. smtp-source and smtp-sink know no TLS:
both ends are ours, and ``straight`` says how fast they are with nothing between them, which no relay can exceed.
Never does: print the table.
"""

import array
import os
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figures, Results
from bench.hermes import Hermes
from bench.machine import cpu_times, settle
from bench.measure import Place, RunFailed, finish, latencies, listening, logged, python, read_pairs, why
from bench.peers import Peer, Postfix, Straight
from bench.plan import POSTFIX, STRAIGHT, TLS_PEERS, Cell, message_count
from bench.probe_sink import CPU
from bench.process import free_port
from bench.rounds import Progress, run_rounds
from mta.errors import UnavailableError, UsageError

_HERMES = """\
hostname = "hermes.test"
data_dir = "{{directory}}/data"
workers = {{workers}}
delivery.tls_authorities = "{certificate}"

[[listener]]
protocol = "smtp"
address = "127.0.0.1:{{port}}"
tls = "implicit"
certificate = "{certificate}"
private_key = "{key}"

[[route]]
domain = "*"
to = "smtp://127.0.0.1:{{sink}}"
tls = "implicit"
"""
#: Connections under TLS are kept by tlsproxy, and only when told; sessions are resumed where one is made anew.
_POSTFIX = """\
smtpd_tls_wrappermode = yes
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_mandatory_protocols = >=TLSv1.3
smtp_tls_wrappermode = yes
smtp_tls_security_level = encrypt
smtp_tls_mandatory_protocols = >=TLSv1.3
smtp_tls_connection_reuse = yes
smtp_tls_session_cache_database = btree:${{data_directory}}/smtp_scache
"""


@dataclass(frozen=True)
class Certificate:
    """P-256, for 127.0.0.1, signed by itself. Readable for all: a relay reads it under its own user."""

    certificate: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    """By the openssl command. Raises UnavailableError."""
    made = Certificate(directory / "cert.pem", directory / "key.pem")
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=relay.test "
    argv = [*(words + "-addext subjectAltName=IP:127.0.0.1").split(), "-out", str(made.certificate)]
    try:
        subprocess.run([*argv, "-keyout", str(made.key)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise UnavailableError("no certificate: openssl is missing, or failed") from None
    made.key.chmod(0o644)
    return made


class Comparison:
    """Every peer in every cell. ``versions`` of the peers are known before the first run."""

    def __init__(self, directory: Path, names: Sequence[str], seconds: float, most: int, progress: Progress) -> None:
        self._certificate = make_certificate(directory)
        self._sink_port = free_port()
        self._scratch = directory / "scratch"
        self._scratch.mkdir()
        self._seconds, self._most, self._progress = seconds, most, progress
        self.peers = [self._peer(name, directory / name) for name in names]

    def _peer(self, name: str, home: Path) -> Peer:
        home.mkdir()
        home.chmod(0o755)
        values = {"certificate": self._certificate.certificate, "key": self._certificate.key}
        if name == STRAIGHT:
            return Straight(name, home, self._sink_port)
        if name == POSTFIX:
            return Postfix(name, home, self._sink_port, _POSTFIX.format(**values))
        if name not in TLS_PEERS:
            raise UsageError(f'"{name}" is no peer: take {", ".join(TLS_PEERS)}')
        return Hermes(name, home, self._sink_port, _HERMES.format(**values))

    def versions(self) -> dict[str, str]:
        return {peer.name: peer.version() for peer in self.peers if peer.name != STRAIGHT}

    def cipher(self) -> str:
        """What every leg agrees on: all offer OpenSSL's own list, and the first of TLS 1.3 is taken."""
        return f"TLS 1.3, {ssl.create_default_context().get_ciphers()[0]['name']}, certificates P-256"

    def run(self, cells: Sequence[Cell], repeat: int) -> Results:
        return run_rounds(cells, self.peers, repeat, self._measured, self._progress)

    def _measured(self, cell: Cell, peer: Peer) -> Figures:
        """A short run tells the rate, a second one of about ``seconds`` is counted."""
        place = Place(peer.start(), self._sink_port, self._scratch)
        warm = self._run(place, cell, max(300, 5 * cell.sessions))
        return self._run(place, cell, message_count(cell, warm.rate or 0.0, self._seconds, self._most))

    def _run(self, place: Place, cell: Cell, count: int) -> Figures:
        arrivals, began = place.scratch / "arrivals", place.scratch / "began"
        arrivals.unlink(missing_ok=True)
        settle()
        made = self._certificate
        sink = listening(
            place, python("bench.probe_sink", place.sink_port, count, arrivals, made.certificate, made.key)
        )
        busy, stolen = cpu_times()
        at = time.monotonic()
        words = (place.port, count, cell.sessions, cell.size, made.certificate, began)
        source = logged(place, "source", python("bench.tls_source", *words))
        finish(source, sink, place)
        if source.status != 0:
            raise RunFailed(why(source, place))
        seconds = time.monotonic() - at
        busy_after, stolen_after = cpu_times()
        starts, pairs = array.array("q", began.read_bytes()), read_pairs(arrivals)
        timed = latencies(starts, pairs, count)
        span = (max(at for sequence, at in pairs if sequence != CPU) - min(starts[:-1])) / 1e9
        return Figures(
            messages=count,
            rate=count / span,
            cpu=(busy_after - busy - source.cpu - sink.cpu) / count * 1e6,
            stolen=(stolen_after - stolen) / seconds / (os.cpu_count() or 1),
            p50=timed.p50,
            p99=timed.p99,
            probe_messages=timed.probe_messages,
            notes=timed.notes,
        )
