"""What senders ask for by parameters of MAIL and RCPT, through whole servers: from one Hermes to the next and out, and
to Postfix, Exim and OpenSMTPD, which know less. Where a wish cannot be passed on, its sender hears of it."""

import smtplib
from collections.abc import Callable, Iterator
from itertools import repeat

import pytest

from tests.harness.mta_server import MtaServer
from tests.harness.scripted_remote import EXTENSIONS, Received
from tests.harness.sinks import RecordingSink
from tests.harness.smtp_peers import Running, running_peer
from tests.harness.stories import read_report, route

ALICE, BOB = "alice@athena.example", "bob@arlington.example"
CONTENT = b"Subject: x\r\n\r\nhello\r\n"
ALL = (*EXTENSIONS, "DSN", "MT-PRIORITY", "DELIVERBY")


def ask(server: MtaServer, mail: str, rcpt: str = "", *recipients: str) -> str:
    """One message with these parameters; its queue id."""
    with server.connect() as session:
        code, text = session.docmd("MAIL", f"FROM:<{ALICE}> {mail}".strip())
        assert code == 250, text
        for recipient in recipients or (BOB,):
            code, text = session.docmd("RCPT", f"TO:<{recipient}> {rcpt}".strip())
            assert code == 250, text
        code, text = session.data(CONTENT)
        assert code == 250, text
    return text.split()[1].decode()


def words(received: Received) -> set[str]:
    """Parameters of MAIL, without SIZE and BODY."""
    return {word for word in received.mail.split()[1:] if not word.startswith(("SIZE=", "BODY="))}


@pytest.fixture
def home(sink) -> RecordingSink:
    """Where reports to the sender end."""
    return sink()


@pytest.fixture
def two(mta, sink, home) -> Callable[..., tuple[MtaServer, MtaServer, RecordingSink]]:
    """``two(*extensions)``: a Hermes, the next one, and the remote behind both, which offers these."""

    def made(*extensions: str, **options) -> tuple[MtaServer, MtaServer, RecordingSink]:
        remote = sink(extensions=extensions or ALL, **options)
        routes = [route("athena.example", home.port)]
        second = mta(route=[*routes, route("*", remote.port)], hostname="second.example")
        first = mta(route=[*routes, route("*", second.port)])
        return first, second, remote

    return made


