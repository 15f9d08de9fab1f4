"""The best MX is this server, by its name or by its address: a report 5.4.6 in place of a loop."""

import pytest

from bench.process import free_port
from tests.harness.stories import read_report, route


@pytest.mark.parametrize(
    ("listen", "mx"),
    [("127.0.0.1", "hermes.example."), ("127.0.0.1", "alias.example."), ("0.0.0.0", "alias.example.")],
    ids=["by name", "by address", "by any address of the machine"],
)
def test_mail_for_ourselves_does_not_loop(mta, sink, zones, listen: str, mx: str) -> None:
    home = sink()
    port = free_port()
    names = zones(
        {"arlington.example": [f"MX 10 {mx}"], "hermes.example": ["A 127.0.0.1"], "alias.example": ["A 127.0.0.1"]}
    )
    server = mta(
        listener=[{"address": f"{listen}:{port}"}],
        dns={"servers": [names.address]},
        delivery={"port": port},
        route=[route("athena.example", home.port)],
    )
    queue_id = server.send("bob@arlington.example")
    assert server.wait_for_event("Bounce", id=queue_id)["response"]["enhanced_code"] == "5.4.6"
    assert read_report(home.wait_for(1)[0]).statuses == {"bob@arlington.example": ("failed", "5.4.6")}
    assert len(server.events("Reception")) == 1
    server.wait_for_empty_queue()
