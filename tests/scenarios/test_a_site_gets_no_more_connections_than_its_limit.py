"""max_connections_per_site holds for all workers together, and for all domains that share the site's hosts."""

from concurrent.futures import ThreadPoolExecutor

from bench.process import free_port
from tests.harness.mta_server import submit, wait_until
from tests.harness.scripted_remote import MUTE

LIMIT = 3
MESSAGES = 60


def test_a_site_gets_no_more_connections_than_its_limit(mta, sink, zones) -> None:
    port = free_port()
    remote = sink({"DOT": [MUTE] * LIMIT}, port=port)
    domains = [f"customer{n}.example" for n in range(5)]
    names = zones({domain: ["MX 10 mx.example."] for domain in domains} | {"mx.example": ["A 127.0.0.1"]})
    server = mta(
        workers=2,
        dns={"servers": [names.address]},
        delivery={"port": port, "max_connections_per_site": LIMIT, "retry_after": ["1s"]},
    )

    def client(number: int) -> None:
        with server.connect() as session:
            for n in range(MESSAGES // 6):
                submit(session, f"bob{n}@{domains[(number + n) % 5]}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(client, range(6)))

    # Every connection that the site may have hangs in a reply: the others wait for the limit, and `why` says so.
    wait_until(lambda: len(remote.received) == LIMIT, "all connections of the limit hang")

    def waits_for_the_limit() -> bool:
        return any(
            row["waiting_for"] == "the connection limit"
            for queued in server.queue()
            for row in server.why(queued["queue_id"])
        )

    wait_until(waits_for_the_limit, "`mta why` names the limit")
    assert len(remote.remotes) == LIMIT
    remote.stop()  # the hanging ones are lost behind their dot, and tried again
    remote.start()
    server.wait_for_empty_queue()
    assert remote.most_open <= LIMIT
    assert server.audit()["delivered"] == MESSAGES
