"""Too many connections: strangers get less and the newest idle ones go, the known are served; then all is as before."""

from tests.harness.hostile import Raw, close_all, good_client
from tests.harness.mta_server import wait_until

OURS = {"networks": ["127.0.0.1/32"], "domains": ["ours.example"]}
DISCARD = [{"domain": "*", "to": "discard:"}]


def test_under_stress_the_known_are_served(mta) -> None:
    policy = {"stress_connections": 0.5, "reserve": 0.2}
    server = mta(relay=OURS, route=DISCARD, limits={"connections": 20}, policy=policy)
    first = Raw(server.port, source="127.0.0.9")
    others = [Raw(server.port, greeted=False, source="127.0.0.9") for _ in range(24)]
    said = [client.reply() for client in others]
    assert len([line for line in said if line.startswith("220 ")]) == 15, "a fifth is kept for the known"
    assert said[-1] == "421 4.3.2 too busy now, try again later"
    server.await_line("stress begins: connections")
    good_client(server)
    wait_until(lambda: server.metrics()['mta_connections{direction="in"}'] < 8, "the newest are let go")
    assert first.alive(), "and not the oldest"
    close_all(others)
    first.sock.close()
    server.await_line("stress ends")
    wait_until(lambda: server.metrics()["mta_stress"] == 0, "no stress")
    assert server.metrics()['mta_rejections_total{reason="stress"}'] > 9
    with Raw(server.port, source="127.0.0.9") as client:
        client.hello()
    server.wait_for_empty_queue()
