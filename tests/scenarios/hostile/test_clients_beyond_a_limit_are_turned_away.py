"""Clients beyond a limit are turned away with 421; the others go on, and a place that becomes free is given again."""

from tests.harness.hostile import Raw, close_all, good_client
from tests.harness.mta_server import wait_until

REFUSED = "421 4.3.2 too many connections, try again later"


def test_clients_beyond_the_limit_of_all_are_turned_away(mta) -> None:
    server = mta(route=[{"domain": "*", "to": "discard:"}], limits={"connections": 10})
    clients = [Raw(server.port) for _ in range(10)]
    for _ in range(200):
        with Raw(server.port, greeted=False) as late:
            assert late.rest() == [REFUSED]
    assert all(client.alive() for client in [client.hello() for client in clients])
    clients.pop().sock.close()
    wait_until(lambda: server.metrics()['mta_connections{direction="in"}'] == 9, "the place that was given back")
    good_client(server)
    close_all(clients)


def test_clients_beyond_the_limit_of_one_address_are_turned_away(mta) -> None:
    server = mta(route=[{"domain": "*", "to": "discard:"}], limits={"connections_per_client": 5})
    clients = [Raw(server.port) for _ in range(5)]
    with Raw(server.port, greeted=False) as late:
        assert late.rest() == [REFUSED]
    with server.connect(source="127.0.0.9") as other:
        assert other.noop()[0] == 250
    close_all(clients)
