"""``mta hooks replay`` as an operator says it."""

import json
import os

from tests.harness.mta_server import MtaServer

POLICY = """
from mta.policy.hooks import Reject

class Policy:
    def mail(self, mail):
        if mail.sender.endswith("@bad.example"):
            return Reject(550, "5.7.1", "not you")
"""
RECORD = "C: EHLO a.example\nC: MAIL FROM:<eve@bad.example>\nC: QUIT\n"


def test_a_record_is_replayed_to_the_hooks(tmp_path) -> None:
    (tmp_path / "replayed_policy.py").write_text(POLICY)
    record = tmp_path / "record.txt"
    record.write_text(RECORD)
    server = MtaServer(tmp_path, hook=[{"module": "replayed_policy:Policy", "path": str(tmp_path)}])
    shown = server.mta("hooks", "replay", str(record))
    assert shown.returncode == 0, shown.stderr
    assert "    mail     replayed_policy:Policy: rejects: 550 5.7.1 not you\nS: 550 5.7.1 not you\n" in shown.stdout
    rows = server.mta("hooks", "replay", str(record), "--json").stdout.splitlines()
    assert [row for row in map(json.loads, rows) if row["stage"]] == [
        {"stage": "mail", "who": "replayed_policy:Policy", "said": "rejects: 550 5.7.1 not you"}
    ]
    assert "hook       replayed_policy:Policy" in server.mta("check").stdout


def test_without_hooks_or_a_record_it_says_so(tmp_path) -> None:
    record = tmp_path / "record.txt"
    record.write_text(RECORD)
    server = MtaServer(tmp_path)
    done = server.mta("hooks", "replay", str(record))
    assert (done.returncode, done.stderr) == (os.EX_CONFIG, "mta: hook: there is none in the configuration\n")
    (tmp_path / "replayed_policy.py").write_text(POLICY)
    server.configure(hook=[{"module": "replayed_policy:Policy", "path": str(tmp_path)}])
    record.write_text("nothing of a client\n")
    done = server.mta("hooks", "replay", str(record))
    assert done.returncode == os.EX_DATAERR
    assert "no line of a client in it" in done.stderr
