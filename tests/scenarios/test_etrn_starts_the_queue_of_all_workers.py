"""ETRN, said to one worker, tries what waits for a domain in the shards of all of them; strangers may not say it."""

import smtplib

from bench.process import free_port
from tests.harness.mta_server import PATIENCE
from tests.harness.stories import route


def test_all_that_waits_for_the_domain_is_tried(mta, sink) -> None:
    port = free_port()
    server = mta(
        workers=2,
        route=[route("arlington.example", port)],
        delivery={"retry_after": ["1h"]},
        relay={"networks": ["127.0.0.1/32"]},
    )
    for _ in range(12):  # over a connection each: the kernel spreads them over both workers
        server.send("bob@arlington.example")
    server.wait_for_event("TransientFailure")
    with smtplib.SMTP(server.host, server.port, "stranger.example", PATIENCE, ("127.0.0.2", 0)) as session:
        session.ehlo()
        assert session.docmd("ETRN", "arlington.example")[0] == 459
    assert len(server.queue()) == 12
    remote = sink(port=port)
    with server.connect() as session:
        assert session.has_extn("etrn")
        assert session.docmd("ETRN", "arlington.example")[0] == 250
    server.wait_for_events(12, "Delivery")  # long before the hour, or the minute for which the site was left alone
    assert len(remote.received) == 12


def test_where_nothing_waits_that_is_said(mta) -> None:
    server = mta()
    with server.connect() as session:
        assert session.docmd("ETRN", "arlington.example")[0] == 251
