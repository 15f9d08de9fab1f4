"""SIGHUP: new routes hold for what comes and for what waits; a file with a slip changes nothing and is named."""

from signal import SIGHUP

from tests.harness.certificates import make_certificate
from tests.harness.stories import route


def test_sighup_reads_the_file_anew(mta, sink) -> None:
    old, new = sink(), sink()
    old.stop()
    retry = {"retry_after": ["1s"]}
    server = mta(workers=2, route=[route("*", old.port)], delivery=retry)
    waiting = server.send("waiting@arlington.example")
    server.wait_for_event("TransientFailure", id=waiting)
    server.configure(workers=2, route=[route("*", new.port)], delivery=retry)
    server.signal(SIGHUP)
    server.await_line("reload: done")
    server.send("fresh@arlington.example")
    received = new.wait_for(2)
    assert {r for message in received for r in message.recipients} == {
        "waiting@arlington.example",
        "fresh@arlington.example",
    }
    server.wait_for_empty_queue()


def test_a_slip_in_the_file_changes_nothing(mta, sink) -> None:
    remote = sink()
    good = {"route": [route("*", remote.port)]}
    server = mta(**good)
    before = {row["name"]: row["pid"] for row in server.status()["services"]}
    server.configure(route=[{"domain": "*", "to": "smpt://127.0.0.1:25"}])
    server.signal(SIGHUP)
    assert "route[0].to" in server.await_line("reload: ")
    server.send()
    assert len(remote.wait_for(1)) == 1
    assert {row["name"]: row["pid"] for row in server.status()["services"]} == before
    server.wait_for_empty_queue()
    server.configure(**good)


def test_a_certificate_that_is_broken_meanwhile_costs_no_worker(mta, tmp_path) -> None:
    keys = make_certificate(tmp_path)
    listener = {"address": "127.0.0.1:0", "tls": "starttls", "private_key": str(keys.private_key)}
    server = mta(workers=2, listener=[{**listener, "certificate": str(keys.certificate)}])
    before = {row["name"]: row["pid"] for row in server.status()["services"]}
    good = keys.certificate.read_text()
    keys.certificate.write_text("no certificate")
    server.signal(SIGHUP)
    assert f"reload: listener[0]: {keys.certificate}, " in server.await_line("reload: ")
    assert server.await_line("reload: nothing").endswith("nothing was changed")
    assert {row["name"]: row["pid"] for row in server.status()["services"]} == before
    keys.certificate.write_text(good)
    # A certificate that is about to end is told by the start and by each reload.
    assert len([line for line in server.stderr if "the certificate is valid until" in line]) == 1
    server.signal(SIGHUP)
    assert str(keys.certificate) in server.await_line("the certificate is valid until")
    server.await_line("reload: done")
