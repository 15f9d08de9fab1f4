"""A proxy of ours brings clients to submission and says who has logged in with it, while policy has yet to decide."""

from pathlib import Path
from typing import Any

import pytest

from mta.config.units import network
from mta_ext.session import PENDING
from mta_ext.throttle import UNCOUNTED
from tests.harness.in_process import turns
from tests.harness.submitting import SUBMITS, Submitting

ACCESS = SUBMITS._replace(extensions=("PIPELINING", "AUTH", "XCLIENT"), xclient=(network("192.0.2.7/32"),))
HELLO = b"EHLO client.example\r\n"
XCLIENT = b"XCLIENT ADDR=198.51.100.9 LOGIN=mark@minasi.example\r\n"
MAIL = b"MAIL FROM:<mark@minasi.example>\r\n"


class Undecided:
    """A guard that lets everybody connect, and thinks about whoever a proxy names."""

    def enter(self, connection: Any, host: Any, share: float) -> None:
        host.row = UNCOUNTED

    def enter_as_another(self, connection: Any, host: Any) -> Any:
        return PENDING

    def leave(self, host: Any) -> None:
        """Nothing was counted."""


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [(None, b"250 ok\r\n"), (b"550 5.7.1 not you\r\n", b"530 authentication required\r\n")],
    ids=["accepted", "refused"],
)
async def test_a_login_counts_once_the_client_is_accepted(tmp_path: Path, verdict: bytes | None, answer: bytes) -> None:
    place = Submitting(tmp_path)
    place.reception.guard = Undecided()  # type: ignore[assignment]
    connection, transport = place.connect(peer=("192.0.2.7", 4711), access=ACCESS)
    for octets in (HELLO, XCLIENT):
        connection.data_received(octets)
        await turns(10)
    connection.answer(verdict)
    transport.written.clear()
    for octets in (HELLO, MAIL):
        connection.data_received(octets)
        await turns(10)
    assert transport.written[-1] == answer
    connection.connection_lost(None)
    await place.close()
