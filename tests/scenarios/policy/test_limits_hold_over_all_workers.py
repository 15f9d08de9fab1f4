"""A client has one limit at all workers together. Who is known has that of connections at once, and no other."""

from tests.harness.hostile import HELLO, Raw, close_all
from tests.harness.mta_server import wait_until

STRANGER = "127.0.0.9"
OURS = {"networks": ["127.0.0.1/32"], "domains": ["ours.example"]}
DISCARD = [{"domain": "*", "to": "discard:"}]


def stranger(port: int) -> Raw:
    return Raw(port, greeted=False, source=STRANGER)


def test_connections_of_a_client_are_counted_over_all_workers(mta) -> None:
    server = mta(workers=2, relay=OURS, route=DISCARD, limits={"connections_per_client": 6})
    clients = [stranger(server.port) for _ in range(16)]
    said = [client.reply() for client in clients]
    assert len([line for line in said if line.startswith("220 ")]) == 6
    assert {line for line in said if not line.startswith("220 ")} == {
        "421 4.7.0 too many for your network now (limits.connections_per_client), try again later"
    }
    assert server.metrics()['mta_rejections_total{reason="connections"}'] == 10
    server.send("bob@ours.example")
    close_all(clients)
    server.wait_for_empty_queue()


def test_connections_of_a_known_client_are_counted_over_all_workers(mta) -> None:
    server = mta(workers=2, relay=OURS, route=DISCARD, limits={"connections_per_client": 6})
    clients = [Raw(server.port, greeted=False) for _ in range(16)]
    said = [client.reply() for client in clients]
    inside = [client for client, line in zip(clients, said, strict=True) if line.startswith("220 ")]
    assert len(inside) == 6
    assert {line for line in said if not line.startswith("220 ")} == {"421 4.3.2 too many connections, try again later"}
    assert server.metrics()['mta_rejections_total{reason="connections"}'] == 10
    inside[0].sock.close()
    wait_until(lambda: server.metrics()['mta_connections{direction="in"}'] == 5, "the place that was given back")
    server.send("bob@ours.example")
    close_all(clients)
    server.wait_for_empty_queue()


def test_messages_of_a_client_are_counted_over_all_workers(mta) -> None:
    server = mta(workers=2, relay=OURS, route=DISCARD, policy={"message_rate": "10/h", "tarpit": "0s"})
    codes = []
    for _ in range(12):  # ten an hour: one at once, the next in six minutes
        with stranger(server.port) as client:
            assert client.reply().startswith("220 ")
            assert client.ask(HELLO).startswith("250-")
            codes.append(client.ask(b"MAIL FROM:<eve@elsewhere.example>\r\n"))
    assert [code[:3] for code in codes].count("250") == 1
    assert len([code for code in codes if code.startswith("450 4.7.1 ") and "policy.message_rate" in code]) == 11
    rejected = server.wait_for_events(11, "Rejection", reason="message_rate")
    assert {row["peer_address"]["addr"] for row in rejected} == {STRANGER}
    for _ in range(3):
        server.send("bob@ours.example")
    server.wait_for_empty_queue()
