"""Mail for local domains goes to a Dovecot by LMTP instead of our own store, and lies in its Maildir octet by octet."""

import re

import pytest

from tests.harness.corpora import sendable_messages
from tests.harness.dovecot import emptied, maildir
from tests.harness.mail_house import DOMAIN, MARK, ZOE
from tests.harness.mta_server import MESSAGE, submit


@pytest.fixture(params=["unix", "tcp"])
def house(request: pytest.FixtureRequest, mail_house, dovecot):
    """Our directory knows the people, Dovecot keeps their mail."""
    emptied(dovecot)
    to = f"lmtp+unix:{dovecot.lmtp_socket}" if request.param == "unix" else f"lmtp://127.0.0.1:{dovecot.lmtp_port}"
    return mail_house(route=[{"domain": DOMAIN, "to": to}])


def test_a_message_for_two_lies_in_both_mailboxes(house, dovecot) -> None:
    house.send([MARK, ZOE], MESSAGE)
    delivered = house.wait_for_events(2, "Delivery")
    assert {(event["recipient"], event["delivery_protocol"]) for event in delivered} == {(MARK, "LMTP"), (ZOE, "LMTP")}
    for address in (MARK, ZOE):
        [message] = maildir(dovecot, address)
        assert written(message) == MESSAGE
    assert house.mailbox(MARK) == [], "our own store got nothing"


def test_the_corpus_lies_there_octet_by_octet(house, dovecot) -> None:
    sent = sendable_messages()
    with house.connect() as session:
        for content in sent.values():
            submit(session, MARK, content)
    house.wait_for_events(len(sent), "Delivery")
    kept = sorted(written(message) for message in maildir(dovecot, MARK))
    assert kept == sorted(sent.values())
    house.wait_for_empty_queue()


def test_who_is_in_no_directory_is_refused_before_dovecot_is_asked(house, dovecot) -> None:
    with house.connect() as session:
        session.mail("alice@athena.example")
        code, text = session.rcpt(f"nobody@{DOMAIN}")
    assert (code, text[:6]) == (550, b"5.1.1 ")
    assert "nobody" not in dovecot.log.read_text()


def test_whom_only_our_directory_knows_is_reported_to_the_sender(house, dovecot) -> None:
    """Dovecot refuses at RCPT; the report goes to a sender who has a mailbox there."""
    house.add_person(f"only-here@{DOMAIN}", "secret")
    house.send(f"only-here@{DOMAIN}", MESSAGE, sender=ZOE)
    bounce = house.wait_for_event("Bounce", recipient=f"only-here@{DOMAIN}")
    assert bounce["response"]["code"] == 550
    house.wait_for_event("Delivery", recipient=ZOE)
    [report] = maildir(dovecot, ZOE)
    assert b"only-here@" in report
    house.wait_for_empty_queue()


def test_dovecot_stopped_and_started_again_gets_what_waited(house, dovecot) -> None:
    dovecot.stop()
    house.send(MARK, MESSAGE)
    house.wait_for_event("TransientFailure", recipient=MARK)
    dovecot.start()
    house.wait_for_event("Delivery", recipient=MARK)
    assert [written(message) for message in maildir(dovecot, MARK)] == [MESSAGE]


#: What Dovecot writes above a message; without Delivered-To when one transaction has several recipients.
DOVECOTS = re.compile(
    rb"\AReturn-Path: <[^\r\n]*>\r\n(?:Delivered-To: [^\r\n]+\r\n)?"
    rb"Received: from hermes\.example[^\r\n]*\r\n(?:\t[^\r\n]*\r\n)+"
)
OURS = re.compile(rb"\AReceived: from client\.example [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)+")


def written(message: bytes) -> bytes:
    """What the sender wrote: below Dovecot's own fields and our Received."""
    for above in (DOVECOTS, OURS):
        head = above.match(message)
        assert head, message[:300]
        message = message[head.end() :]
    return message
