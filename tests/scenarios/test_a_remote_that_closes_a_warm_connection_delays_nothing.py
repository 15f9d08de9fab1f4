"""A remote may close an idle connection at the moment we use it again: the message goes over a new one at once."""

import pytest

from tests.harness.mta_server import submit
from tests.harness.scripted_remote import Answer
from tests.harness.stories import route


@pytest.mark.parametrize(
    "farewell", [Answer(drop=True), Answer(b"421 4.4.2 idle for too long\r\n", drop=True)], ids=["drop", "421"]
)
def test_a_remote_that_closes_a_warm_connection_delays_nothing(mta, sink, farewell) -> None:
    remote = sink({"MAIL": ["250 ok", farewell, "250 ok"]})
    server = mta(route=[route("*", remote.port)])  # the first retry would come after a minute
    with server.connect() as session:
        submit(session)
        server.wait_for_events(1, "Delivery")
        submit(session)
        server.wait_for_events(2, "Delivery")
    assert len(remote.remotes) == 2
    assert server.events("TransientFailure") == []


def test_a_remote_that_closes_every_connection_is_not_asked_again_and_again(mta, sink) -> None:
    remote = sink({"MAIL": ["250 ok"] + [Answer(drop=True)] * 9})
    server = mta(route=[route("*", remote.port)])
    with server.connect() as session:
        submit(session)
        server.wait_for_events(1, "Delivery")
        submit(session)
        server.wait_for_events(1, "TransientFailure")
    assert len(remote.remotes) == 2
