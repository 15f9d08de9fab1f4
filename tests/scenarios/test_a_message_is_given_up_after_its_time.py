"""A remote that says 4yz for ever: after give_up_after an Expiration and a report with its last words."""

from itertools import repeat

from tests.harness.stories import read_report, route


def test_a_message_is_given_up_after_its_time(mta, sink) -> None:
    home = sink()
    remote = sink({"MAIL": repeat("451 4.3.2 not now")})
    server = mta(
        route=[route("athena.example", home.port), route("*", remote.port)], delivery={"give_up_after": "700ms"}
    )
    queue_id = server.send("bob@arlington.example")
    expired = server.wait_for_event("Expiration", id=queue_id)
    assert expired["num_attempts"] >= 3
    assert expired["timestamp"] - expired["created"] >= 0.7
    report = read_report(home.wait_for(1)[0])
    [(action, status)] = report.statuses.values()
    assert (action, status) == ("failed", "4.3.2")
    assert report.recipients[0]["Diagnostic-Code"] == "smtp; 451 4.3.2 not now"
    assert "Given up" in report.text
    server.wait_for_empty_queue()
    assert [server.audit()[name] for name in ("accepted", "generated", "expired", "failed")] == [1, 1, 1, 0]
    assert server.events("Bounce") == []
