"""SERVFAIL and silence say nothing about the domain: the message waits until DNS has recovered."""

import pytest

from mta.services.zone import Fault


@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.SILENCE], ids=lambda fault: fault.name)
def test_dns_in_trouble_is_waited_out(mta, sink, zones, fault: Fault) -> None:
    remote = sink()
    names = zones({"arlington.example": ["MX 10 mx.arlington.example."], "mx.arlington.example": ["A 127.0.0.1"]})
    names.server.faults["*"] = fault
    server = mta(dns={"servers": [names.address]}, delivery={"port": remote.port})
    queue_id = server.send("bob@arlington.example")
    failure = server.wait_for_event("TransientFailure", id=queue_id)
    assert failure["response"]["enhanced_code"] == "4.4.3"
    assert "DNS" in failure["response"]["content"]
    [why] = server.rows("why", queue_id)
    assert "DNS" in why["last_reply"]
    names.server.faults.clear()
    server.wait_for_event("Delivery", id=queue_id)
    assert len(remote.received) == 1
    assert server.events("Bounce") == []
