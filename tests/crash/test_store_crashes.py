"""A store that is killed or loses power keeps every message that it said it had and none that it said was removed.

The long version: ``python3 -m tests.crash.store --kills 100 --cuts 20``.
"""

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mta.errors import StorageError
from mta.store.disk import DiskStore
from mta.store.protocol import Copy, StoreFailed
from mta.store.stopped import open_stopped
from mta.store.tables import store_directory
from tests.crash.store import ROOT, Promises, Victim, cut_once, kill_once
from tests.crash.store_eraser import BITE, MESSAGES, OTHER
from tests.harness.directory import make_directory
from tests.harness.powercut import needs_power_cut, power_cut_disk
from tests.harness.storing import HEAD, SMALL, deliver, sent

KILLS = 10
CUTS = 3


def test_promises_outlive_kill_9(tmp_path: Path) -> None:
    chance = random.Random(1998)
    promises = Promises()
    for life in range(KILLS):
        assert kill_once(tmp_path / "store", promises, life, chance) == []
    assert len(promises.delivered) > KILLS * 100
    assert promises.removals > KILLS


@needs_power_cut
def test_promises_outlive_a_power_cut(tmp_path: Path) -> None:
    chance = random.Random(2026)
    promises = Promises()
    with power_cut_disk(tmp_path, 256) as disk:
        for life in range(CUTS):
            assert cut_once(disk, promises, life, chance) == []
    assert len(promises.delivered) > CUTS * 100
    assert promises.removals > CUTS


@needs_power_cut
def test_the_power_cut_is_real_because_commits_that_do_not_sync_lose_messages(tmp_path: Path) -> None:
    promises = Promises()
    with power_cut_disk(tmp_path, 256) as disk:
        try:
            wrong = cut_once(disk, promises, 0, random.Random(3), "unsynced")
        except StorageError as damaged:
            wrong = [str(damaged)]
    assert wrong


def test_a_broken_promise_is_found(tmp_path: Path) -> None:
    """The comparison itself: each kind of breach, made by hand."""
    promises = Promises()
    victim = Victim(tmp_path / "store", promises, 1)
    victim.read(2000)
    victim.kill()
    assert promises.broken(tmp_path / "store") == []
    kept = sorted(set(promises.delivered) - promises.removed)
    promises.delivered[1, 5] = 7
    assert promises.broken(tmp_path / "store") == ["1 acknowledged messages are lost"]
    promises.removed |= {(1, 5), kept[0]}
    assert promises.broken(tmp_path / "store") == ["1 removed messages are back"]
    promises.removed.discard(kept[0])
    promises.open.append(frozenset({(1, 5), kept[0]}))
    assert promises.broken(tmp_path / "store") == ["a removal of 2 messages took away 1"]
    promises.delivered[kept[1]] += 1
    assert promises.broken(tmp_path / "store") == [
        f"message {kept[1][1]} of mailbox {kept[1][0]} is not as it was delivered"
    ]
    promises.hear(b"delivered 1 5 7\n")
    assert "uid 5 of mailbox 1 was given twice" in promises.broken(tmp_path / "store")


@needs_power_cut
async def test_a_disk_that_fills_up_behind_our_back_fails_the_commit_and_loses_nothing(tmp_path: Path) -> None:
    with power_cut_disk(tmp_path, 24) as disk:
        directory = disk.path / "store"
        store = DiskStore(directory, **SMALL)
        failures: list[StoreFailed] = []
        store.start(failures.append)
        content = b"x" * 1_000_000
        kept = []
        while not failures:
            (outcome,) = await sent(store, [Copy(1, HEAD)], content)
            if isinstance(outcome, int):
                kept.append(outcome)
            if len(kept) == 3:
                with pytest.raises(OSError, match="No space left"):
                    fill_up(disk.path / "foreign")
        await store.stop()
        (disk.path / "foreign").unlink()
        with open_stopped(directory) as stopped:
            assert set(kept) <= set(stopped.view(1).uids)
            assert (await stopped.audit()).drift == 0
        again = DiskStore(directory, **SMALL)
        again.start(failures.append)
        await deliver(again, 1)
        await again.stop()


def test_an_erasure_that_is_killed_keeps_the_books_and_is_said_again(tmp_path: Path) -> None:
    make_directory(tmp_path, ["mark@minasi.example"]).close()
    chance = random.Random(77)
    left = MESSAGES
    for life in range(6):
        removed = erased_until_killed(tmp_path, chance.randrange(4, 9) if life else 1)
        with open_stopped(store_directory(tmp_path)) as store:
            audit = asyncio.run(store.audit())
            assert audit.findings == []
            there = store.usage(77).messages
            assert left - there >= removed, "what was said to be gone is gone"
            assert (left - there) % BITE == 0, "and of each bite all or nothing"
            assert store.usage(OTHER).messages == audit.bodies == MESSAGES
        left = there
    assert 0 < left < MESSAGES, "each was broken off"
    assert erased_until_killed(tmp_path, None) == left
    with open_stopped(store_directory(tmp_path)) as store:
        assert store.mailboxes(0, 10) == [OTHER]
        assert asyncio.run(store.audit()).drift == 0


def erased_until_killed(data: Path, lines: int | None) -> int:
    """Messages that were said to be removed in one life; None: up to its end."""
    argv = [sys.executable, "-m", "tests.crash.store_eraser", str(data), "77"]
    with subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as life:
        assert life.stdout is not None
        heard = list(itertools.islice(life.stdout, lines))
        if lines is not None:
            life.kill()
        heard += life.stdout.readlines()
    rows = [json.loads(line) for line in heard if line.startswith(b"{") and line.endswith(b"}\n")]
    assert [row for row in rows if "error" in row] == []
    return max((row["removed"] for row in rows if "removed" in row), default=0)


def fill_up(path: Path) -> None:
    """Another program takes all that is left."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
