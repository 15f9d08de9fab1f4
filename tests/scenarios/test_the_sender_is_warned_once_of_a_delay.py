"""After warn_after the sender hears that the message waits: once, and the message stays in the queue."""

from itertools import repeat

from tests.harness.stories import read_report, route


def test_the_sender_is_warned_once_of_a_delay(mta, sink) -> None:
    home = sink()
    remote = sink({"RCPT": repeat("450 4.2.2 mailbox full", 8)})
    server = mta(route=[route("athena.example", home.port), route("*", remote.port)], delivery={"warn_after": "300ms"})
    queue_id = server.send("bob@arlington.example")
    report = read_report(home.wait_for(1)[0])
    assert report.statuses == {"bob@arlington.example": ("delayed", "4.2.2")}
    assert report.recipients[0]["Will-Retry-Until"]
    assert "mailbox full" in report.text
    delayed = server.wait_for_event("Delayed", id=queue_id)
    assert delayed["recipient"] == "bob@arlington.example"
    assert delayed["response"]["enhanced_code"] == "4.2.2"
    server.wait_for_event("Delivery", id=queue_id, num_attempts=9)
    server.wait_for_empty_queue()
    assert len(home.received) == 1
    assert len(server.events("Delayed")) == 1
