"""``mta demo``, as an operator runs it: a letter on its way over two relays, and nothing left behind."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
MESSAGES = 40


@pytest.fixture
def scratch() -> "Path":
    """A directory with a short name: the admin sockets below it have a limit of about 100 octets."""
    with tempfile.TemporaryDirectory(prefix="d-") as path:
        yield Path(path)


def start(scratch: Path, *options: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mta", "demo", *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)} | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(scratch: Path, *options: str, **environ: str) -> tuple[int, str, str]:
    with start(scratch, *options, **environ) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_letter_goes_its_way_and_every_scene_says_what_came_of_it(scratch):
    # What an operator has in the environment is for his own server.
    code, out, err = run(scratch, "--json", "--messages", str(MESSAGES), MTA_HOSTNAME="stray", NOTIFY_SOCKET="/nowhere")
    assert code == 0, err
    scenes = {row.pop("step"): row for row in map(json.loads, out.splitlines())}
    assert list(scenes) == ["setup", "letter", "refused", "waiting", "burst", "audit", "end"]
    letter = scenes["letter"]
    assert [(hop["client"], hop["server"]) for hop in letter["hops"]] == [
        ("Ada", "Athena"), ("Athena", "Hermes"), ("Hermes", "Arlington"),
    ]  # fmt: skip
    for hop in letter["hops"]:
        said = [turn["text"] for turn in hop["turns"] if turn["side"] == "client"]
        assert said[1:4] == ["MAIL FROM:<ada@paradigms.example> SIZE=" + said[1].rpartition("=")[2],
                             "RCPT TO:<mark@minasi.example>", "DATA"]  # fmt: skip
        assert re.match(r"250 2\.0\.0 ", [t["text"] for t in hop["turns"] if t["text"][:4] == "250 "][-1])
    assert [(lookup["kind"], lookup["asked"]) for lookup in letter["lookups"]] == [("MX", 1), ("A", 1)]
    hops = re.findall(r"^Received: .*?by (\S+)", letter["arrived"], re.MULTILINE | re.DOTALL)
    assert hops == ["hermes.paradigms.example", "athena.paradigms.example"]
    assert scenes["refused"]["reply"].startswith("550 5.1.1 ")
    assert scenes["refused"]["status"] == "5.1.1"
    assert "Connection refused" in scenes["waiting"]["why"][1]
    assert scenes["burst"]["messages"] == MESSAGES
    assert scenes["audit"]["hermes"]["accepted"] == MESSAGES + 3
    assert scenes["audit"]["hermes"]["drift"] == scenes["audit"]["athena"]["drift"] == 0
    assert scenes["end"]["ok"] is True
    assert list(scratch.iterdir()) == []


def test_pictures_fit_a_terminal_and_carry_no_colours_into_a_pipe(scratch):
    code, out, err = run(scratch, "--messages", "0")
    assert code == 0, err
    assert "\x1b" not in out + err
    assert max(map(len, out.splitlines())) <= 100
    assert "All as it should be." in out
    assert "550 5.1.1" in out
    assert "mta demo: starting Athena and Hermes" in err


def test_kept_files_are_two_installations_that_start_again(scratch):
    code, out, err = run(scratch, "--quiet", "--keep", "--messages", "1")
    assert (code, out, err) == (0, "", "")
    (kept,) = scratch.iterdir()
    for name in ("athena", "hermes"):
        done = subprocess.run(
            [sys.executable, "-m", "mta", "--config", kept / f"{name}.toml", "audit", "--json"],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["drift"] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_can_be_ended_at_any_moment_and_leaves_nothing(scratch, number, code):
    with start(scratch, "--json", "--messages", "1000000") as process:
        assert process.stdout is not None
        setup = json.loads(process.stdout.readline())
        locks = list(Path(setup["directory"]).glob("*/mta.lock"))
        relays = [int(lock.read_text()) for lock in locks]
        assert len(relays) == 2
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in err
    assert not any(map(running, relays))
    assert list(scratch.iterdir()) == []


def test_relays_die_with_a_demo_that_is_killed(scratch):
    with start(scratch, "--json", "--messages", "1000000") as process:
        assert process.stdout is not None
        setup = json.loads(process.stdout.readline())
        locks = list(Path(setup["directory"]).glob("*/mta.lock"))
        assert len(locks) == 2
        process.kill()
        process.wait(PATIENCE)
    for path in locks:
        with open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # free when the last process of a relay is gone; the test's timeout guards


def test_what_is_wrong_is_said_in_one_line(scratch):
    long = scratch / ("x" * 120)
    long.mkdir()
    code, out, err = run(scratch, "--quiet", TMPDIR=str(long))
    assert (code, out) == (os.EX_UNAVAILABLE, "")
    (line,) = err.splitlines()
    assert re.match("mta: (athena|hermes) did not start: listener unix:", line)
    assert line.endswith("the path is too long for a socket: at most 107 octets")
    assert list(long.iterdir()) == []
