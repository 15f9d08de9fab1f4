"""Three servers, one after the other: ``mta trace`` joins their event logs into the way of one message."""

import re

import pytest

from tests.harness.mta_server import MtaServer
from tests.harness.stories import route

LETTER = b"Message-ID: <letter.1@athena.example>\r\nFrom: <alice@athena.example>\r\nSubject: hello\r\n\r\nHello.\r\n"


def logs(*servers: MtaServer) -> list[str]:
    return [text for server in servers for text in ("--log", str(server.data / "events.jsonl"))]


def test_a_trace_follows_a_message_across_servers(mta, sink) -> None:
    mailbox = sink()
    arlington = mta(route=[route("*", mailbox.port)])
    hermes = mta(route=[route("*", arlington.port)])
    athena = mta(route=[route("*", hermes.port)])
    queue_id = athena.send(["mark@minasi.example"], LETTER)
    arlington.wait_for_event("Delivery", recipient="mark@minasi.example")
    for server in (athena, hermes, arlington):
        server.wait_for_empty_queue()
        server.stop()

    ids = [queue_id, *(server.events("Reception")[0]["id"] for server in (hermes, arlington))]
    for text in (queue_id, ids[2], "letter.1@athena.example", "mark@minasi.example"):
        rows = athena.rows("trace", text, *logs(arlington, athena, hermes))
        assert [row["id"] for row in rows] == [n for n in ids for _ in range(2)], text
        assert [row["type"] for row in rows] == ["Reception", "Delivery"] * 3
    told = athena.mta("trace", queue_id, *logs(athena, hermes, arlington))
    assert told.returncode == 0
    heads = [line.split()[0] for line in told.stdout.splitlines() if line[:1].isalnum()]
    assert heads == ids
    assert "Message-ID <letter.1@athena.example>" in told.stdout


def test_a_report_is_part_of_the_way_of_what_it_reports(mta, sink) -> None:
    refusing, home = sink({"RCPT": ["550 5.1.1 nobody here"]}), sink()
    server = mta(route=[route("minasi.example", refusing.port), route("*", home.port)])
    queue_id = server.send(["nobody@minasi.example"], LETTER)
    report = server.wait_for_event("Delivery", recipient="alice@athena.example")
    assert report["origin"] == queue_id
    server.wait_for_empty_queue()
    server.stop()
    for text in (queue_id, report["id"]):
        rows = server.rows("trace", text)
        assert [(row["id"], row["type"]) for row in rows] == [
            (queue_id, "Reception"),
            (queue_id, "Bounce"),
            (report["id"], "Delivery"),
        ]
    told = server.mta("trace", queue_id).stdout
    assert f"made from {queue_id}" in told
    assert "550 5.1.1 nobody here  (RCPT)" in told


@pytest.mark.parametrize("text", ["06H0PNA5B4000", "stranger@nowhere.example"])
def test_nothing_about_it_is_one_line_and_exit_69(mta, text: str) -> None:
    server = mta()
    server.send()
    server.wait_for_event("Reception")
    done = server.mta("trace", text)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith(f"mta: nothing about {text} in ")
    assert server.mta("trace", "<>").returncode == 64
    assert server.mta("trace", text, "--log", "nowhere.jsonl").returncode == 65


def test_a_list_s_copy_is_part_of_the_way_of_the_message_to_the_list(mta) -> None:
    server = mta(local={"domains": ["minasi.example"]})
    for person in ("mark@minasi.example", "ann@minasi.example"):
        server.request_rows("directory/user.add", address=person)
    members = ["ann@minasi.example"]
    server.request_rows(
        "directory/list.add", address="all@minasi.example", members=members, owner="mark@minasi.example"
    )
    queue_id = server.send(["all@minasi.example"], LETTER)
    delivery = server.wait_for_event("Delivery", recipient="ann@minasi.example")
    assert delivery["origin"] == queue_id
    assert delivery["id"] != queue_id
    rows = server.rows("trace", "ann@minasi.example")
    assert [(row["id"], row["type"], row["recipient"]) for row in rows] == [
        (queue_id, "Reception", "all@minasi.example"),
        (queue_id, "Delivery", "all@minasi.example"),
        (delivery["id"], "Delivery", "ann@minasi.example"),
        (delivery["response"]["content"].split()[0], "Reception", "ann@minasi.example"),
    ]
    told = server.mta("trace", rows[-1]["id"]).stdout
    assert f"{rows[-1]['id']}  in the mailbox of <ann@minasi.example>" in told
    assert queue_id in told
    told = server.mta("trace", queue_id).stdout
    assert re.search(rf" delivered <ann@minasi\.example> by {server.data}/lmtp\.sock LMTP, after ", told), told
