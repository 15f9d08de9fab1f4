"""DNS trouble of some domains slows no other: hundreds of look-ups hang or lie, and the rest of the mail goes on."""

from itertools import cycle

from mta.clock import SystemClock
from mta.services.zone import Fault
from tests.harness.mta_server import submit, wait_until

BAD = 300
GOOD = ["MX 10 mx.good.example."]
TROUBLE = [Fault.SILENCE, Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE]


def records() -> dict[str, list[str]]:
    bad = {f"d{n}.bad.example": GOOD for n in range(BAD)}
    return {"good.example": GOOD, "flapping.example": GOOD, "mx.good.example": ["A 127.0.0.1"], **bad}


def test_dns_trouble_of_some_domains_slows_no_other(mta, sink, zones) -> None:
    remote, names = sink(), zones(records())
    for n, fault in zip(range(BAD), cycle(TROUBLE), strict=False):
        names.server.faults[f"d{n}.bad.example"] = fault
    server = mta(
        dns={"servers": [names.address], "timeout": "2s"},
        delivery={"port": remote.port, "retry_after": ["1s"]},
    )
    server.wait_for_event("Delivery", id=server.send("warm@good.example"))
    clock = SystemClock()
    with server.connect() as session:
        for n in range(BAD):
            submit(session, [f"r@d{n}.bad.example", f"s@d{n}.bad.example"])
        for _ in range(5):
            began = clock.monotonic()
            queue_id = submit(session, "bob@good.example")
            server.wait_for_event("Delivery", id=queue_id)
            assert clock.monotonic() - began < 1.0
    server.wait_for_events(2 * BAD, "TransientFailure")
    assert server.events("Bounce") == []
    names.server.faults.clear()
    server.wait_for_empty_queue()
    assert len(remote.received) == BAD + 6
    assert server.audit()["delivered"] == 2 * BAD + 6


def test_an_answer_that_flaps_is_believed_when_it_is_final(mta, sink, zones) -> None:
    """NXDOMAIN is an answer: the message goes back, and the next one, when the domain is there, goes out."""
    remote, names = sink(), zones(records(), ttl=1)
    names.server.faults["flapping.example"] = Fault.FLAP
    server = mta(
        dns={"servers": [names.address]},
        route=[{"domain": "athena.example", "to": f"smtp://127.0.0.1:{remote.port}"}],
        delivery={"port": remote.port},
    )
    bounced = server.send("bob@flapping.example")
    assert server.wait_for_event("Bounce", id=bounced)["response"]["enhanced_code"] == "5.1.2"
    names.server.faults.clear()

    def goes_out() -> bool:
        queue_id = server.send("bob@flapping.example")
        wait_until(lambda: server.events("Delivery", id=queue_id) or server.events("Bounce", id=queue_id), "an outcome")
        return bool(server.events("Delivery", id=queue_id))

    wait_until(goes_out, "the end of what was remembered of the lie")
    server.wait_for_empty_queue()
    books = server.audit()
    assert books["delivered"] + books["failed"] == books["accepted"] + books["generated"]
