"""Submission: who has logged in sends as who he is, to anywhere; what is missing in a message is added, and no more."""

import base64
import os
import smtplib
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import scramp

from tests.harness.mail_house import MARK, PEOPLE, ZOE
from tests.harness.mta_server import submit, wait_until
from tests.harness.stories import route
from tests.harness.submission_house import SubmissionHouse

PASSWORD = PEOPLE[MARK]
BOB = "bob@arlington.example"
HEAD = f"From: <{MARK}>\r\nTo: <{BOB}>\r\n".encode()
TOKENS = "async def verify(claim):\n    return 'mark@minasi.example' if claim.token == 'good' else None\n"


@pytest.fixture
def house(tmp_path: Path, sink) -> Iterator[SubmissionHouse]:
    remote = sink()
    made = SubmissionHouse(
        tmp_path / "house",
        route=[route("*.example", remote.port)],
        relay={"networks": []},
        submission={"messages_per_user": "30/h", "recipients_per_user": "60/h"},
    )
    made.remote = remote
    try:
        yield made.start()
        made.stop()
    finally:
        made.close()


def logged_in(house: SubmissionHouse, user: str = MARK, listener: str = "starttls") -> smtplib.SMTP:
    session = house.client(listener)
    session.login(user, PEOPLE[user])
    return session


def mail(session: smtplib.SMTP, sender: str, options: str = "") -> tuple[int, str]:
    code, text = session.docmd("MAIL", f"FROM:<{sender}>{options}")
    session.rset()
    return code, text.decode()


def test_nobody_sends_before_a_login_and_whoever_has_logged_in_relays_anywhere(house) -> None:
    with house.client("starttls") as session:
        assert mail(session, MARK) == (530, "5.7.0 authentication required")
        session.login(MARK, PASSWORD)
        submit(session, BOB, HEAD + b"\r\nHello\r\n", MARK)
    [message] = house.remote.wait_for(1)
    assert message.recipients == [BOB]
    assert house.wait_for_event("Delivery")["recipient"] == BOB


