"""A message with the null reverse-path that fails is told to nobody: reports must not breed (RFC 5321 §6.1)."""

from itertools import repeat

from tests.harness.stories import route


def test_a_client_s_report_that_fails_ends_there(mta, sink) -> None:
    remote = sink({"RCPT": repeat("550 5.1.1 nobody")})
    server = mta(route=[route("*", remote.port)])
    queue_id = server.send("bob@arlington.example", sender="")
    server.wait_for_event("Bounce", id=queue_id)
    server.wait_for_empty_queue()
    assert [server.audit()[name] for name in ("accepted", "generated", "failed")] == [1, 0, 1]


def test_our_own_report_that_fails_ends_there(mta, sink) -> None:
    remote = sink({"RCPT": repeat("550 5.1.1 nobody")})
    server = mta(route=[route("*", remote.port)])
    server.send("bob@arlington.example")
    server.wait_for_events(2, "Bounce")
    server.wait_for_empty_queue()
    assert [server.audit()[name] for name in ("accepted", "generated", "failed")] == [1, 1, 2]
