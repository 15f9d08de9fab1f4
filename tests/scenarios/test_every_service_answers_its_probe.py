"""Real directory, store and workers under an attendant that probes all the time: nobody is taken for ill."""

from tests.harness.mta_server import wait_until

SETTINGS = {
    "local": {"domains": ["minasi.example"]},
    "listener": [{"address": "127.0.0.1:0"}, {"protocol": "lmtp", "address": "127.0.0.1:0"}],
}


def test_every_service_answers_its_probe(mta) -> None:
    server = mta(**SETTINGS, workers=2)
    names = ["directory", "store", "worker-0", "worker-1"]
    before = {row["name"]: row["pid"] for row in server.status()["services"]}
    # A probe connects to each of the two LMTP listeners of the store, and nobody else does here.
    opened = server.metrics()['mta_connections_opened_total{direction="in"}']

    def probed() -> bool:
        return server.metrics()['mta_connections_opened_total{direction="in"}'] >= opened + 2

    wait_until(probed, "a greeting of both listeners of the store")
    metrics = server.metrics()
    for name in names:
        assert metrics[f'mta_service_up{{service="{name}"}}'] == 1
        assert metrics[f'mta_probe_failures_total{{service="{name}"}}'] == 0
    assert {row["name"]: row["pid"] for row in server.status()["services"]} == before
    assert [row["reason"] for row in server.status()["services"]] == [""] * 5
