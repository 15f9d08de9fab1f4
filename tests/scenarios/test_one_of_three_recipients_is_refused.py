"""One of three recipients is refused: the others get the message, and one report tells of the one."""

from tests.harness.stories import read_report, route


def test_one_of_three_recipients_is_refused(mta, sink) -> None:
    home = sink()
    remote = sink({"RCPT": ["250 ok", "550 5.1.1 nobody of that name", "250 ok"]})
    server = mta(route=[route("athena.example", home.port), route("*", remote.port)])
    queue_id = server.send([f"{name}@arlington.example" for name in ("ann", "bob", "cid")])
    server.wait_for_events(2, "Delivery", id=queue_id)
    bounced = server.wait_for_event("Bounce", id=queue_id)
    assert bounced["recipient"] == "bob@arlington.example"
    assert bounced["response"]["command"] == "RCPT"
    [message] = remote.wait_for(1)
    assert message.recipients == ["ann@arlington.example", "cid@arlington.example"]
    report = read_report(home.wait_for(1)[0])
    assert report.statuses == {"bob@arlington.example": ("failed", "5.1.1")}
    server.wait_for_empty_queue()
    assert [server.audit()[name] for name in ("accepted", "generated", "delivered", "failed")] == [3, 1, 3, 1]
    assert len(home.received) == 1
