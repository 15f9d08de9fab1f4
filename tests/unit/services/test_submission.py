"""What a submission listener decides by itself: until when a message may be held, and what TLS leaves of a login."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mta.net.server import ServerConnection
from mta.net.tls import TlsFacts
from tests.harness.in_process import CONTENT, turns
from tests.harness.submitting import PASSWORDS, SUBMITS, PromptLogins, Submitting

MARK = "mark@minasi.example"
AUTH = b"AUTH PLAIN " + b64encode(f"\0{MARK}\0{PASSWORDS[MARK]}".encode()) + b"\r\n"
HELLO = b"EHLO client.example\r\n"


class Client:
    def __init__(self, place, access=SUBMITS):
        self.connection, self.transport = place.connect(access=access)

    async def say(self, octets: bytes) -> str:
        """The last reply."""
        self.transport.take()
        self.connection.data_received(octets)
        await turns(10)
        return self.transport.take().decode().splitlines()[-1]


@pytest.fixture
async def place(tmp_path: Path):
    made = Submitting(tmp_path)
    yield made
    await made.close()


def mail(moment: str | int) -> bytes:
    """``moment``: as it is said, or so many seconds from now."""
    if isinstance(moment, int):
        moment = (datetime.now(UTC) + timedelta(seconds=moment)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"MAIL FROM:<{MARK}> HOLDUNTIL={moment}\r\n".encode()


@pytest.mark.parametrize(
    "moment",
    ["2026-02-30T10:00:00Z", "0000-01-01T00:00:00Z", SUBMITS.max_hold + 3600, "9999-12-31T23:59:59Z"],
)
async def test_what_is_no_moment_or_too_far_away_is_refused_at_mail(place, moment):
    client = Client(place)
    await client.say(HELLO)
    await client.say(AUTH)
    assert (await client.say(mail(moment))).startswith("501 5.5.4 ")
    assert (await client.say(f"MAIL FROM:<{MARK}>\r\n".encode())).startswith("250 ")


@pytest.mark.parametrize("moment", [SUBMITS.max_hold - 3600, "2016-12-31T23:59:60Z"])
async def test_any_other_moment_is_taken_a_leap_second_too(place, moment):
    client = Client(place)
    await client.say(HELLO)
    await client.say(AUTH)
    await client.say(mail(moment))
    await client.say(b"RCPT TO:<bob@arlington.example>\r\nDATA\r\n")
    assert (await client.say(CONTENT + b".\r\n")).endswith(" queued")


async def test_the_own_address_is_so_with_the_domain_in_either_spelling(place):
    client = Client(place)
    await client.say(HELLO)
    await client.say(AUTH)
    assert (await client.say("MAIL FROM:<mark@\uff4dinasi.example> SMTPUTF8\r\n".encode())).startswith("250 ")
    await client.say(b"RCPT TO:<bob@arlington.example>\r\nDATA\r\n")
    assert (await client.say(CONTENT + b".\r\n")).endswith(" queued")
    assert place.deliverer.entries[0].message.reverse_path == MARK  # where a report finds him
    assert (await client.say("MAIL FROM:<zoe@\uff4dinasi.example> SMTPUTF8\r\n".encode())).startswith("553 ")


def token(mechanism: str, text: str) -> bytes:
    begin = f"user={MARK}" if mechanism == "XOAUTH2" else f"n,a={MARK},"
    return b64encode(f"{begin}\x01auth=Bearer {text}\x01\x01".encode()) + b"\r\n"


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize(
    ("answer", "reply"), [(b"AQ==\r\n", "535 5.7.8 "), (b"\r\n", "535 5.7.8 "), (b"*\r\n", "501 5.7.0 ")]
)
async def test_who_shows_a_bad_token_hears_why_in_a_challenge(place, mechanism, answer, reply):
    client = Client(place, SUBMITS._replace(mechanisms=("PLAIN", mechanism)))
    await client.say(HELLO)
    begin = f"AUTH {mechanism}".encode()
    said = await client.say(begin + b" " + token(mechanism, "bad"))
    assert (said[:4], b64decode(said[4:])) == ("334 ", b'{"status":"invalid_token"}')
    assert (await client.say(answer)).startswith(reply)
    assert (await client.say(f"MAIL FROM:<{MARK}>\r\n".encode())).startswith("530 ")
    assert await client.say(begin + b"\r\n") == "334 "
    assert (await client.say(token(mechanism, "good"))).startswith("235 ")


async def test_a_bad_token_leaves_nothing_to_the_next_exchange(place):
    client = Client(place, SUBMITS._replace(mechanisms=("PLAIN", "XOAUTH2")))
    await client.say(HELLO)
    await client.say(b"AUTH XOAUTH2 " + token("XOAUTH2", "bad"))
    await client.say(b"*\r\n")
    wrong = b64encode(f"\0{MARK}\0wrong".encode())
    assert (await client.say(b"AUTH PLAIN " + wrong + b"\r\n")).startswith("535 ")
    assert (await client.say(AUTH)).startswith("235 ")


@pytest.mark.parametrize("offered", [True, False])
async def test_a_channel_binding_counts_only_where_one_was_offered(place, offered):
    """Else a client that says "you offer none" (gs2 flag "y") were turned away for being right (RFC 5802 §6): where a
    certificate has none, TLS 1.2 still has one."""
    given = []

    def exchange(mechanism, client, bindings=None):
        given.append(bindings)
        return PromptLogins().exchange(mechanism, client)

    place.logins.exchange = exchange
    mechanisms = (*SUBMITS.mechanisms, *(("SCRAM-SHA-256-PLUS",) if offered else ()))
    client = Client(place, SUBMITS._replace(mechanisms=mechanisms))
    client.connection.tls = TlsFacts("TLSv1.2", "a cipher", bindings={"tls-unique": b"octets"})
    await client.say(HELLO)
    assert (await client.say(AUTH)).startswith("235 ")
    assert given == [{"tls-unique": b"octets"} if offered else None]


async def test_who_logged_in_before_tls_has_no_rights_under_it(place, monkeypatch):
    monkeypatch.setattr(ServerConnection, "_secure", lambda self: None)  # what session and policy know, no handshake
    client = Client(place, SUBMITS._replace(extensions=(*SUBMITS.extensions, "STARTTLS")))
    await client.say(HELLO)
    assert (await client.say(AUTH)).startswith("235 ")
    assert (await client.say(f"VRFY {MARK}\r\n".encode())).startswith("250 ")
    assert (await client.say(b"STARTTLS\r\n")).startswith("220 ")
    client.connection.session.tls_started()
    await client.say(HELLO)
    assert (await client.say(f"MAIL FROM:<{MARK}>\r\n".encode())).startswith("530 ")
    assert (await client.say(f"VRFY {MARK}\r\n".encode())).startswith("252 ")
    assert (await client.say(b"ETRN arlington.example\r\n")).startswith("459 ")
