"""One server for all stories of bad clients. Each begins and ends with it unharmed: same process, same descriptors, no
connection left, memory back, a good client served in its usual time; at the end no traceback and balanced books."""

from collections.abc import Iterator

import pytest

from tests.harness.hostile import Footprint, good_client
from tests.harness.mta_server import MtaServer, wait_until

LIMITS = {"recipients": 10, "connections": 5000, "connections_per_client": 5000, "errors": 5, "message_size": "2MiB"}


@pytest.fixture(scope="session")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MtaServer]:
    """Discards what it takes, so that nothing piles up."""
    server = MtaServer(
        tmp_path_factory.mktemp("hostile"), route=[{"domain": "*", "to": "discard:"}], limits=LIMITS
    ).start()
    good_client(server)
    server.wait_for_event("Delivery")  # now every file that it opens late is open
    yield server
    try:
        server.stop()
    finally:
        server.close()


@pytest.fixture
def server(hardened: MtaServer) -> Iterator[MtaServer]:
    good_client(hardened)
    before = Footprint(hardened)
    yield hardened
    good_client(hardened)
    before.back()
    wait_until(lambda: hardened.audit()["queued"] == 0, "an empty queue")
