"""5yz at MAIL, RCPT, DATA or behind the final dot: a Bounce, and a report in the remote's own words."""

import pytest

from tests.harness.stories import read_report, route

REFUSAL = "554 5.7.99 we do not like it"


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "DOT"])
def test_a_refusal_at_any_stage_is_told_to_the_sender(mta, sink, stage: str) -> None:
    home, remote = sink(), sink({stage: [REFUSAL]})
    server = mta(route=[route("athena.example", home.port), route("*", remote.port)])
    queue_id = server.send("bob@arlington.example")
    bounce = server.wait_for_event("Bounce", id=queue_id)
    response = {"code": 554, "enhanced_code": "5.7.99", "content": "we do not like it", "command": stage}
    assert bounce["response"] == response
    report = read_report(home.wait_for(1)[0])
    assert report.statuses == {"bob@arlington.example": ("failed", "5.7.99")}
    assert report.recipients[0]["Diagnostic-Code"] == f"smtp; {REFUSAL}"
    assert report.recipients[0]["Remote-MTA"] == "dns; 127.0.0.1"
    assert "we do not like it" in report.text
    server.wait_for_empty_queue()
    assert remote.violations == []
