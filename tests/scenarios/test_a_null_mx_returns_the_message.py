"""A domain that says by a null MX (RFC 7505) that it takes no mail: taken from the client, then returned at once."""

from tests.harness.stories import read_report


def test_a_null_mx_returns_the_message(mta, sink, zones) -> None:
    home = sink()
    names = zones(
        {
            "arlington.example": ["MX 0 ."],
            "athena.example": ["MX 10 mx.athena.example."],
            "mx.athena.example": ["A 127.0.0.1"],
        }
    )
    server = mta(dns={"servers": [names.address]}, delivery={"port": home.port})
    queue_id = server.send("bob@arlington.example")
    bounce = server.wait_for_event("Bounce", id=queue_id)
    assert bounce["response"]["enhanced_code"] == "5.1.10"
    report = read_report(home.wait_for(1)[0])
    assert report.statuses == {"bob@arlington.example": ("failed", "5.1.10")}
    assert report.headers["Subject"] == "a story"
    assert "bob@arlington.example" in report.text
    server.wait_for_empty_queue()
    assert [server.audit()[name] for name in ("accepted", "generated", "failed", "delivered")] == [1, 1, 1, 1]