def test_only_ones_own_addresses_and_aliases_may_be_the_sender(house) -> None:
    for arguments in (
        ("alias", "add", "books@minasi.example", MARK),
        ("alias", "add", "further@minasi.example", "books@minasi.example", ZOE),
        ("alias", "add", "zoes@minasi.example", ZOE),
        ("list", "add", "everybody@minasi.example", MARK, ZOE),
    ):
        done = house.mta("directory", *arguments)
        assert done.returncode == 0, done.stderr
    wait_until(lambda: len(house.rows("directory", "alias", "list")) >= 3, "the aliases")
    with logged_in(house) as session:
        for own in (MARK, "Mark@MINASI.example", "mark+books@minasi.example", "books@minasi.example", ""):
            assert mail(session, own)[0] == 250, own
        assert mail(session, "further@minasi.example")[0] == 250
        for foreign in (ZOE, "zoes@minasi.example", "everybody@minasi.example", "nobody@minasi.example", BOB):
            assert mail(session, foreign) == (553, "5.7.1 this sender address is not yours"), foreign
    rejected = house.wait_for_events(5, "Rejection")
    assert {event["submitter"] for event in rejected} == {MARK}
    assert {event["response"]["command"] for event in rejected} == {"MAIL"}


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["in memory", "streamed"])
def test_what_is_missing_is_added_and_blind_copies_are_taken_out(house, size: int) -> None:
    body = b"\r\n" + b"x" * 70 + b"\r\n.\r\n..dots\r\nBcc: in the body\r\n" + b"0123456789\r\n" * (size // 12)
    with logged_in(house) as session:
        submit(session, BOB, b"Bcc: <a@b.example>,\r\n <c@d.example>\r\n" + HEAD + body, MARK)
        kept = b"Date: Tue, 1 Jan 2030 00:00:00 +0000\r\nMessage-Id: <mine@here>\r\n" + HEAD
        submit(session, BOB, kept + body, MARK)
    first, second = (message.content for message in house.remote.wait_for(2))
    received, _, rest = first.partition(b"\r\nDate: ")
    assert received.startswith(b"Received: from client.example ")
    _, _, rest = rest.partition(b"\r\n")
    identifier, _, rest = rest.partition(b"\r\n")
    event = house.wait_for_event("Reception")
    assert identifier.decode() == f"Message-ID: <{event['id']}@hermes.example>"
    assert event["message_id"] == f"<{event['id']}@hermes.example>"
    assert rest == HEAD + body
    assert second.endswith(b" +0000\r\n" + kept + body)
    assert second.count(b"Message-I") == 1


def test_a_person_has_so_many_messages_and_recipients_an_hour(house) -> None:
    with logged_in(house) as session:
        replies = [mail(session, MARK)[0] for _ in range(33)]
        assert replies == [250] * 30 + [450] * 3
    with logged_in(house, ZOE) as session:
        session.mail(ZOE)
        replies = [session.rcpt(f"r{n}@arlington.example")[0] for n in range(62)]
        assert replies == [250] * 60 + [450] * 2
        assert session.data(HEAD + b"\r\nto sixty\r\n")[0] == 250
    assert len({r for message in house.remote.wait_for(1) for r in message.recipients}) >= 1
    house.wait_for_events(60, "Delivery")


def test_a_message_is_held_until_its_time(house) -> None:
    with logged_in(house) as session:
        hold = session.esmtp_features["futurerelease"].split()
        assert hold[0] == str(30 * 86400)
        assert mail(session, MARK, " HOLDFOR=2592001")[0] == 501
        submit(session, BOB, HEAD + b"\r\nfirst\r\n", MARK)
        session.docmd("MAIL", f"FROM:<{MARK}> HOLDFOR=3")
        session.rcpt(BOB)
        assert session.data(HEAD + b"\r\nlater\r\n")[0] == 250
    [first] = house.remote.wait_for(1)
    assert first.content.endswith(b"first\r\n")
    [held] = house.queue()
    event = house.wait_for_event("Reception", id=held["queue_id"])
    delivered = house.wait_for_event("Delivery", id=held["queue_id"])
    assert delivered["timestamp"] - event["timestamp"] >= 3.0


def test_the_patience_with_a_held_message_begins_when_it_is_let_go(tmp_path: Path, sink) -> None:
    """And a hold outlives the server."""
    remote = sink({"MAIL": ["451 4.3.0 later"] * 3})
    house = SubmissionHouse(
        tmp_path / "house",
        route=[route("*.example", remote.port)],
        delivery={"retry_after": ["100ms"], "warn_after": "2s", "give_up_after": "3s"},
    ).start()
    try:
        with logged_in(house) as session:
            session.docmd("MAIL", f"FROM:<{MARK}> HOLDFOR=5")
            session.rcpt(BOB)
            code, text = session.data(HEAD + b"\r\nlater\r\n")
            assert code == 250
        house.restart()
        delivered = house.wait_for_event("Delivery", id=text.split()[1].decode(), recipient=BOB)
        assert delivered["num_attempts"] == 4
        assert delivered["timestamp"] - delivered["created"] >= 5.0
        assert house.events("Expiration") == house.events("Delayed") == []
        house.wait_for_empty_queue()
        house.stop()
    finally:
        house.close()


def bound(session: smtplib.SMTP) -> tuple[str, bytes]:
    return "tls-server-end-point", sha256(session.sock.getpeercert(binary_form=True)).digest()


def scram(session: smtplib.SMTP, mechanism: str, password: str = PASSWORD, **options) -> tuple[int, bytes]:
    client = scramp.ScramClient([mechanism], MARK, password, **options)
    first = base64.b64encode(client.get_client_first().encode()).decode()
    code, text = session.docmd("AUTH", f"{mechanism} {first}")
    if code != 334:
        return code, text
    client.set_server_first(base64.b64decode(text).decode())
    code, text = session.docmd(base64.b64encode(client.get_client_final().encode()).decode())
    if code != 334:
        return code, text
    client.set_server_final(base64.b64decode(text).decode())
    return session.docmd("")


@pytest.mark.parametrize("listener", ["starttls", "implicit"])
def test_scram_is_bound_to_the_channel(house, listener: str) -> None:
    with house.client(listener) as session:
        assert session.esmtp_features["auth"].split()[0] == "SCRAM-SHA-256-PLUS"
        assert scram(session, "SCRAM-SHA-256-PLUS", channel_binding=bound(session))[0] == 235
    with house.client(listener) as session:
        elsewhere = ("tls-server-end-point", b"x" * 32)
        assert scram(session, "SCRAM-SHA-256-PLUS", channel_binding=elsewhere)[0] == 535
        assert scram(session, "SCRAM-SHA-256", "wrong")[0] == 535
        assert scram(session, "SCRAM-SHA-256")[0] == 235


def test_without_tls_no_channel_is_bound(house) -> None:
    with house.client("clear") as session:
        assert "SCRAM-SHA-256-PLUS" not in session.esmtp_features["auth"].split()
        assert scram(session, "SCRAM-SHA-256")[0] == 235


def test_tokens_are_judged_by_a_hook_of_the_site(tmp_path, monkeypatch) -> None:
    (tmp_path / "site_tokens.py").write_text(TOKENS)

    class House(SubmissionHouse):
        def _environment(self) -> dict[str, str]:
            own = super()._environment()
            return own | {"PYTHONPATH": f"{own['PYTHONPATH']}{os.pathsep}{tmp_path}"}

    house = House(tmp_path / "house", login={"token_verifier": "site_tokens:verify"})
    try:
        house.start()
        with house.client("implicit") as session:
            assert session.esmtp_features["auth"].split()[-2:] == ["OAUTHBEARER", "XOAUTH2"]
            bad = base64.b64encode(f"user={MARK}\x01auth=Bearer bad\x01\x01".encode()).decode()
            assert session.docmd("AUTH", f"XOAUTH2 {bad}")[0] == 334  # what is wrong with it
            assert session.docmd("")[0] == 535
            good = base64.b64encode(b"n,,\x01auth=Bearer good\x01\x01").decode()
            assert session.docmd("AUTH", f"OAUTHBEARER {good}")[0] == 235
            submit(session, ZOE, HEAD + b"\r\nby token\r\n", MARK)
        house.wait_for_event("Delivery")
        with smtplib.SMTP("127.0.0.1", house.port_of("starttls"), "client.example") as session:
            session.ehlo()
            assert session.docmd("AUTH", f"OAUTHBEARER {good}")[0] == 538
        house.stop()
    finally:
        house.close()


def test_a_login_is_no_ticket(house) -> None:
    """A resumed TLS session is not logged in."""
    context = house.certificate.context()
    with house.client("implicit", context) as session:
        session.login(MARK, PASSWORD)
        ticket = session.sock.session
    raw = context.wrap_socket(
        socket.create_connection(("127.0.0.1", house.port_of("implicit"))),
        server_hostname="127.0.0.1",
        session=ticket,
    )
    with raw:
        assert raw.session_reused
        stream = raw.makefile("rwb")
        assert stream.readline().startswith(b"220 ")
        stream.write(b"EHLO x\r\n")
        stream.flush()
        while not stream.readline().startswith(b"250 "):
            pass
        stream.write(f"MAIL FROM:<{MARK}>\r\n".encode())
        stream.flush()
        assert stream.readline().startswith(b"530 ")
