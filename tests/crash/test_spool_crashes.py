"""A spool that is killed or loses power keeps every message it said it had, and its books balance afterwards."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from mta.clock import SystemClock
from mta.errors import StorageError
from mta.spool.books import count_queued
from mta.spool.disk import DiskSpool
from mta.spool.protocol import SpoolFailed, SpoolFull
from mta.spool.stopped import open_stopped
from tests.crash.spool_writer import content_of
from tests.crash.victim import WritingProcess
from tests.harness.powercut import PowerCut, needs_power_cut, power_cut_disk
from tests.harness.spooling import (
    SMALL,
    Settled,
    applied,
    delivered,
    entries_of,
    make_message,
    store,
    ticket,
    unexpected,
)

ROOT = Path(__file__).resolve().parents[2]
KILLS = 15
CUTS = 3


class Victim(WritingProcess):
    """A writer process and what it said so far."""

    def __init__(self, directory: Path, first: int, durability: str = "commit") -> None:
        self.accepted: set[int] = set()
        self.finished: set[int] = set()
        super().__init__("spool_writer", directory, durability, first)

    def hear(self, line: bytes) -> None:
        word, spool_id = line.split()
        (self.accepted if word == b"accepted" else self.finished).add(int(spool_id))


def missing_after(directory: Path, accepted: set[int], finished: set[int]) -> set[int]:
    """What was promised and is not there. Checks all that is there, octet for octet, and the books."""
    with open_stopped(directory) as spool:
        kept = {message.id: message for message in spool.messages(0, 1 << 30)}
        for message in kept.values():
            assert b"".join(spool.content(message)) == content_of(message.id)
        assert count_queued(spool) == spool.ledger().outstanding()
        due = spool.due(b"", 1 << 62, 1 << 30)
        assert due == sorted(entry for message in kept.values() for entry in entries_of(message))
    return accepted - finished - set(kept)


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    chance = random.Random(1998)
    accepted: set[int] = set()
    finished: set[int] = set()
    for kill in range(KILLS):
        victim = Victim(tmp_path, first=1 + kill * 1_000_000)
        victim.read(chance.randrange(1, 1500))
        victim.kill()
        accepted |= victim.accepted
        finished |= victim.finished
        assert missing_after(tmp_path, accepted, finished) == set()
    assert len(accepted) > KILLS * 100
    assert finished < accepted


def cut_power(disk: PowerCut, durability: str, lines: int) -> tuple[set[int], set[int]]:
    """Cuts the power after so many lines, brings it back, and tells what was promised and what is missing."""
    directory = disk.path / "spool"
    victim = Victim(directory, 1, durability)
    victim.read(lines)
    disk.cut()
    victim.kill()
    disk.remount()
    return victim.accepted, missing_after(directory, victim.accepted, victim.finished)


@needs_power_cut
@pytest.mark.parametrize("cut", range(CUTS))
def test_nothing_acknowledged_is_lost_by_a_power_cut(tmp_path: Path, cut: int) -> None:
    with power_cut_disk(tmp_path) as disk:
        accepted, missing = cut_power(disk, "commit", lines=[1, 500, 3000][cut])
    assert accepted
    assert missing == set()


@needs_power_cut
def test_the_power_cut_is_real_because_buffered_durability_loses_messages(tmp_path: Path) -> None:
    with power_cut_disk(tmp_path) as disk:
        accepted, missing = cut_power(disk, "dangerously-buffered", lines=300)
    assert accepted
    assert missing


@needs_power_cut
def test_a_rig_leaves_nothing_behind(tmp_path: Path) -> None:
    before = subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout
    with power_cut_disk(tmp_path, 16) as disk:
        (disk.path / "file").write_bytes(b"x")
        held = (disk.path / "file").open("rb")
        assert str(disk.path) in Path("/proc/mounts").read_text()
    held.close()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    after = subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in after, (before, after)


@needs_power_cut
async def test_a_disk_that_fills_up_behind_our_back_fails_the_commit_and_loses_nothing(tmp_path: Path) -> None:
    with power_cut_disk(tmp_path, 24) as disk:
        directory = disk.path / "spool"
        spool = DiskSpool(directory, 0, **SMALL)
        failures: list[SpoolFailed] = []
        spool.start(failures.append)
        settled = Settled()
        content = b"x" * 1_000_000
        accepted = 0
        while not failures:
            accepted += 1
            spool.accept(ticket(make_message(accepted, content), content, settled))
            if accepted == 3:
                with pytest.raises(OSError, match="No space left"):
                    fill_up(disk.path / "foreign")
            await settled.count(accepted)
        assert isinstance(settled.results[accepted], StorageError)
        await spool.stop()
        (disk.path / "foreign").unlink()
        with open_stopped(directory) as stopped:
            kept = {m.id for m in stopped.messages(0, 100)}
            assert kept >= {n for n, error in settled.results.items() if error is None}
            assert count_queued(stopped) == stopped.ledger().outstanding()


@needs_power_cut
async def test_a_disk_that_is_nearly_full_is_told_before_it_is_full(tmp_path: Path) -> None:
    with power_cut_disk(tmp_path, 48) as disk:
        spool = DiskSpool(disk.path / "spool", 0, **{**SMALL, "free_space": 8 << 20, "clock": Ticking()})
        spool.start(unexpected)
        settled = Settled()
        content = b"x" * 1_000_000
        message = make_message(1, content)
        await store(spool, message, content)
        spool_id = 1
        while SpoolFull not in map(type, settled.results.values()):
            spool_id += 1
            spool.accept(ticket(make_message(spool_id, content), content, settled))
            await settled.count(spool_id - 1)
        assert spool_id > 10
        await applied(spool, delivered(message))
        assert spool.load(1) is None
        await spool.stop()


def fill_up(path: Path) -> None:
    """Writes until the disk is full, and raises what the system says then."""
    with path.open("wb") as file:
        while True:
            os.write(file.fileno(), bytes(1 << 20))


class Ticking(SystemClock):
    """Every look at the clock is two seconds later, so that free space is looked up each time."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 2
        return self._now
