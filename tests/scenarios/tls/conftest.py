"""One server for all stories about TLS; each begins and ends with it unharmed, its books balanced."""

from collections.abc import Iterator

import pytest

from tests.harness.hostile import Footprint, good_client
from tests.harness.mail_house import PEOPLE, ZOE
from tests.harness.mta_server import wait_until
from tests.harness.submission_house import SubmissionHouse


@pytest.fixture(scope="session")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SubmissionHouse]:
    """Discards what it takes for other people."""
    made = SubmissionHouse(tmp_path_factory.mktemp("tls") / "house", route=[{"domain": "*.example", "to": "discard:"}])
    try:
        made.start()
        good_client(made)
        with made.client("starttls") as session:
            session.login(ZOE, PEOPLE[ZOE])
        made.wait_for_event("Delivery")  # now every file that it opens late is open
        yield made
        made.stop()
    finally:
        made.close()


@pytest.fixture
def server(one_server: SubmissionHouse) -> Iterator[SubmissionHouse]:
    """Whatever the test does, nothing is accepted from it, and a good client behind it is served."""
    good_client(one_server)
    before, accepted = Footprint(one_server), one_server.audit()["accepted"]
    yield one_server
    good_client(one_server)
    before.back()
    wait_until(lambda: one_server.audit()["queued"] == 0, "an empty queue")
    assert one_server.audit()["accepted"] == accepted + 1
