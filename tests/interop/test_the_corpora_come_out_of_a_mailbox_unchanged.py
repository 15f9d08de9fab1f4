"""Third parties' messages go into a mailbox by SMTP and by LMTP and come out by RETR and TOP octet by octet, below
Return-Path, Delivered-To and, when they came by SMTP, one Received field.

The corpus has malformed messages on purpose. Line ends of its files become CRLF, once, as a client sends them.
"""

import smtplib
from collections.abc import Mapping

import pytest

from tests.harness.corpora import NO_MESSAGE, corpus, mbox_messages, sendable_messages
from tests.harness.mail_house import MARK, TRACE, MailHouse, below_trace
from tests.harness.mta_server import submit
from tests.harness.pop3_wire import Pop3Wire


def contents() -> dict[str, bytes]:
    return sendable_messages() | {f"mbox {n}": content for n, content in enumerate(mbox_messages())}


def by_smtp(house: MailHouse, sent: Mapping[str, bytes]) -> None:
    with house.connect() as session:
        for content in sent.values():
            submit(session, MARK, content)
    house.wait_for_events(len(sent), "Delivery")


def by_lmtp(house: MailHouse, sent: Mapping[str, bytes]) -> None:
    house.fill(sent.values())


def top(message: bytes, lines: int) -> bytes:
    """What TOP has to give (RFC 1939): the header, the empty line, so many lines of the body."""
    head, separator, body = message.partition(b"\r\n\r\n")
    return head + separator + b"".join(line + b"\r\n" for line in body.split(b"\r\n")[:-1][:lines])


def looked_at(session: Pop3Wire, number: int) -> bytes:
    """RETR of one message, with LIST and TOP held against it."""
    message = session.content(f"RETR {number}")
    assert session.say(f"LIST {number}") == b"+OK %d %d" % (number, len(message))
    for lines in (0, 1, 7, 1_000_000):
        assert session.content(f"TOP {number} {lines}") == top(message, lines), (number, lines, message[:300])
    return message


@pytest.mark.parametrize("way", [by_smtp, by_lmtp])
def test_retr_and_top_give_what_was_sent(one_house, way) -> None:
    house = one_house.empty()
    sent = contents()
    way(house, sent)
    with house.pop3() as session:
        assert session.count() == len(sent)
        received = [looked_at(session, number) for number in range(1, len(sent) + 1)]
    came = {below_trace(message): message for message in received} if way is by_smtp else below_heads(received)
    for name, content in sent.items():
        assert content in came, f"{name} is not there as it was sent"
    assert len(received) == len(sent)
    # Two deliveries at once may overtake each other; one LMTP session keeps its order.
    if way is by_lmtp:
        assert list(came) == list(dict.fromkeys(sent.values()))


def below_heads(received: list[bytes]) -> dict[bytes, bytes]:
    """By content, without the two fields of the store: a Received field below them is the sender's own."""
    came = {}
    for message in received:
        assert TRACE.match(message), message[:200]
        came[message.split(b"\r\n", 2)[2]] = message
    return came


@pytest.mark.parametrize("way", ["smtp", "lmtp"])
def test_a_binary_file_with_bare_crs_is_refused_both_ways(one_house, way: str) -> None:
    house = one_house.empty()
    [path] = corpus("eml").rglob(NO_MESSAGE)
    session: smtplib.SMTP = house.connect() if way == "smtp" else house.lmtp()
    with session:
        session.docmd("MAIL", "FROM:<alice@athena.example>")
        session.docmd("RCPT", f"TO:<{MARK}>")
        code, text = session.data(path.read_bytes())
        assert (code, text[:6]) == (550, b"5.5.2 ")
        session.close()
    assert house.mailbox() == []
