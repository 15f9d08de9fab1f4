"""Lost after the end of content: perhaps delivered, perhaps not. It is tried again, and an event says what happened."""

import pytest

from tests.harness.scripted_remote import DROP, MUTE
from tests.harness.stories import route


@pytest.mark.parametrize("end", [DROP, MUTE], ids=["closed", "silent"])
def test_a_connection_lost_behind_the_final_dot_is_tried_again(mta, sink, end) -> None:
    remote = sink({"DOT": [end]})
    server = mta(route=[route("*", remote.port)], delivery={"content_timeout": "1s"})
    queue_id = server.send("bob@arlington.example")
    failure = server.wait_for_event("TransientFailure", id=queue_id)
    assert failure["response"]["command"] == "DOT"
    assert failure["response"]["enhanced_code"] == "4.4.2"
    assert failure["response"].get("code", 0) == 0
    assert failure["response"]["content"]
    assert server.wait_for_event("Delivery", id=queue_id)["num_attempts"] == 2
    server.wait_for_empty_queue()
    assert len(remote.received) == 2
    assert remote.received[0].content == remote.received[1].content


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_a_connection_lost_before_it_is_tried_again_too(mta, sink, stage: str) -> None:
    remote = sink({stage: [DROP]})
    server = mta(route=[route("*", remote.port)])
    queue_id = server.send("bob@arlington.example")
    server.wait_for_event("TransientFailure", id=queue_id)
    server.wait_for_event("Delivery", id=queue_id)
    server.wait_for_empty_queue()
    assert len(remote.received) == 1
