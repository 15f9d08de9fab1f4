"""LMTP over TCP and over a unix socket: each recipient has its own reply behind the final dot."""

import pytest

from tests.harness.scripted_remote import DROP
from tests.harness.stories import read_report, route


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_a_route_leads_to_an_lmtp_server(mta, sink, tmp_path, unix: bool) -> None:
    replies = ["250 2.0.0 kept", "552 5.2.2 mailbox full", "451 4.2.0 locked", "250 2.0.0 kept"]
    store = sink({"DOT": replies}, lmtp=True, path=str(tmp_path / "lmtp.sock") if unix else "")
    home = sink()
    to = f"lmtp+unix:{store.path}" if unix else f"lmtp://127.0.0.1:{store.port}"
    server = mta(route=[{"domain": "minasi.example", "to": to}, route("*", home.port)])
    queue_id = server.send([f"{name}@minasi.example" for name in ("ann", "bob", "cid")])
    delivered = server.wait_for_events(2, "Delivery", id=queue_id)
    assert [(e["recipient"], e["num_attempts"]) for e in delivered] == [
        ("ann@minasi.example", 1),
        ("cid@minasi.example", 2),
    ]
    assert {e["delivery_protocol"] for e in delivered} == {"LMTP"}
    assert read_report(home.wait_for(1)[0]).statuses == {"bob@minasi.example": ("failed", "5.2.2")}
    assert [message.recipients for message in store.received] == [
        ["ann@minasi.example", "bob@minasi.example", "cid@minasi.example"],
        ["cid@minasi.example"],
    ]
    assert store.remotes[0].commands[0].startswith("LHLO ")
    assert store.violations == []
    server.wait_for_empty_queue()


def test_a_recipient_refused_by_lmtp_before_the_content_is_told_alone(mta, sink) -> None:
    store = sink({"RCPT": ["250 ok", "550 5.1.1 nobody"]}, lmtp=True)
    home = sink()
    to = f"lmtp://127.0.0.1:{store.port}"
    server = mta(route=[{"domain": "minasi.example", "to": to}, route("*", home.port)])
    server.send(["ann@minasi.example", "bob@minasi.example"])
    assert read_report(home.wait_for(1)[0]).statuses == {"bob@minasi.example": ("failed", "5.1.1")}
    server.wait_for_empty_queue()
    [delivered] = server.wait_for_events(1, "Delivery", delivery_protocol="LMTP")
    assert delivered["recipient"] == "ann@minasi.example"


def test_what_lmtp_said_of_some_stands_when_the_connection_is_lost_before_the_others(mta, sink) -> None:
    store = sink({"DOT": ["250 2.0.0 kept", "552 5.2.2 mailbox full", DROP]}, lmtp=True)
    home = sink()
    to = f"lmtp://127.0.0.1:{store.port}"
    server = mta(route=[{"domain": "minasi.example", "to": to}, route("*", home.port)])
    queue_id = server.send([f"{name}@minasi.example" for name in ("ann", "bob", "cid")])
    server.wait_for_events(2, "Delivery", id=queue_id)
    assert [message.recipients for message in store.received] == [
        ["ann@minasi.example", "bob@minasi.example", "cid@minasi.example"],
        ["cid@minasi.example"],
    ]
    [again] = server.wait_for_events(1, "TransientFailure", id=queue_id)
    assert (again["recipient"], again["response"]["enhanced_code"]) == ("cid@minasi.example", "4.4.2")
    assert read_report(home.wait_for(1)[0]).statuses == {"bob@minasi.example": ("failed", "5.2.2")}
    server.wait_for_empty_queue()
