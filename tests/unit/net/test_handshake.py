"""What may happen between the end of a handshake and the moment in which we hear of it."""

import asyncio
import ssl

import pytest

from mta.net.handshake import begun
from tests.harness.transports import FakeTransport


async def test_a_connection_that_is_lost_before_we_hear_of_its_handshake_is_lost(monkeypatch: pytest.MonkeyPatch):
    """The loop tells the protocol that stands there, and hands over a transport all the same."""

    async def start_tls(transport, door, context, **options):
        door.data_received(b"220 too late\r\n")
        door.connection_lost(None)
        return transport

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    with pytest.raises(ConnectionResetError):
        await begun(FakeTransport(asyncio.Protocol()), ssl.create_default_context(), "mx.example", 1.0)
