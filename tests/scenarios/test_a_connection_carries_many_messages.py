"""A warm connection takes the next message; max_messages_per_connection ends it in good order."""

from tests.harness.mta_server import submit
from tests.harness.stories import route


def test_messages_one_after_the_other_share_a_connection(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)])
    with server.connect() as session:
        for count in range(1, 21):
            submit(session)
            server.wait_for_events(count, "Delivery")
    assert len(remote.remotes) == 1
    assert server.metrics()['mta_connections_opened_total{direction="out"}'] == 1


def test_a_connection_takes_no_more_than_its_share(mta, sink) -> None:
    remote = sink()
    server = mta(route=[route("*", remote.port)], delivery={"max_messages_per_connection": 3})
    with server.connect() as session:
        for _ in range(20):
            submit(session)
    server.wait_for_events(20, "Delivery")
    server.stop()
    shares = [len(one.received) for one in remote.remotes]
    assert sum(shares) == 20
    assert max(shares) == 3
    assert all(one.commands[-1] == "QUIT" for one in remote.remotes)
    assert remote.violations == []