def test_everything_goes_from_one_hermes_to_the_next_and_out(two, home) -> None:
    first, _second, remote = two()
    ask(first, "RET=HDRS ENVID=QQ+2B1 MT-PRIORITY=3 BY=120;R", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@a.example")
    [received] = remote.wait_for(1)
    by = next(word for word in words(received) if word.startswith("BY="))
    assert words(received) - {by} == {"RET=HDRS", "ENVID=QQ+2B1", "MT-PRIORITY=3"}
    assert 110 <= int(by[3:].removesuffix(";R")) <= 120, "what was spent on the way is taken off"
    assert received.arguments == [f"TO:<{BOB}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@a.example"]
    first.wait_for_empty_queue()
    assert home.received == []


def test_limits_of_the_next_hermes_and_of_a_stranger_are_kept(mta, sink) -> None:
    remote = sink(extensions=(*EXTENSIONS, "LIMITS RCPTMAX=3 MAILMAX=2 RCPTDOMAINMAX=1"))
    second = mta(route=[route("*", remote.port)], limits={"recipients": 7})
    first = mta(route=[route("*", second.port)])
    with smtplib.SMTP(second.host, second.port) as session:
        session.ehlo()
        assert "RCPTMAX=7" in session.esmtp_features["limits"].split()
    people = [f"p{n}@{domain}.example" for domain in ("arlington", "springfield") for n in range(10)]
    ask(first, "", "", *people)
    remote.wait_for(8)
    second.wait_for_empty_queue()
    assert sorted(name for each in remote.received for name in each.recipients) == sorted(people)
    assert {len(each.recipients) for each in remote.received} == {3, 1}
    for connection in remote.remotes:
        assert len(connection.received) <= 2
        assert len({name.partition("@")[2] for each in connection.received for name in each.recipients}) <= 1
    second.wait_for_events(20, "Delivery")
    assert len({row["id"] for row in second.events("Reception")}) == 4, "7 and 3 for each domain"
    assert first.events("TransientFailure") == second.events("TransientFailure") == []


@pytest.mark.parametrize(("extensions", "action"), [(EXTENSIONS, "relayed"), ((*EXTENSIONS, "DELIVERBY"), "")])
def test_a_deadline_that_only_tells_goes_on_and_its_loss_is_told(two, home, extensions, action: str) -> None:
    first, _second, remote = two(*extensions)
    ask(first, "BY=120;N")
    [received] = remote.wait_for(1)
    assert ("BY=" in received.mail) is not action
    if action:
        assert read_report(home.wait_for(1)[0], by="second.example").statuses == {BOB: (action, "2.0.0")}
    first.wait_for_empty_queue()
    assert len(home.received) == bool(action)


def test_each_hop_is_told_where_a_trace_was_asked_for(two, home) -> None:
    first, _second, remote = two()
    ask(first, "BY=120;RT")
    ask(first, "BY=120;RT", "NOTIFY=NEVER")
    remote.wait_for(2)
    reports = home.wait_for(2)
    hops = {one.content.partition(b"Reporting-MTA: dns; ")[2].partition(b"\r")[0] for one in reports}
    assert hops == {b"hermes.example", b"second.example"}
    first.wait_for_empty_queue()
    assert len(home.received) == 2


@pytest.mark.parametrize("mode", ["R", "N"])
def test_a_deadline_passes_in_the_queue(mta, sink, home, mode: str) -> None:
    refusing = {"MAIL": repeat("451 4.3.0 later")} if mode == "R" else {"MAIL": ["451 4.3.0 later"] * 3}
    remote = sink(refusing, extensions=ALL)
    server = mta(
        route=[route("athena.example", home.port), route("*", remote.port)], delivery={"retry_after": ["800ms"]}
    )
    queue_id = ask(server, f"BY=1;{mode}")
    report = read_report(home.wait_for(1)[0])
    if mode == "R":
        assert report.statuses == {BOB: ("failed", "5.4.7")}
        server.wait_for_event("Delivery", recipient=ALICE)
        [ended] = [*server.events("Bounce", id=queue_id), *server.events("Expiration", id=queue_id)]
        assert ended["response"]["enhanced_code"] == "5.4.7"
        assert 1.0 <= ended["timestamp"] - ended["created"] < 5.0
    else:
        assert report.statuses[BOB][0] == "delayed"
        [received] = remote.wait_for(1)
        assert int(received.mail.partition("BY=")[2].partition(";")[0]) <= 0, "by how much it is late goes on"
    server.wait_for_empty_queue()
    assert len(home.received) == 1


def test_a_deadline_that_no_host_can_take_comes_back_and_one_that_some_can_is_kept(mta, sink, zones, home) -> None:
    names = zones(
        {
            "arlington.example": ["MX 10 first.arlington.example.", "MX 20 second.arlington.example."],
            "first.arlington.example": ["A 127.0.0.11"],
            "second.arlington.example": ["A 127.0.0.12"],
        }
    )
    first = sink(extensions=EXTENSIONS, host="127.0.0.11")
    second = sink(extensions=ALL, host="127.0.0.12", port=first.port)
    server = mta(
        dns={"servers": [names.address]}, delivery={"port": first.port}, route=[route("athena.example", home.port)]
    )
    queue_id = ask(server, "BY=120;R")
    assert len(second.wait_for(1)) == 1
    delivery = server.wait_for_event("Delivery", id=queue_id)
    assert delivery["peer_address"]["name"] == "second.arlington.example"
    assert first.received == []
    second.stop()
    sink(extensions=EXTENSIONS, host="127.0.0.12", port=first.port)
    server.wait_for_empty_queue()
    lost = ask(server, "BY=120;R")
    bounce = server.wait_for_event("Bounce", id=lost)
    assert bounce["response"]["enhanced_code"] == "5.3.3"
    assert read_report(home.wait_for(1)[0]).statuses == {BOB: ("failed", "5.3.3")}


# Through servers of others.


@pytest.fixture
def drain(sink) -> RecordingSink:
    """Behind the server of others."""
    return sink(extensions=ALL)


@pytest.fixture(params=["postfix", "exim", "opensmtpd"])
def peer(request: pytest.FixtureRequest, drain) -> Iterator[Running]:
    with running_peer(request.param, drain.port) as running:
        yield running


def test_servers_of_others_get_what_they_know_and_the_rest_is_told(mta, peer: Running, drain, home) -> None:
    """None of them knows deadlines or priorities; DSN is known to Postfix and OpenSMTPD, and not offered by Exim."""
    server = mta(route=[route("athena.example", home.port), route("*", peer.port)])
    ask(server, "ENVID=e1 MT-PRIORITY=4", "NOTIFY=SUCCESS", "success@arlington.example")
    ask(server, "MT-PRIORITY=-4", "", "priority@arlington.example")
    ask(server, "BY=300;N", "", "told@arlington.example")
    ask(server, "BY=300;R", "", "lost@arlington.example")
    server.wait_for_empty_queue()
    peer.await_empty_queue()
    names = ("success", "priority", "told", "lost")
    got = {each.recipients[0].partition("@")[0]: each for each in drain.received if each.reverse_path}
    assert set(got) == {"success", "priority", "told"}
    own = [each for each in home.received if b"Reporting-MTA: dns; hermes.example" in each.content]
    statuses = {name: status for each in own for name, status in read_report(each).statuses.items()}
    expected = {"told": ("relayed", "2"), "lost": ("failed", "5.3.3")}
    if peer.name == "exim":
        expected["success"] = ("relayed", "2")
    else:
        assert "NOTIFY=SUCCESS" in got["success"].arguments[0], "it goes on, and whoever is last tells it"
    found = {
        name: (action, status if status.startswith("5") else status[0])
        for name in names
        for action, status in [statuses.get(f"{name}@arlington.example", ("", " "))]
        if action
    }
    assert found == expected
