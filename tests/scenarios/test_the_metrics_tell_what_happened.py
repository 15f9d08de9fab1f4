"""/metrics has every name of the contract, and after some traffic they say what it was."""

from itertools import repeat

from tests.harness.mta_server import wait_until
from tests.harness.stories import route

NAMES = {
    "mta_messages_received_total",
    "mta_recipients_delivered_total",
    "mta_recipients_deferred_total",
    "mta_recipients_failed_total",
    "mta_queue_recipients",
    "mta_queue_oldest_seconds",
    "mta_connections",
    "mta_spool_commit_seconds_bucket",
    "mta_spool_commit_messages_bucket",
    "mta_delivery_seconds_bucket",
    "mta_dns_cache_total",
    "mta_ledger_drift",
    "mta_worker_up",
}


def test_the_metrics_tell_what_happened(mta, sink, zones) -> None:
    good, later, never = sink(), sink({"MAIL": repeat("450 4.3.2 later")}), sink({"RCPT": repeat("550 5.1.1 nobody")})
    names = zones({"good.example": ["MX 10 mx.good.example."], "mx.good.example": ["A 127.0.0.1"]}, ttl=300)
    server = mta(
        workers=2,
        dns={"servers": [names.address]},
        route=[
            route("later.example", later.port),
            route("never.example", never.port),
            {"domain": "athena.example", "to": "discard:"},
        ],
        delivery={"retry_after": ["1h"], "port": good.port},
    )
    for _ in range(5):
        server.send(["ann@good.example", "bob@later.example", "cid@never.example"])
    server.wait_for_events(5, "TransientFailure")
    server.wait_for_events(5, "Bounce")
    server.wait_for_events(5, "Delivery", recipient="ann@good.example")
    with server.connect():
        wait_until(lambda: server.metrics()['mta_queue_recipients{state="scheduled"}'] == 5, "gauges are up to date")
        found = server.metrics()
        assert found['mta_connections{direction="in"}'] == 1
    assert {name.partition("{")[0] for name in found} >= NAMES
    assert found["mta_messages_received_total"] == 5
    assert found["mta_recipients_delivered_total"] == 5
    assert found["mta_recipients_deferred_total"] == 5
    assert found["mta_recipients_failed_total"] == 5
    assert found["mta_reports_generated_total"] == 5
    assert found["mta_spool_commit_seconds_count"] >= 5
    assert 0 < found["mta_spool_commit_seconds_sum"] < 60
    assert found["mta_spool_commit_messages_sum"] >= 5
    assert found["mta_delivery_seconds_count"] == 5
    assert found['mta_delivery_seconds_bucket{le="+Inf"}'] == 5
    assert 0 < found["mta_queue_oldest_seconds"] < 60
    assert found['mta_dns_cache_total{result="miss"}'] >= 1
    assert sum(value for name, value in found.items() if name.startswith("mta_dns_cache_total")) >= 5
    assert found["mta_ledger_drift"] == 0
    assert found['mta_worker_up{worker="worker-0"}'] == found['mta_worker_up{worker="worker-1"}'] == 1
    labels = "".join(found)
    assert "@" not in labels, "a recipient is no label"


def test_a_stopped_worker_is_down(mta) -> None:
    server = mta(workers=2)
    assert server.mta("status", "stop", "worker-1").returncode == 0
    assert server.metrics()['mta_worker_up{worker="worker-1"}'] == 0
    assert server.metrics()['mta_worker_up{worker="worker-0"}'] == 1
    assert server.mta("status", "start", "worker-1").returncode == 0
    wait_until(lambda: server.metrics()['mta_worker_up{worker="worker-1"}'] == 1, "worker-1 is back")
