"""Large content streams into the spool; a client that was held back hears its answer and is read again. What a full
disk means is told to clients and to operators."""

from pathlib import Path

import pytest

from mta.services.receiving import DISK_LOW
from mta.spool.disk import DiskSpool
from tests.harness.in_process import ENVELOPE, HELLO, InProcess, turns
from tests.harness.spooling import SMALL
from tests.unit.routing.fakes import SetClock

LARGE = b"Subject: x\r\n\r\n" + (b"x" * 62 + b"\r\n") * (6 * 16_384) + b".\r\n"


async def test_refused_large_content_does_not_stall_its_connection(tmp_path: Path) -> None:
    """All of it comes in one read: reading is held when it ends, and the stream is given up by the spool."""
    spool = DiskSpool(tmp_path / "0", 0, **SMALL)
    site = InProcess(tmp_path, spool)
    connection, transport = site.connect()
    connection.data_received(HELLO)
    connection.data_received(ENVELOPE)
    spool._space._mark = 1 << 60
    spool._space._until = float("-inf")
    connection.data_received(LARGE)
    while connection.session.pending:
        await turns()
    assert transport.take().endswith(DISK_LOW)
    assert transport.reading
    connection.connection_lost(None)
    await site.close()


async def test_a_disk_that_is_full_is_told_once_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = DiskSpool(tmp_path / "0", 0, **SMALL)
    site = InProcess(tmp_path, spool)
    clock = SetClock()
    site.reception.clock = clock

    def refusal(mark: int, later: float) -> bytes | None:
        spool._space._mark = mark
        spool._space._until = float("-inf")
        clock.seconds += later
        return site.reception.refusal_now()

    with caplog.at_level("INFO", "mta.reception"):
        assert refusal(1 << 60, 2) == DISK_LOW
        assert refusal(1 << 60, 2) == DISK_LOW
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "spool.free_space" in caplog.text
        assert refusal(0, 2) is None
        assert refusal(0, 2) is None
        assert refusal(1 << 60, 2) == DISK_LOW  # to and fro at the mark: a line a minute is enough
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert refusal(1 << 60, 61) == DISK_LOW
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]
    await site.close()
