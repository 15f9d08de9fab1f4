"""The first MX host is down, refuses at its greeting or hangs up: the second one gets the message at once."""

import pytest

from bench.process import free_port
from tests.harness.scripted_remote import DROP

FIRST, SECOND = "127.0.0.11", "127.0.0.12"


@pytest.fixture
def names(zones):
    return zones(
        {
            "arlington.example": ["MX 10 first.arlington.example.", "MX 20 second.arlington.example."],
            "first.arlington.example": [f"A {FIRST}"],
            "second.arlington.example": [f"A {SECOND}"],
        }
    )


@pytest.mark.parametrize(
    "script",
    [
        None,
        {"CONNECT": ["554 5.3.2 no service here"]},
        {"CONNECT": ["421 4.3.2 too busy"]},
        {"CONNECT": [DROP]},
        {"EHLO": ["550 5.7.1 go away"], "HELO": ["550 5.7.1 go away"]},
        {"MAIL": ["421 4.3.2 closing"]},
        {"RCPT": [DROP]},
    ],
    ids=["down", "554 greeting", "421 greeting", "hangs up", "550 to EHLO", "421 to MAIL", "lost at RCPT"],
)
def test_the_next_mx_host_is_tried(mta, sink, names, script) -> None:
    port = free_port()
    first = sink(script, host=FIRST, port=port) if script else None
    second = sink(host=SECOND, port=port)
    server = mta(
        dns={"servers": [names.address]}, delivery={"port": port, "retry_after": ["1h"], "connect_timeout": "2s"}
    )
    queue_id = server.send("bob@arlington.example")
    delivery = server.wait_for_event("Delivery", id=queue_id)
    assert delivery["peer_address"]["name"] == "second.arlington.example"
    assert delivery["site"] == "first.arlington.example,second.arlington.example"
    assert len(second.wait_for(1)) == 1
    assert first is None or (first.remotes and not first.received)
    assert server.events("Bounce") == []


def test_the_best_host_is_preferred_while_it_lives(mta, sink, names) -> None:
    port = free_port()
    first, second = sink(host=FIRST, port=port), sink(host=SECOND, port=port)
    server = mta(dns={"servers": [names.address]}, delivery={"port": port})
    for _ in range(10):
        server.send("bob@arlington.example")
    assert len(first.wait_for(10)) == 10
    assert second.remotes == []


def test_a_refusal_of_the_message_is_final_whatever_hosts_there_are(mta, sink, names) -> None:
    port = free_port()
    sink({"RCPT": ["550 5.1.1 nobody"]}, host=FIRST, port=port)
    second = sink(host=SECOND, port=port)
    server = mta(dns={"servers": [names.address]}, delivery={"port": port}, route=[
        {"domain": "athena.example", "to": "discard:"}
    ])  # fmt: skip
    server.send("bob@arlington.example")
    server.wait_for_event("Bounce")
    server.wait_for_empty_queue()
    assert second.remotes == []
