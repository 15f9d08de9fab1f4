"""hold, release, flush, bounce and remove on a running server: each does what it says, and the books balance."""

import pytest

from tests.harness.stories import read_report, route


@pytest.fixture
def queued(mta, sink):
    """Three messages that wait an hour for a remote which is down; the senders' server is up."""
    home, remote = sink(), sink()
    remote.stop()
    server = mta(
        workers=2,
        route=[route("athena.example", home.port), route("*", remote.port)],
        delivery={"retry_after": ["1h"], "warn_after": "0s"},
    )
    ids = [server.send(f"{name}@{name}.example") for name in ("ann", "bob", "cid")]
    server.wait_for_event("TransientFailure")  # and the others wait with their site, which is suspended
    return server, home, remote, ids


def test_what_is_on_hold_stays_until_it_is_released(queued) -> None:
    server, _, remote, (ann, bob, cid) = queued
    [row] = server.rows("queue", "hold", bob, "--reason", "a look first")
    assert (row["done"], row["recipients"]) == (True, 1)
    assert server.wait_for_event("AdminRebind", id=bob)["reason"] == "a look first"
    assert server.audit()["queued"] == 3
    remote.start()
    server.rows("queue", "flush")
    delivered = {event["id"] for event in server.wait_for_events(2, "Delivery")}
    assert delivered == {ann, cid}
    [left] = server.rows("queue", "list")
    assert (left["queue_id"], left["queue_name"]) == (bob, "hold")
    [why] = server.rows("why", bob)
    assert why["waiting_for"] == "hold"
    assert server.audit()["queued"] == 1
    server.rows("queue", "release", bob)
    server.wait_for_event("Delivery", id=bob)
    server.wait_for_empty_queue()


def test_what_is_held_stays_so_over_a_restart(queued) -> None:
    server, _, remote, (_, bob, _) = queued
    server.rows("queue", "hold", bob)
    remote.start()
    server.restart()
    server.rows("queue", "flush")
    server.wait_for_events(2, "Delivery")
    assert [row["queue_name"] for row in server.rows("queue", "list")] == ["hold"]


def test_what_is_removed_is_gone_and_nobody_is_told(queued) -> None:
    server, home, remote, (_, bob, _) = queued
    server.rows("queue", "remove", "--domain", "bob.example", "--reason", "asked for by its sender")
    gone = server.wait_for_event("AdminBounce", id=bob)
    assert (gone["recipient"], gone["reason"]) == ("bob@bob.example", "asked for by its sender")
    books = server.audit()
    assert (books["removed"], books["queued"], books["generated"]) == (1, 2, 0)
    assert server.mta("queue", "show", bob).returncode == 65
    remote.start()
    server.rows("queue", "flush")
    server.wait_for_empty_queue()
    assert len(remote.received) == 2
    assert home.received == []


def test_what_is_bounced_goes_back_to_its_sender(queued) -> None:
    server, home, _, (_, bob, _) = queued
    server.rows("queue", "bounce", bob, "--reason", "mailbox moved to the moon")
    assert server.wait_for_event("AdminBounce", id=bob)["response"]["command"] == "queue bounce"
    report = read_report(home.wait_for(1)[0])
    [(recipient, (action, status))] = report.statuses.items()
    assert (recipient, action, status[0]) == ("bob@bob.example", "failed", "5")
    books = server.audit()
    assert (books["failed"], books["generated"], books["queued"]) == (1, 1, 2)
    found = server.metrics()
    assert (found["mta_recipients_failed_total"], found["mta_reports_generated_total"]) == (1, 1), "as in the books"


def test_a_trace_tells_what_operators_did(queued) -> None:
    server, _, _, (ann, bob, _) = queued
    for verb in ("hold", "release", "flush", "remove"):
        server.rows("queue", verb, ann, "--reason", f"to {verb} it")
    server.rows("queue", "bounce", bob)
    told = server.mta("trace", ann).stdout
    words = [line.split()[2] for line in told.splitlines() if "<ann@ann.example>" in line]
    edits = [word for word in words if word not in ("received", "deferred")]
    assert edits == ["held", "released", "flushed", "removed"], told
    assert "to hold it" in told
    assert "  bounced   <bob@bob.example>" in server.mta("trace", bob).stdout


def test_a_message_is_shown_as_it_is_stored(queued) -> None:
    server, _, _, (ann, _, _) = queued
    [shown] = server.rows("queue", "show", ann)
    assert shown["reverse_path"] == "alice@athena.example"
    assert [r["address"] for r in shown["recipients"]] == ["ann@ann.example"]
    stored = server.mta("queue", "cat", ann)
    assert stored.returncode == 0
    assert stored.stdout.startswith("Received: from client.example")
    assert stored.stdout.endswith("\nOnce upon a time.\r\n")
    listed = {row["queue_id"]: row for row in server.rows("queue", "list")}
    assert list(listed) == sorted(listed)
    assert {row["domain"]: row["total"] for row in server.rows("queue", "stats")} == {
        "ann.example": 1,
        "bob.example": 1,
        "cid.example": 1,
    }


def test_an_id_that_is_not_there_is_a_data_error(queued) -> None:
    server, *_ = queued
    done = server.mta("queue", "remove", "06H0PNA5B4000")
    assert done.returncode == 65
    assert "06H0PNA5B4000" in done.stderr
