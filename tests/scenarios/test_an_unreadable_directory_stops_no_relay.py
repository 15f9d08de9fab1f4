"""Whole servers whose directory or store cannot be opened: what does not need them goes on, and the status says why."""

from tests.harness.mta_server import MtaServer, Row, wait_until
from tests.harness.stories import route

LOCAL = "mark@minasi.example"


def spoilt(server: MtaServer, name: str) -> None:
    """Overwrites the environment of a service, with the server down."""
    server.stop()
    (server.data / name / "data.mdb").write_bytes(b"this is no environment\n" * 1000)


def row(server: MtaServer, name: str) -> Row:
    return next(service for service in server.status()["services"] if service["name"] == name)


def test_an_unreadable_directory_stops_no_relay(mta, sink) -> None:
    remote = sink()
    server = mta(local={"domains": ["minasi.example"]}, route=[route("*", remote.port)])
    server.request_rows("directory/user.add", address=LOCAL)
    spoilt(server, "directory")
    server.begin()
    server.await_line("directory does not run: exit .*data.mdb.*; see `mta status`")
    server.await_line("^mta: ready$")
    server.listeners = [listener["address"] for listener in server.status()["listeners"]]
    server.send(["bob@arlington.example"])
    server.wait_for_event("Delivery", recipient="bob@arlington.example")
    with server.connect() as session:
        session.mail("alice@athena.example")
        assert session.rcpt(LOCAL)[0] == 451
    wait_until(lambda: row(server, "directory")["state"] == "quarantined", "the quarantine")
    told = server.mta("status").stdout
    assert "data.mdb" in told
    assert "`mta status start directory`" in told


def test_mail_for_mailboxes_waits_for_a_store_that_cannot_start(mta) -> None:
    server = mta(local={"domains": ["minasi.example"]})
    server.request_rows("directory/user.add", address=LOCAL)
    spoilt(server, "store")
    server.begin()
    server.await_line("store does not run: exit .*data.mdb")
    server.await_line("^mta: ready$")
    server.listeners = [listener["address"] for listener in server.status()["listeners"]]
    queue_id = server.send([LOCAL])
    failure = server.wait_for_event("TransientFailure", id=queue_id)
    assert failure["recipient"] == LOCAL
    assert [row["queue_id"] for row in server.queue()] == [queue_id]
