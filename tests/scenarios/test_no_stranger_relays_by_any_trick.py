"""The tricks by which servers have been made open relays, each tried by a stranger on a server that has mailboxes,
relays for a customer, offers TLS and logins: nothing goes anywhere, and nobody is told who is there."""

from collections.abc import Iterator

import pytest

from tests.harness.mail_house import DOMAIN, MARK
from tests.harness.smtp_wire import SmtpWire
from tests.harness.submission_house import SubmissionHouse

#: ``ours`` in the list of tricks is DOMAIN, ``ext`` a domain of somebody else.
EXT = "arlington.example"
RECIPIENTS = [
    f"<bob@{EXT}>",
    f"<BOB@{EXT.upper()}>",
    f"<bob%{EXT}@{DOMAIN}>",
    f"<bob%{EXT}@[127.0.0.1]>",
    f"<{EXT}!bob@{DOMAIN}>",
    f"<{EXT}!bob>",
    f"<@{DOMAIN}:bob@{EXT}>",
    f"<@{DOMAIN},@other.example:bob@{EXT}>",
    f'<"bob@{EXT}"@{DOMAIN}>',
    f'<"bob%{EXT}">',
    f"<bob@{EXT}@{DOMAIN}>",
    f"<bob@{DOMAIN}@{EXT}>",
    f"<bob@{EXT}.>",
    f"<mark@{DOMAIN}.>",
    f"<mark@{DOMAIN}.{EXT}>",
    f"<mark@evil{DOMAIN}>",
    "<bob@[127.0.0.1]>",
    "<mark@[IPv6:::1]>",
    "<bob@customer.example.arlington.example>",
    f"<bob%{EXT}@customer.example>",
    f'<"bob@{EXT}"@customer.example>',
    f"<@customer.example:bob@{EXT}>",
    "<bob@xn--bcher-kva.example>",
    "<bob@bücher.example>",
    f"bob@{EXT}",
    f"<bob@{EXT}",
    f"<bob@{EXT}> <mark@{DOMAIN}>",
    f"<mark@{DOMAIN}> <bob@{EXT}>",
    f"<|/bin/sh@{DOMAIN}>",
    f"<root+${{run}}@{DOMAIN}>",
    f"<../../spool@{DOMAIN}>",
    f"<nobody-here@{DOMAIN}>",
]
SENDERS = ["<>", "<alice@athena.example>", f"<{MARK}>", f"<postmaster@{DOMAIN}>", "<bob@arlington.example>"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SubmissionHouse]:
    """We are strangers to it: nobody may relay without a login. A route leads to a port that nobody may ever meet."""
    relay = {"networks": [], "domains": ["customer.example"]}
    made = SubmissionHouse(
        tmp_path_factory.mktemp("house"),
        relay=relay,
        limits={"errors": 1000},
        policy={"tarpit": "0s", "error_rate": 0, "connection_rate": 0, "failure_rate": 0},
    )
    try:
        yield made.start()
        made.stop()
    finally:
        made.close()


@pytest.fixture(params=["relay", "starttls"])
def wire(request: pytest.FixtureRequest, house: SubmissionHouse) -> Iterator[SmtpWire]:
    """A session that has said EHLO, with the port for servers and with that for people."""
    with SmtpWire(house.port_of(request.param)) as session:
        assert session.say("EHLO stranger.example").startswith(b"250")
        yield session


def refused(reply: bytes) -> bool:
    return reply[:1] == b"5"


def test_every_trick_is_refused_for_every_sender(house: SubmissionHouse, wire: SmtpWire) -> None:
    for sender in SENDERS:
        for utf8 in ("", " SMTPUTF8"):
            mail = wire.say(f"MAIL FROM:{sender}{utf8}")
            for recipient in RECIPIENTS:
                reply = wire.say(f"RCPT TO:{recipient}")
                assert refused(reply), (sender, utf8, mail, recipient, reply)
            assert refused(wire.say("DATA"))
            wire.say("RSET")
    assert house.queue() == []
    assert house.audit()["accepted"] == 0


