"""The files of a shard: who may open them, which are refused, how they are made; and the filler."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from mta.disk.environment import DATA_FILE, PREALLOCATE, EnvironmentLocked, WrongFormat
from mta.errors import StorageError
from mta.model.message import HELD
from mta.model.spoolid import shard_of
from mta.spool.books import count_queued
from mta.spool.fill import Pattern, fill
from mta.spool.shard import Shard, shard_directory, shards
from mta.spool.stopped import open_stopped
from tests.harness.spooling import SMALL, make_message, open_disk, store

OPEN = {name: SMALL[name] for name in ("map_size", "preallocate", "lock_wait")}


def test_a_shard_that_is_open_is_locked_and_the_error_names_the_owner(tmp_path: Path) -> None:
    shard = Shard(tmp_path, **OPEN)
    with pytest.raises(EnvironmentLocked, match=str(os.getpid())):
        Shard(tmp_path, **OPEN)
    with pytest.raises(EnvironmentLocked):
        open_stopped(tmp_path)
    shard.close()
    Shard(tmp_path, **OPEN).close()


def test_the_lock_is_waited_for_because_a_killed_predecessor_may_still_be_exiting(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from mta.spool.shard import Shard\n"
        "Shard(Path(sys.argv[1]), preallocate=0); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        with pytest.raises(EnvironmentLocked):
            Shard(tmp_path, **OPEN)
        owner.kill()
        Shard(tmp_path, **{**OPEN, "lock_wait": 20.0}).close()


def test_a_newer_format_is_refused_with_a_sentence(tmp_path: Path) -> None:
    shard = Shard(tmp_path, **OPEN)
    with shard.env.begin(write=True) as txn:
        txn.put(b"version", b"2", db=shard.env.open_db(b"format", txn=txn, create=False))
    shard.close()
    with pytest.raises(WrongFormat, match=r"format 2, this program reads up to 1"):
        Shard(tmp_path, **OPEN)
    with pytest.raises(WrongFormat):
        open_stopped(tmp_path)


@pytest.mark.parametrize("octets", [b"", b"\0" * 8192, b"From: somebody\n" * 1000])
def test_a_foreign_file_is_refused(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / DATA_FILE).write_bytes(octets)
    with pytest.raises(WrongFormat, match=DATA_FILE):
        Shard(tmp_path, **OPEN)
    (tmp_path / DATA_FILE).unlink()
    Shard(tmp_path, **OPEN).close()


def test_somebody_elses_lmdb_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = str(tmp_path / DATA_FILE)
    with lmdb.open(foreign, subdir=False, lock=False, lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"key", b"value")
    before = (tmp_path / DATA_FILE).read_bytes()
    with pytest.raises(WrongFormat, match="not a spool"):
        Shard(tmp_path, **OPEN)
    assert (tmp_path / DATA_FILE).read_bytes() == before


def test_a_file_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "data.new").write_bytes(b"\0" * 5000)
    Shard(tmp_path, **OPEN).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [DATA_FILE, "lock"]


def test_a_new_file_has_its_blocks_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    Shard(tmp_path / "spool" / "0", map_size=1 << 30).close()
    status = (tmp_path / "spool" / "0" / DATA_FILE).stat()
    assert status.st_blocks * 512 >= PREALLOCATE
    assert status.st_mode & 0o777 == 0o600
    assert (tmp_path / "spool" / "0").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Not a directory") as caught:
        Shard(tmp_path / "file" / "spool", **OPEN)
    assert "\n" not in str(caught.value)


def test_a_limit_on_file_size_lowers_the_map_instead_of_failing_later(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 20, hard))
    try:
        shard = Shard(tmp_path, **{**OPEN, "map_size": 1 << 40})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert shard.map_size == 128 << 20
    shard.close()


def test_a_limit_on_address_space_lowers_the_map(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from mta.spool.shard import Shard\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "shard = Shard(Path(sys.argv[1]), preallocate=0); print(shard.map_size)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (64 << 20) <= int(done.stdout) < (4 << 30)


def test_only_numbered_shards_with_a_spool_in_them_count(tmp_path: Path) -> None:
    assert shards(tmp_path) == []
    for number in (10, 2):
        Shard(shard_directory(tmp_path, number), **OPEN).close()
    (tmp_path / "spool" / "3").mkdir()
    (tmp_path / "spool" / "old").mkdir()
    assert shards(tmp_path) == [2, 10]


def test_there_is_nothing_to_read_where_no_spool_is_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no spool here"):
        open_stopped(tmp_path / "7")
    assert list(tmp_path.iterdir()) == []


async def test_a_stopped_spool_reads_like_a_running_one(tmp_path: Path) -> None:
    spool = open_disk(tmp_path)
    message = make_message(1, b"x" * 5000)
    await store(spool, message, b"x" * 5000)
    await spool.stop()
    with open_stopped(tmp_path) as stopped:
        assert stopped.load(1) == message
        assert b"".join(stopped.content(message)) == b"x" * 5000
        assert stopped.ledger().accepted == 1
    with pytest.raises(StorageError, match="closed"):
        stopped.load(1)
    with pytest.raises(StorageError, match="closed"):
        spool.load(1)


def test_filling_queues_messages_in_every_shard_and_its_books_balance(tmp_path: Path) -> None:
    told: list[int] = []
    fill(tmp_path, 2, 501, Pattern(domains=("a.example", "b.example"), size=6000, due=7), progress=told.append)
    fill(tmp_path, 2, 100)
    assert told == [251, 501]
    assert shards(tmp_path) == [0, 1]
    total = 0
    for number in shards(tmp_path):
        with open_stopped(shard_directory(tmp_path, number)) as spool:
            total += count_queued(spool)
            assert spool.ledger().outstanding() == count_queued(spool)
            messages = spool.messages(0, 1000)
            assert {shard_of(message.id) for message in messages} == {number}
            assert {message.recipients[0].domain for message in messages[:251]} >= {"a.example", "b.example"}
            content = b"".join(spool.content(messages[0]))
            assert len(content) == messages[0].size
            assert 5500 < len(content) <= 6000
            assert content.endswith(b"\r\n")
            assert len(spool.due(b"", HELD, 1000)) == len(messages)
            assert len(spool.due(b"", 7, 1000)) == 251 - number
    assert total == 601


async def test_a_spool_that_a_server_has_open_is_not_filled(tmp_path: Path) -> None:
    spool = open_disk(shard_directory(tmp_path, 0))
    with pytest.raises(EnvironmentLocked):
        fill(tmp_path, 1, 1)
    await spool.stop()


COMMITS_ON_A_SNAPSHOT = """
import sys, lmdb
from pathlib import Path
from mta.spool.shard import Shard
shard = Shard(Path(sys.argv[1]), preallocate=0, map_size=1 << 30)
def write(mark):
    with shard.env.begin(write=True) as txn:
        for n in range(400):
            txn.put(b"%06d" % n, mark * 4080, db=shard.content)
for _ in range(5):
    write(b"-")
snapshot = shard.env.begin()
for n in range(int(sys.argv[2])):
    write(b"%d" % n)
whole = all(snapshot.get(b"%06d" % n, db=shard.content) == b"-" * 4080 for n in range(400))
print("whole" if whole else "overwritten")
"""


@pytest.mark.parametrize("commits", [1, 2])
def test_a_snapshot_outlives_the_commit_that_follows_it_and_one_more(tmp_path: Path, commits: int) -> None:
    assert _read_after(tmp_path, commits) == "whole\n"


def test_and_no_longer_than_that_so_it_must_be_renewed(tmp_path: Path) -> None:
    assert _read_after(tmp_path, 3) != "whole\n"


def _read_after(directory: Path, commits: int) -> str:
    """In a process of its own: what reads an outlived snapshot may also crash."""
    command = [sys.executable, "-c", COMMITS_ON_A_SNAPSHOT, str(directory), str(commits)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
