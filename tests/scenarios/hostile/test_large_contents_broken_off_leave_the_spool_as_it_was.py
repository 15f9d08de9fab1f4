"""Large contents broken off midway leave the spool as it was: the file does not grow, what was written is purged."""

import pytest

from tests.harness.hostile import ENVELOPE, Footprint, Raw, Worker, good_client
from tests.harness.mta_server import wait_until

LINES = (b"x" * 998 + b"\r\n") * 1000
MEGABYTES = 5


@pytest.fixture
def streaming(mta):
    server = mta(route=[{"domain": "*", "to": "discard:"}])
    good_client(server)
    server.wait_for_event("Delivery")
    return server


def begun(port: int) -> Raw:
    """A client with a large content half sent: the spool has the first pieces of it."""
    client = Raw(port).hello()
    client.say(ENVELOPE)
    client.replies(3)
    client.say(b"Subject: large\r\n\r\n" + LINES * MEGABYTES)
    return client


def test_large_contents_broken_off_leave_the_spool_as_it_was(streaming) -> None:
    data = streaming.data / "spool" / "0" / "data.mdb"
    before, worker = Footprint(streaming), Worker(streaming)
    used, held = [], []
    for turn in range(12):
        if turn == 4:
            before = Footprint(streaming)  # now the allocator has what it keeps, some twenty megabytes
        clients = [begun(streaming.port) for _ in range(4)]
        good_client(streaming)
        for n, client in enumerate(clients):
            if n % 2:
                client.reset()
            else:
                client.sock.close()
        wait_until(lambda: worker.connections() == 0, "all of them gone")
        good_client(streaming)
        used.append(data.stat().st_blocks * 512)
        held.append(worker.anonymous())
    assert used[-1] <= used[3], f"the spool's file has grown: {used}"
    before.back(holding=min(held[-4:]))  # what it holds in every turn; the rest is the allocator's, for a while
    with begun(streaming.port) as client:
        assert client.ask(b".\r\n").startswith("250 2.0.0 ")


def test_contents_cut_by_a_killed_server_are_purged_at_the_next_start(streaming) -> None:
    data = streaming.data / "spool" / "0" / "data.mdb"
    sizes = []
    for _ in range(3):
        clients = [begun(streaming.port) for _ in range(4)]
        good_client(streaming)
        streaming.kill()
        for client in clients:
            client.sock.close()
        streaming.start()
        good_client(streaming)
        sizes.append(data.stat().st_blocks * 512)
    assert sizes[-1] <= sizes[0] + (8 << 20), sizes
    assert streaming.audit()["accepted"] == 7
