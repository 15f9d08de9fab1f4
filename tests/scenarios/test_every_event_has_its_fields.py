"""The event log has a line for everything that happened to a recipient, with the fields of the contract."""

from itertools import repeat

from tests.harness.stories import route

ALWAYS = {"type", "sender", "recipient", "timestamp", "created", "session_id"}
QUEUED = ALWAYS | {"id", "queue", "size", "delays", "reception_protocol"}
TRIED = QUEUED | {"site", "response", "peer_address", "num_attempts", "delivery_protocol"}
ALL = TRIED | {"egress_source", "tls_protocol_version", "tls_cipher", "reason", "origin", "message_id"}


def test_every_event_has_its_fields(mta, sink) -> None:
    good, later, never = sink(), sink({"MAIL": repeat("450 4.3.2 later")}), sink({"RCPT": repeat("550 5.1.1 nobody")})
    routes = [route("good.example", good.port), route("later.example", later.port), route("never.example", never.port)]
    server = mta(
        route=[*routes, {"domain": "athena.example", "to": "discard:"}],
        relay={"networks": ["127.0.0.1/32"]},
        delivery={"give_up_after": "1s", "warn_after": "300ms"},
    )
    queue_id = server.send(["ann@good.example", "bob@later.example", "cid@never.example"])
    with server.connect(source="127.0.0.2") as session:
        session.mail("alice@athena.example")
        session.rcpt("dan@good.example")
    server.wait_for_event("Expiration", id=queue_id)
    server.wait_for_event("Rejection")
    server.wait_for_empty_queue()
    server.stop()
    wanted = {
        "Reception": (QUEUED | {"peer_address"}, 3),
        "Delivery": (TRIED, 1),
        "TransientFailure": (TRIED, 2),
        "Bounce": (TRIED, 1),
        "Expiration": (TRIED, 1),
        "Delayed": (QUEUED | {"response", "num_attempts"}, 1),
        "Rejection": (ALWAYS | {"response", "peer_address", "reception_protocol"}, 1),
    }
    for kind, (fields, least) in wanted.items():
        events = [event for event in server.events(kind) if event["recipient"] != "alice@athena.example"]
        assert len(events) >= least, kind
        for event in events:
            assert fields <= event.keys() <= ALL, (kind, fields - event.keys(), event.keys() - ALL)


def test_the_four_delays_add_up(mta, sink) -> None:
    """With the wait between the attempts: who adds them up gets the age of the message."""
    remote = sink({"MAIL": ["450 4.3.2 later"]})
    server = mta(route=[route("*", remote.port)])
    queue_id = server.send()
    delivery = server.wait_for_event("Delivery", id=queue_id)
    reception = server.wait_for_event("Reception", id=queue_id)
    assert reception["delays"][0] > 0
    assert len(delivery["delays"]) == 4
    assert all(0 <= delay < 10 for delay in delivery["delays"])
    age = delivery["timestamp"] - delivery["created"]
    assert age >= 0.2
    assert 0.15 <= sum(delivery["delays"][1:]) <= age + 0.01
    assert delivery["session_id"] == reception["session_id"]
    assert delivery["peer_address"] == {"name": "127.0.0.1", "addr": f"127.0.0.1:{remote.port}"}
    assert delivery["size"] == reception["size"] > 100


def test_events_and_ledger_tell_the_same(mta, sink) -> None:
    good, never = sink(), sink({"RCPT": repeat("550 5.1.1 nobody")})
    server = mta(workers=2, route=[route("good.example", good.port), route("*", never.port)])
    for n in range(10):
        server.send([f"user{n}@good.example", f"user{n}@bad.example", "also@bad.example"], sender="a@good.example")
    server.wait_for_empty_queue()
    server.stop()
    books = server.audit()
    assert len(server.events("Reception")) == books["accepted"] == 30
    assert len(server.events("Delivery")) == books["delivered"] == 10 + books["generated"]
    assert len(server.events("Bounce")) == books["failed"] == 20
