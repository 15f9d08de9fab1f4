"""Source and sink of ``bench tls`` speak with each other; who refuses is told."""

import array
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.measure import latencies, read_pairs
from bench.process import Child, await_listener, free_port
from bench.tls import make_certificate


@pytest.mark.parametrize("sessions", [1, 7, 40])
def test_every_message_arrives_with_its_number(tmp_path: Path, sessions: int) -> None:
    made, port, arrivals, began = make_certificate(tmp_path), free_port(), tmp_path / "arrivals", tmp_path / "began"
    words = ["bench.probe_sink", port, 40, arrivals, made.certificate, made.key]
    sink = Child([sys.executable, "-m", *map(str, words)])
    try:
        await_listener(port, time.monotonic() + 10, sink)
        words = ["bench.tls_source", port, 40, sessions, 1000, made.certificate, began]
        subprocess.run([sys.executable, "-m", *map(str, words)], check=True, timeout=30)
        assert sink.wait(time.monotonic() + 10)
    finally:
        sink.stop()
    starts = array.array("q", began.read_bytes())
    assert len(starts) == 41
    assert latencies(starts, read_pairs(arrivals), 40).notes == ()


def test_a_source_that_meets_no_tls_says_so(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    words = ["bench.tls_source", free_port(), 1, 1, 1000, made.certificate, tmp_path / "began"]
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith(b"tls source: connect: ")
    assert done.stderr.count(b"\n") == 1
