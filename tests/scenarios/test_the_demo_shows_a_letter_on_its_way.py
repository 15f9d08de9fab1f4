"""``mta demo``, as an operator runs it: figure 1, a letter's way there and back, and nothing left behind."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest

from tests.harness.mta_server import alive, wait_until
from tests.harness.sinks import peer_program

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


def test_a_letter_goes_its_way_and_every_scene_says_what_came_of_it(scratch):
    # What an operator has in the environment is for his own server.
    code, out, err = run(scratch, "--json", "--messages", str(MESSAGES), MTA_HOSTNAME="stray", NOTIFY_SOCKET="/nowhere")
    assert code == 0, err
    scenes = {row.pop("step"): row for row in map(json.loads, out.splitlines())}
    assert list(scenes) == ["setup", "letter", "reply", "refused", "waiting", "burst", "mailbox", "audit", "end"]
    ada, mark = "ada@paradigms.example", "mark@minasi.example"
    check_journey(scenes["letter"], ["Ada", "Athena", "Hermes", "Arlington", "Mark"], ada, mark)
    check_journey(scenes["reply"], ["Mark", "Arlington", "Hermes", "Athena", "Ada"], mark, ada)
    asked = {(row["name"], row["kind"]): row["answer"] for row in scenes["letter"]["lookups"]}
    assert asked["minasi.example", "MX"] == "10 arlington.minasi.example"
    assert asked["arlington.minasi.example", "A"] == scenes["setup"]["addresses"]["arlington"].partition(":")[0]
    asked = {(row["name"], row["kind"]): row["answer"] for row in scenes["reply"]["lookups"]}
    assert asked["paradigms.example", "MX"] == "10 hermes.paradigms.example"
    assert scenes["refused"]["reply"].startswith("550 5.1.1 ")
    assert scenes["refused"]["status"] == "5.1.1"
    assert "Connection refused" in scenes["waiting"]["why"][1]
    assert scenes["burst"]["messages"] == MESSAGES
    kept = scenes["mailbox"]["messages"]
    assert kept == MESSAGES // 5
    audit = scenes["audit"]
    assert [audit[name]["accepted"] for name in ("athena", "hermes", "arlington")] == [5, MESSAGES + 4, kept + 3]
    assert [audit[name]["removed"] for name in ("athena_store", "arlington_store")] == [2, kept + 2]
    assert [row["drift"] for row in audit.values()] == [0] * 5
    assert scenes["end"]["ok"] is True
    assert list(scratch.iterdir()) == []


def check_journey(scene, people, author, reader):
    """Each session is between neighbours, carries the envelope as it was, and ends well; then it is fetched by POP3."""
    assert [(hop["client"], hop["server"]) for hop in scene["hops"]] == list(pairwise(people[:-1]))
    for hop, queue_id in zip(scene["hops"], scene["queue_ids"], strict=True):
        said = [turn["text"] for turn in hop["turns"] if turn["side"] == "client"]
        assert said[1:4] == [f"MAIL FROM:<{author}> SIZE=" + said[1].rpartition("=")[2], f"RCPT TO:<{reader}>", "DATA"]
        assert f"250 2.0.0 {queue_id} queued" in [turn["text"] for turn in hop["turns"] if turn["side"] == "server"]
    assert scene["stored"]["queue_id"] == scene["queue_ids"][-1]
    assert scene["stored"]["reply"].startswith("250 2.")
    fetched = scene["fetched"]
    assert (fetched["client"], fetched["server"]) == (people[-1], people[-2])
    said = [turn["text"] for turn in fetched["turns"] if turn["side"] == "client"]
    assert said == [f"USER {reader}", "PASS ********", "STAT", "RETR 1", "DELE 1", "QUIT"]
    assert all(turn["text"][:3] in ("+OK", ".", "") for turn in fetched["turns"] if turn["side"] == "server")
    hops = re.findall(r"^Received: .*?by (\S+)", scene["arrived"], re.MULTILINE | re.DOTALL)
    assert [hop.partition(".")[0].title() for hop in reversed(hops)] == people[1:-1]
    assert scene["arrived"].startswith(f"Return-Path: <{author}>\r\nDelivered-To: {reader}\r\nReceived: ")


@pytest.mark.parametrize("name", ["nsd", "unbound", "own"])
def test_the_name_server_is_the_one_that_was_asked_for(scratch, name):
    if name != "own":
        peer_program(name, name)
    code, out, err = run(scratch, "--json", "--messages", "0", "--dns", name)
    assert code == 0, err
    assert json.loads(out.splitlines()[0])["dns"] == {"own": "Hermes's own"}.get(name, name)
    assert list(scratch.iterdir()) == []


def test_pictures_fit_a_terminal_and_carry_no_colours_into_a_pipe(scratch):
    code, out, err = run(scratch, "--messages", "0")
    assert code == 0, err
    assert "\x1b" not in out + err
    assert max(map(len, out.splitlines())) <= 92
    assert "All as it should be." in out
    assert "550 5.1.1" in out
    assert "mta demo: starting Athena, Hermes, Arlington and the DNS" in err


def test_kept_files_are_three_installations_with_balanced_books(scratch):
    code, out, err = run(scratch, "--quiet", "--keep", "--messages", "1")
    assert (code, out, err) == (0, "", "")
    (kept,) = scratch.iterdir()
    for name in ("athena", "hermes", "arlington"):
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
        servers = [int(lock.read_text()) for lock in [*locks, *Path(setup["directory"]).glob("*/*.pid")]]
        assert len(locks) == 3
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in err
    assert not any(map(alive, servers))
    assert list(scratch.iterdir()) == []


def test_servers_die_with_a_demo_that_is_killed(scratch):
    with start(scratch, "--json", "--messages", "1000000") as process:
        assert process.stdout is not None
        setup = json.loads(process.stdout.readline())
        locks = list(Path(setup["directory"]).glob("*/mta.lock"))
        assert len(locks) == 3
        name_servers = [int(path.read_text()) for path in Path(setup["directory"]).glob("*/*.pid")]
        process.kill()
        process.wait(PATIENCE)
    for path in locks:
        with open(path) as lock:
            fcntl.flock(
                lock, fcntl.LOCK_EX
            )  # free when the last process of a server is gone; the test's timeout guards
    for pid in name_servers:
        wait_until(lambda pid=pid: not alive(pid), f"name server {pid} is gone")


def test_what_is_wrong_is_said_in_one_line(scratch):
    long = scratch / ("x" * 120)
    long.mkdir()
    code, out, err = run(scratch, "--quiet", TMPDIR=str(long))
    assert (code, out) == (os.EX_UNAVAILABLE, "")
    (line,) = err.splitlines()
    assert re.match("mta: (athena|hermes|arlington) did not start: listener unix:", line)
    assert line.endswith("the path is too long for a socket: at most 107 octets")
    assert list(long.iterdir()) == []
