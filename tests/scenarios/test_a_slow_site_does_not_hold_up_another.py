"""3,000 messages wait for a site that takes connections and says nothing; a message to another site goes at once."""

from concurrent.futures import ThreadPoolExecutor

from mta.clock import SystemClock
from tests.harness.mta_server import submit
from tests.harness.scripted_remote import MUTE
from tests.harness.stories import route

MESSAGES = 3000
CLIENTS = 8


def test_a_slow_site_does_not_hold_up_another(mta, sink) -> None:
    slow, quick = sink({"CONNECT": [MUTE] * 100}), sink()
    server = mta(
        route=[route("slow.example", slow.port), route("*", quick.port)],
        delivery={"ready_limit": 500, "max_connections_per_site": 5},
    )

    def client(number: int) -> None:
        with server.connect() as session:
            for n in range(MESSAGES // CLIENTS):
                submit(session, f"user{number}.{n}@slow.example")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    clock = SystemClock()
    began = clock.monotonic()
    server.wait_for_event("Delivery", id=server.send("bob@quick.example"))
    assert clock.monotonic() - began < 2.0
    assert server.audit()["queued"] == MESSAGES
    server.restart()  # and after a start, when everything comes from the spool
    began = clock.monotonic()
    server.wait_for_event("Delivery", id=server.send("bob@quick.example"))
    assert clock.monotonic() - began < 2.0
    assert {message.recipients[0] for message in quick.received} == {"bob@quick.example"}
    assert server.mta("queue", "remove", "--domain", "slow.example").returncode == 0


def test_all_of_a_backlog_above_the_ready_limit_is_delivered_once(mta, sink) -> None:
    remote = sink()
    remote.stop()
    server = mta(route=[route("*", remote.port)], delivery={"ready_limit": 50, "retry_after": ["500ms"]})
    with server.connect() as session:
        for n in range(400):
            submit(session, f"user{n}@arlington.example")
    remote.start()
    server.wait_for_empty_queue()
    got = [r for message in remote.received for r in message.recipients]
    assert sorted(got) == sorted(f"user{n}@arlington.example" for n in range(400))
