"""Third parties' messages through a whole server to Postfix's smtp-sink: octet by octet the same, but for one Received
field at the head. Once through a [[route]], once through MX records that a real name server (nsd) serves.

The corpus has malformed messages on purpose. Line ends of its files become CRLF, once, as a client sends them; nothing
else is touched. ``mail_outlook_1`` is no message but a binary container (OLE) with bare CRs in it: it is refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.corpora import NO_MESSAGE, corpus, crlf, sendable_messages
from tests.harness.mta_server import MtaServer, submit
from tests.harness.sinks import SmtpSink
from tests.harness.stories import route
from tests.harness.zone_server import RealZoneServer, running

MX_HOSTS = ("127.0.0.21", "127.0.0.22")
ZONE = f"""$TTL 300
@   SOA ns hostmaster 1 3600 600 86400 60
@   NS ns
@   MX 10 mx1
@   MX 20 mx2
ns  A 127.0.0.1
mx1 A {MX_HOSTS[0]}
mx2 A {MX_HOSTS[1]}
"""
RECEIVED = re.compile(
    rb"\AReceived: from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby hermes\.example [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*"
)


def relay_all(server: MtaServer, sink: SmtpSink) -> None:
    """Every message for a recipient of its own; then each dump is compared with what was sent."""
    sent = sendable_messages()
    with server.connect() as session:
        for number, content in enumerate(sent.values()):
            submit(session, f"message{number}@corpus.example", content)
    server.wait_for_events(len(sent), "Delivery")
    received = sink.by_recipient()
    assert len(received) == len(sent)
    for number, (name, content) in enumerate(sent.items()):
        relayed = received[f"message{number}@corpus.example"]
        head = RECEIVED.match(relayed)
        assert head, (name, relayed[:200])
        assert relayed[head.end() :] == content, name
    server.wait_for_empty_queue()
    assert server.events("Bounce") == server.events("TransientFailure") == []


def test_through_a_route(mta, smtp_sink) -> None:
    sink = smtp_sink()
    relay_all(mta(route=[route("*", sink.port)]), sink)


@pytest.fixture
def name_server(tmp_path: Path) -> Iterator[RealZoneServer]:
    (tmp_path / "nsd").mkdir()
    with running(RealZoneServer(tmp_path / "nsd", {"corpus.example": ZONE}, "corpus.example")) as started:
        yield started


def test_through_mx_records(mta, smtp_sink, name_server: RealZoneServer) -> None:
    sink = smtp_sink(host=MX_HOSTS[0])
    server = mta(workers=2, dns={"servers": [name_server.address], "timeout": "5s"}, delivery={"port": sink.port})
    relay_all(server, sink)
    assert {event["peer_address"]["name"] for event in server.events("Delivery")} == {"mx1.corpus.example"}
    assert {event["site"] for event in server.events("Delivery")} == {"mx1.corpus.example,mx2.corpus.example"}


def test_through_the_second_mx_while_the_first_is_down(mta, smtp_sink, name_server: RealZoneServer) -> None:
    sink = smtp_sink(host=MX_HOSTS[1])
    server = mta(dns={"servers": [name_server.address], "timeout": "5s"}, delivery={"port": sink.port})
    relay_all(server, sink)
    assert {event["peer_address"]["name"] for event in server.events("Delivery")} == {"mx2.corpus.example"}


def test_a_binary_file_with_bare_crs_is_refused_after_its_end(mta) -> None:
    server = mta()
    with server.connect() as session:
        session.mail("alice@athena.example")
        session.rcpt("bob@corpus.example")
        [path] = corpus("eml").rglob(NO_MESSAGE)
        code, text = session.data(crlf(path.read_bytes()))
        assert (code, text[:6]) == (550, b"5.5.2 ")
        assert session.sock.recv(1) == b"", "the connection is closed"
        session.close()
    assert server.audit()["accepted"] == 0


def test_on_the_wire_too_every_octet_is_the_same(mta, sink) -> None:
    """smtp-sink shows lines; this sink shows octets."""
    remote = sink()
    server = mta(route=[route("*", remote.port)])
    sent = list(sendable_messages().values())
    with server.connect() as session:
        for number, content in enumerate(sent):
            submit(session, f"message{number}@corpus.example", content)
    received = {message.recipients[0]: message.content for message in remote.wait_for(len(sent))}
    for number, content in enumerate(sent):
        relayed = received[f"message{number}@corpus.example"]
        head = RECEIVED.match(relayed)
        assert head
        assert relayed[head.end() :] == content
    assert remote.violations == []
