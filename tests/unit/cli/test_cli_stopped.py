"""The queue commands on the files of a stopped server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mta.cli import main
from mta.spool.fill import Pattern, fill

MESSAGES = 7


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MTA_CONFIG", raising=False)
    file = tmp_path / "mta.toml"
    file.write_text(f'data_dir = "{tmp_path}/data"\nworkers = 2\n')
    (tmp_path / "data").mkdir(mode=0o700)
    fill(tmp_path / "data", 2, MESSAGES, Pattern(domains=("x.example", "y.example"), size=300))
    return file


class Shell:
    def __init__(self, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self._config = config
        self._capfd = capfd

    def run(self, *args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*args, "--config", str(self._config)])
        out, err = self._capfd.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, out, err

    def rows(self, *args: str) -> list[dict]:
        code, out, err = self.run(*args, "--json")
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    def events(self) -> list[dict]:
        return [json.loads(line) for line in (self._config.parent / "data/events.jsonl").read_text().splitlines()]


@pytest.fixture
def shell(config: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(config, capfd)


def test_the_listing_looks_like_mailq(shell: Shell) -> None:
    code, out, _ = shell.run("queue", "list", "--domain", "x.example")
    head, first, recipient, *_ = out.splitlines()
    assert code == 0
    assert head.split() == ["-Queue", "ID-------", "--Size--", "----Arrival", "Time----", "-Sender/Recipient-------"]
    assert re.match(r"[0-9A-Z]{13} +\d+ \w{3} \w{3} \d\d \d\d:\d\d:\d\d  fill@client.example$", first)
    assert recipient.strip().endswith("@x.example")
    assert re.fullmatch(r"-- \d+ Kbytes in \d Requests\.", out.splitlines()[-1])


def test_a_queue_with_nothing_in_it_is_said_to_be_empty(shell: Shell) -> None:
    assert shell.run("queue", "list", "--domain", "z.example")[1] == "Mail queue is empty\n"


def test_the_json_listing_is_in_order_and_audit_agrees_with_it(shell: Shell) -> None:
    rows = shell.rows("queue", "list")
    assert [row["queue_id"] for row in rows] == sorted(row["queue_id"] for row in rows)
    [books] = shell.rows("audit")
    assert (len(rows), books["queued"], books["drift"]) == (MESSAGES, MESSAGES, 0)
    [total] = [sum(row["total"] for row in shell.rows("queue", "stats"))]
    assert total == MESSAGES


def test_show_cat_and_why_read_one_message(shell: Shell) -> None:
    [row] = shell.rows("queue", "list", "--limit", "1")
    assert f"queue_id         {row['queue_id']}" in shell.run("queue", "show", row["queue_id"])[1]
    code, content, _ = shell.run("queue", "cat", row["queue_id"])
    assert (code, len(content.encode()) > 100) == (0, True)
    assert shell.rows("why", row["queue_id"])[0]["waiting_for"] == "its turn"


def test_edits_are_committed_counted_and_logged(shell: Shell) -> None:
    one = shell.rows("queue", "list", "--domain", "x.example")[0]["queue_id"]
    assert shell.run("queue", "hold", one, "--reason", "asked for")[1] == "hold: 1 recipients of 1 messages\n"
    assert shell.rows("queue", "show", one)[0]["queue_name"] == "hold"
    code, _, err = shell.run("queue", "flush", one)
    assert (code, "on hold: release it first" in err) == (os.EX_DATAERR, True)
    assert shell.rows("queue", "release", one)[0]["done"]
    removed = len(shell.rows("queue", "remove", "--domain", "y.example"))
    [books] = shell.rows("audit")
    assert (books["removed"], books["queued"], books["drift"]) == (removed, MESSAGES - removed, 0)
    assert [event["type"] for event in shell.events()] == ["AdminRebind", "AdminRebind"] + ["AdminBounce"] * removed
    assert shell.events()[0]["reason"] == "asked for"


def test_a_bounce_puts_a_dsn_for_the_sender_into_the_queue(shell: Shell) -> None:
    one = shell.rows("queue", "list", "--domain", "x.example")[0]["queue_id"]
    assert shell.rows("queue", "bounce", one, "--reason", "left the company")[0]["done"]
    [dsn] = [row for row in shell.rows("queue", "list") if row["sender"] == "MAILER-DAEMON"]
    assert dsn["recipients"][0]["address"] == "fill@client.example"
    assert "left the company" in shell.run("queue", "cat", dsn["queue_id"])[1]
    [books] = shell.rows("audit")
    assert (books["failed"], books["generated"], books["queued"], books["drift"]) == (1, 1, MESSAGES, 0)


def test_an_unknown_message_is_data(shell: Shell) -> None:
    code, _, err = shell.run("queue", "show", "nonsense")
    assert (code, "not a queue id" in err) == (os.EX_DATAERR, True)
    code, _, err = shell.run("queue", "show", "06H0PNA5B4000")
    assert (code, "not in the queue" in err) == (os.EX_DATAERR, True)


def test_books_that_do_not_balance_are_exit_1(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Drifting:
        def audit(self) -> dict:
            return {"accepted": 5, "queued": 4, "drift": 1, "exact": True}

    monkeypatch.setattr("mta.cli.source.queue_of", lambda config: Drifting())
    code, out, _ = shell.run("audit")
    assert code == 1
    assert out.splitlines()[-1].split() == ["drift", "1"]


def test_a_reader_that_leaves_ends_the_listing_without_a_word(config: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mta", "queue", "list", "--config", str(config)],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert (listing.stderr.read(), listing.wait(30)) == (b"", 1)


def test_a_spool_without_shards_balances(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mta.toml").write_text(f'data_dir = "{tmp_path}/empty"\n')
    [books] = shell.rows("audit")
    assert set(books.values()) == {0, True}
