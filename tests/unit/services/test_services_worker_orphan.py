"""A worker whose attendant died while it was starting touches nothing."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_orders_of_a_dead_attendant_are_not_followed(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    config = {"data_dir": str(tmp_path / "data")}
    orders = {"verb": "configure", "config": config, "worker": 0, "shards": [0], "listeners": []}
    ours.sendall(json.dumps(orders).encode() + b"\n")
    ours.close()
    with theirs:
        done = subprocess.run(
            [sys.executable, "-m", "mta.services.worker", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=30,
            capture_output=True,
        )
    assert done.returncode == os.EX_UNAVAILABLE, done.stderr
    assert not (tmp_path / "data").exists()
