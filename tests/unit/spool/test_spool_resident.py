"""What has been read of a large spool does not stay in the memory of the process."""

import asyncio
from pathlib import Path

from mta.disk.environment import DATA_FILE
from mta.disk.resident import INTERVAL, ResidentMap, resident_file_octets
from mta.spool.disk import DiskSpool
from mta.spool.fill import Pattern, fill
from mta.spool.shard import shard_directory
from tests.harness.spooling import SMALL, unexpected

MESSAGES = 1000
SIZE = 64 << 10
BOUND = 4 << 20


def read_all(spool: DiskSpool) -> int:
    return sum(len(chunk) for message in spool.messages(0, MESSAGES) for chunk in spool.content(message))


async def test_pages_that_were_read_are_given_back_and_can_be_read_again(tmp_path: Path) -> None:
    fill(tmp_path, 1, MESSAGES, Pattern(size=SIZE))
    directory = shard_directory(tmp_path, 0)
    spool = DiskSpool(directory, 0, **SMALL)
    spool.start(unexpected)
    resident = ResidentMap(directory / DATA_FILE, BOUND)
    before = resident_file_octets()
    assert not resident.trim()
    octets = read_all(spool)
    assert octets > 0.9 * MESSAGES * SIZE
    assert resident_file_octets() > before + 0.5 * octets
    assert resident.trim()
    assert resident_file_octets() < before + BOUND
    assert read_all(spool) == octets
    await spool.stop()


async def test_a_spool_gives_them_back_by_itself(tmp_path: Path) -> None:
    fill(tmp_path, 1, MESSAGES, Pattern(size=SIZE))
    spool = DiskSpool(shard_directory(tmp_path, 0), 0, **SMALL)
    spool.start(unexpected)
    octets = read_all(spool)
    full = resident_file_octets()
    async with asyncio.timeout(20 * INTERVAL):
        while resident_file_octets() > full - 0.5 * octets:
            await asyncio.sleep(INTERVAL / 10)
    await spool.stop()


def test_a_file_that_is_not_mapped_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert not ResidentMap(tmp_path / "file", bound=-(1 << 40)).trim()
