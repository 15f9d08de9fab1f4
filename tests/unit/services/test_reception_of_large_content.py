"""Large content streams into the spool; a client that was held back hears its answer and is read again."""

from pathlib import Path

from mta.services.receiving import DISK_LOW
from mta.spool.disk import DiskSpool
from tests.harness.in_process import ENVELOPE, HELLO, InProcess, turns
from tests.harness.spooling import SMALL

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
