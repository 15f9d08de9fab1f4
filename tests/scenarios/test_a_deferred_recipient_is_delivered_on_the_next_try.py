"""4yz at any stage: nobody is told, the message comes again, and only those who have not got it get it."""

import pytest

from tests.harness.stories import route


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "DOT"])
def test_a_deferred_message_is_delivered_on_the_next_try(mta, sink, stage: str) -> None:
    remote = sink({stage: ["450 4.2.0 come again", "450 4.2.0 and again"]})
    server = mta(route=[route("*", remote.port)])
    queue_id = server.send("bob@arlington.example")
    server.wait_for_event("Delivery", id=queue_id, num_attempts=3)
    failures = server.events("TransientFailure", id=queue_id)
    assert [(f["num_attempts"], f["response"]["content"]) for f in failures] == [(1, "come again"), (2, "and again")]
    assert {f["response"]["command"] for f in failures} == {stage}
    server.wait_for_empty_queue()
    assert remote.violations == []


def test_a_greylisted_recipient_comes_again_alone(mta, sink) -> None:
    remote = sink({"RCPT": ["250 ok", "451 4.7.1 greylisted", "250 ok"]})
    server = mta(route=[route("*", remote.port)])
    queue_id = server.send(["ann@arlington.example", "bob@arlington.example"])
    server.wait_for_events(2, "Delivery", id=queue_id)
    assert [message.recipients for message in remote.wait_for(2)] == [
        ["ann@arlington.example"],
        ["bob@arlington.example"],
    ]
    server.wait_for_empty_queue()
