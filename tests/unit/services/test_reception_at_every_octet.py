"""A client may be gone after any octet of a dialogue: what was not ended is not there, and nothing is left over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mta.spool.disk import DiskSpool
from tests.harness.in_process import CONTENT, HELLO, InProcess, turns
from tests.harness.in_step import groups
from tests.harness.spooling import SMALL

FIRST = (
    b"MAIL FROM:<alice@athena.example> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<bob@arlington.example>\r\n"
    b"RCPT TO:<carol@b.example>\r\nRCPT TO:<>\r\nDATA\r\n" + CONTENT + b"..\r\n.\r\n"
)
SECOND = b"MAIL FROM:<>\r\nRSET\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<bob@arlington.example>\r\nDATA\r\n\r\n.\r\n"
DIALOGUE = HELLO + FIRST + SECOND + b"QUIT\r\n"
ENDS = (len(HELLO + FIRST), len(HELLO + FIRST + SECOND))
NOTHING = {"sessions": 0, "clients": 0, "watched": 0, "gauge": 0}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[InProcess]:
    made = InProcess(tmp_path)
    yield made
    await made.close()


def messages_in(octets: int) -> int:
    return sum(octets >= end for end in ENDS)


@pytest.mark.parametrize("step", [1, 7, len(DIALOGUE)])
async def test_a_client_may_be_gone_after_any_octet(site: InProcess, step: int) -> None:
    """It waits for each answer, so that every end of content that was said has its commit."""
    expected = 0
    for end in range(len(DIALOGUE) + 1):
        connection, _ = site.connect()
        for group in groups(DIALOGUE[:end]):
            for at in range(0, len(group), step):
                connection.data_received(group[at : at + step])
                if connection.session.pending:
                    await turns()
        while connection.session.pending:
            await turns()
        connection.connection_lost(None if end % 2 else ConnectionResetError())
        expected += messages_in(end)
        assert site.left_over() == NOTHING, end
        assert len(site.spool.messages(0, 10_000)) == expected, end
    books = site.spool.ledger()
    assert (
        books.accepted
        == books.outstanding()
        == sum(2 * (end >= ENDS[0]) + (end >= ENDS[1]) for end in range(len(DIALOGUE) + 1))
    )


async def test_with_a_decision_pending_the_message_is_there_and_its_answer_is_not(site: InProcess) -> None:
    for end in ENDS:
        before = site.spool.ledger().accepted
        connection, transport = site.connect()
        for group in groups(DIALOGUE[:end]):
            while connection.session.pending:
                await turns()
            transport.take()
            connection.data_received(group)
        connection.connection_lost(None)
        transport.take()
        await turns()
        assert transport.said == b""
        assert site.spool.ledger().accepted == before + (2 if end == ENDS[0] else 3)
        assert site.left_over() == NOTHING


async def test_streamed_content_that_is_cut_leaves_nothing_in_the_spool(tmp_path: Path) -> None:
    """Also when the cut comes while the disk is behind and reading is stopped."""
    spool = DiskSpool(tmp_path / "0", 0, **SMALL)
    site = InProcess(tmp_path, spool)
    begin = HELLO + b"MAIL FROM:<a@athena.example>\r\nRCPT TO:<bob@arlington.example>\r\nDATA\r\nSubject: x\r\n\r\n"
    block = (b"x" * 998 + b"\r\n") * 256
    for blocks in (1, 4, 5, 6, 20, 40):
        connection, _ = site.connect()
        for group in groups(begin):
            connection.data_received(group)
        for _ in range(blocks):
            connection.data_received(block)
        connection.connection_lost(ConnectionResetError())
        assert site.left_over() == NOTHING
    await site.close()
    again = DiskSpool(tmp_path / "0", 0, **SMALL)
    again.start(lambda error: None)
    assert again.messages(0, 10) == []
    assert again.ledger().accepted == 0
    await again.stop()
