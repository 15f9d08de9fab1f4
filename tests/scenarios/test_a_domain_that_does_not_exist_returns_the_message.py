"""NXDOMAIN: nobody will ever take it, so its sender hears at once."""

from tests.harness.stories import read_report, route


def test_a_domain_that_does_not_exist_returns_the_message(mta, sink, zones) -> None:
    home = sink()
    names = zones({"athena.example": ["MX 10 mx.athena.example."]})
    server = mta(dns={"servers": [names.address]}, route=[route("athena.example", home.port)])
    queue_id = server.send("bob@no-such-domain.example")
    assert server.wait_for_event("Bounce", id=queue_id)["response"]["enhanced_code"] == "5.1.2"
    report = read_report(home.wait_for(1)[0])
    assert report.statuses == {"bob@no-such-domain.example": ("failed", "5.1.2")}
    assert report.recipients[0]["Diagnostic-Code"].startswith("x-hermes; ")
    assert "no-such-domain.example" in report.recipients[0]["Diagnostic-Code"]
    server.wait_for_empty_queue()