@pytest.mark.parametrize(
    "trick",
    [
        ["XCLIENT ADDR=127.0.0.1 LOGIN=mark"],
        [f"XCLIENT NAME=localhost ADDR=127.0.0.1 LOGIN={MARK}"],
        ["XFORWARD ADDR=127.0.0.1 NAME=localhost"],
        ["PROXY TCP4 127.0.0.1 127.0.0.1 25 25"],
        ["AUTH PLAIN AG1hcmsAd3Jvbmc="],
        ["AUTH PLAIN *"],
        [f"MAIL FROM:<{MARK}> AUTH=<{MARK}>", f"RCPT TO:<bob@{EXT}>", "RSET"],
        [f"MAIL FROM:<{MARK}>", f"RCPT TO:<bob@{EXT}>", "DATA", f"RCPT TO:<bob@{EXT}>", "DATA"],
        ["MAIL FROM:<>", f"RCPT TO:<{MARK}>", "RSET"],
        ["HELO localhost"],
        ["EHLO [127.0.0.1]"],
        [f"EHLO {DOMAIN}"],
    ],
    ids=lambda trick: trick[0][:24],
)
def test_nothing_said_before_makes_a_stranger_a_friend(wire: SmtpWire, trick: list[str]) -> None:
    for command in trick:
        if not wire.say(command):
            return  # hung up: nobody has relayed
    wire.say("RSET")
    wire.say(f"MAIL FROM:<{MARK}>")
    reply = wire.say(f"RCPT TO:<bob@{EXT}>")
    assert refused(reply) or reply == b"", reply
    assert not wire.say("DATA").startswith(b"354")


def test_a_second_transaction_is_judged_anew(wire: SmtpWire, house: SubmissionHouse) -> None:
    """A recipient of ours is no ticket for others."""
    for _ in range(2):
        wire.say("MAIL FROM:<alice@athena.example>")
        wire.say(f"RCPT TO:<{MARK}>")
        assert refused(wire.say(f"RCPT TO:<bob@{EXT}>"))
        wire.say("RSET")
        assert refused(wire.say(f"RCPT TO:<{MARK}>")), "without MAIL"


@pytest.mark.parametrize("command", ["VRFY {}", "EXPN {}", "ETRN {}"])
def test_nobody_is_told_who_is_here(wire: SmtpWire, command: str) -> None:
    said = {wire.say(command.format(name)) for name in (MARK, f"nobody-here@{DOMAIN}")}
    assert len(said) == 1, "the same for those that are here and those that are not"
    assert MARK.encode() not in said.pop()


def test_clear_text_behind_starttls_goes_nowhere(house: SubmissionHouse) -> None:
    """In one segment, or split; whatever is injected is not answered under TLS, and the connection ends."""
    for injected in ("RSET", "EHLO x", f"MAIL FROM:<{MARK}>\r\nRCPT TO:<bob@{EXT}>", "", "x" * 3000):
        with SmtpWire(house.port_of("relay")) as wire:
            wire.say("EHLO stranger.example")
            wire.send(f"STARTTLS\r\n{injected}\r\n".encode())
            wire.forget()
            said = wire.rest()
            assert said.count(b"\r\n") <= 1, said
            assert not said.startswith(b"250"), said


def test_after_all_this_nothing_has_been_received(house: SubmissionHouse) -> None:
    assert house.queue() == []
    assert house.events("Reception") == []


@pytest.mark.parametrize("recipient", [MARK, "ann@customer.example"])
def test_mail_for_us_and_for_a_customer_is_taken_from_the_same_stranger(house: SubmissionHouse, recipient: str) -> None:
    """So that none of the refusals above is one of everything."""
    with SmtpWire(house.port_of("relay")) as wire:
        wire.say("EHLO stranger.example")
        wire.say("MAIL FROM:<alice@athena.example>")
        assert wire.say(f"RCPT TO:<{recipient}>").startswith(b"250")
