"""The remote is down: the message waits, ``mta why`` says for what, and it goes on its way when the remote is back."""


def test_a_message_waits_while_the_remote_is_down(mta, sink) -> None:
    remote = sink()
    remote.stop()
    server = mta(route=[{"domain": "*", "to": f"smtp://127.0.0.1:{remote.port}"}], delivery={"retry_after": ["1s"]})
    queue_id = server.send("bob@arlington.example")
    failure = server.wait_for_event("TransientFailure", id=queue_id)
    assert failure["response"]["enhanced_code"] == "4.4.1"
    assert "refused" in failure["response"]["content"].lower()

    [why] = server.rows("why", queue_id)
    assert why["recipient"] == "bob@arlington.example"
    assert why["until"]

    remote.start()
    server.wait_for_event("Delivery", id=queue_id)
    [message] = remote.wait_for(1)
    assert message.recipients == ["bob@arlington.example"]
    server.wait_for_empty_queue()
    assert server.audit()["delivered"] == 1
