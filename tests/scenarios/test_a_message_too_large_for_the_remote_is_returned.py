"""The remote's SIZE is below the message's: it is returned without being sent, and the sender hears the numbers."""

from tests.harness.mta_server import MESSAGE
from tests.harness.stories import read_report, route


def test_a_message_too_large_for_the_remote_is_returned(mta, sink) -> None:
    home = sink()
    remote = sink(extensions=("PIPELINING", "SIZE 1000"))
    server = mta(route=[route("athena.example", home.port), route("*", remote.port)])
    server.send(content=MESSAGE + b"x" * 70 + b"\r\n")
    assert len(remote.wait_for(1)) == 1
    queue_id = server.send(content=MESSAGE + b"x" * 998 + b"\r\n")
    bounce = server.wait_for_event("Bounce", id=queue_id)
    assert bounce["response"]["enhanced_code"] == "5.3.4"
    report = read_report(home.wait_for(1)[0])
    assert report.statuses == {"bob@arlington.example": ("failed", "5.3.4")}
    assert "1000" in report.recipients[0]["Diagnostic-Code"]
    assert len(remote.received) == 1
    server.wait_for_empty_queue()
