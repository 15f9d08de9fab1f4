"""What clients ask beyond a plain message: parameters in the record, questions, and clients that speak for others."""

import asyncio

import msgspec
import pytest

from mta.clock import SystemClock
from mta.config import parse
from mta.config.units import network
from mta.directory.protocol import DirectoryUnreadable, Resolution
from mta.errors import StorageError
from mta.model.message import Message
from mta.services import inquiries
from mta.services.access import EVERYWHERE, Access, access_of
from mta.services.local import LocalMail
from mta.services.receiving import held_until
from mta_ext.envelope import MailParameters
from tests.harness.in_process import CONTENT, HELLO, InProcess, turns

DOMAIN = "minasi.example"
SUBMITS = Access(extensions=(*EVERYWHERE, "FUTURERELEASE"), max_hold=86_400)
ASKED = Access(verify=True, extensions=(*EVERYWHERE, "VRFY", "EXPN"))
PROXIED = Access(xclient=(network("192.0.2.7/32"),), extensions=(*EVERYWHERE, "XCLIENT", "XFORWARD"))


class People:
    broken = False

    def resolve(self, address):
        if self.broken:
            raise DirectoryUnreadable("gone")
        name = address.partition("@")[0]
        targets = {"crew": tuple(f"m{n}@{DOMAIN}" for n in range(3)), "all": tuple(f"m{n}@x" for n in range(500))}
        targets["equipe"] = (f"zo\u00e9@{DOMAIN}", f"mark@{DOMAIN}")
        if name in targets:
            return Resolution("list", address=address, targets=targets[name])
        return Resolution("mailbox", address=address, mailbox=1) if name in ("mark", "postmaster") else None


@pytest.fixture
async def place(tmp_path):
    people = People()
    made = InProcess(tmp_path, local=LocalMail(frozenset([DOMAIN]), people, postmaster="", clock=SystemClock()))
    made.people = people
    yield made
    await made.close()


class Talk:
    def __init__(self, place, access=Access(), **options):  # noqa: B008
        self.connection, self.transport = place.connect(access=access, **options)
        self.seen = 0

    async def say(self, *lines):
        """The replies to all of it."""
        self.connection.data_received(b"".join(line + b"\r\n" for line in lines))
        await turns(10)
        octets = b"".join(self.transport.written)
        new, self.seen = octets[self.seen :], len(octets)
        return new.decode().splitlines()


async def send(place, mail, rcpt, access=Access()):  # noqa: B008
    """A message with these commands."""
    talk = Talk(place, access)
    await talk.say(b"EHLO client.example")
    said = await talk.say(mail, rcpt, b"DATA")
    assert [line[:3] for line in said] == ["250", "250", "354"], said
    [last] = await talk.say(CONTENT + b".")
    assert last.startswith("250"), last


async def test_what_was_asked_is_in_the_record(place):
    await send(
        place,
        b"MAIL FROM:<a@athena.example> RET=HDRS ENVID=QQ3+20 BY=3600;NT MT-PRIORITY=-3 SMTPUTF8",
        b"RCPT TO:<b@arlington.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B@arlington.example",
    )
    [entry] = place.deliverer.entries
    message = entry.message
    assert (message.ret, message.envid, message.priority, message.smtputf8) == ("HDRS", "QQ3+20", -3, True)
    assert (message.by_mode, message.deliver_by - message.arrival) == ("NT", 3_600_000)
    [recipient] = message.recipients
    assert (recipient.notify, recipient.orcpt) == ("SUCCESS,DELAY", "rfc822;B@arlington.example")
    assert message.protocol == "UTF8SMTP"


async def test_what_was_not_asked_costs_no_octet_of_the_record(place):
    await send(place, b"MAIL FROM:<a@athena.example>", b"RCPT TO:<b@arlington.example>")
    message = place.deliverer.entries[0].message
    assert (message.ret, message.envid, message.deliver_by, message.by_mode) == (None, None, 0, "")
    assert (message.recipients[0].notify, message.recipients[0].orcpt) == (None, None)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message


async def test_what_one_message_was_asked_is_not_asked_of_the_next(place):
    talk = Talk(place)
    await talk.say(b"EHLO client.example")
    for mail in (b"MAIL FROM:<a@athena.example> ENVID=x MT-PRIORITY=2", b"MAIL FROM:<a@athena.example>"):
        await talk.say(mail, b"RCPT TO:<b@arlington.example>", b"DATA")
        await talk.say(CONTENT + b".")
    first, second = (entry.message for entry in place.deliverer.entries)
    assert (first.envid, first.priority) == ("x", 2)
    assert (second.envid, second.priority) == (None, 0)


async def test_a_message_on_hold_is_in_the_queue_and_not_on_its_way(place):
    await send(place, b"MAIL FROM:<a@athena.example> HOLDFOR=60", b"RCPT TO:<b@arlington.example>", SUBMITS)
    assert place.deliverer.entries == []
    [(key, domain)] = place.spool.due(b"", (1 << 63) - 1, 10)
    assert domain == "arlington.example"
    assert 50_000 < int.from_bytes(key[:8], "big") - SystemClock().now_ms() <= 60_000


def test_a_moment_in_the_past_is_now():
    assert held_until(MailParameters(hold_until="2001-01-01T00:00:00Z"), 5_000_000_000_000) == 5_000_000_000_000
    assert held_until(MailParameters(hold_until="2030-01-01T00:00:00+01:00"), 0) == 1_893_452_400_000
    assert held_until(MailParameters(hold_for=5), 1000) == 6000
    assert held_until(MailParameters(), 7) == 7


async def test_vrfy_and_expn_tell_those_who_may_relay_where_that_is_wanted(place):
    talk = Talk(place, ASKED)
    await talk.say(b"EHLO client.example")
    assert await talk.say(b"VRFY mark@minasi.example") == ["250 2.1.5 <mark@minasi.example>"]
    assert await talk.say(b"VRFY Mark <mark@minasi.example>") == ["250 2.1.5 <mark@minasi.example>"]
    wide = "VRFY mark@\uff4dinasi.example SMTPUTF8".encode()  # as IDNA maps it
    assert await talk.say(wide) == ["250 2.1.5 <mark@minasi.example>"]
    assert await talk.say(b"VRFY nobody@minasi.example") == ["550 5.1.1 no such recipient here"]
    assert (await talk.say(b"VRFY a@athena.example"))[0].startswith("252 ")
    assert await talk.say(b"EXPN crew@minasi.example") == [
        "250-2.1.5 <m0@minasi.example>",
        "250-2.1.5 <m1@minasi.example>",
        "250 2.1.5 <m2@minasi.example>",
    ]
    assert len(await talk.say(b"EXPN all@minasi.example")) == inquiries.EXPAND_LIMIT
    assert await talk.say(b"EXPN mark@minasi.example") == ["550 5.1.1 no such list here"]
    place.people.broken = True
    assert (await talk.say(b"VRFY mark@minasi.example", b"EXPN crew@minasi.example"))[0].startswith("451 4.3.0")


async def test_names_beyond_ascii_are_told_to_those_who_read_them(place):
    talk = Talk(place, ASKED)
    await talk.say(b"EHLO client.example")
    assert await talk.say(b"EXPN equipe@minasi.example") == ["553 5.6.8 the answer needs SMTPUTF8"]
    asked = b"EXPN equipe@minasi.example SMTPUTF8"
    assert await talk.say(asked) == ["250-2.1.5 <zo\u00e9@minasi.example>", "250 2.1.5 <mark@minasi.example>"]
    assert (await talk.say(b"EXPN equipe@minasi.example"))[0].startswith("553 ")  # it holds for one command


@pytest.mark.parametrize("path", [b"<postmaster>", b"<PostMaster>", b"<postmaster@minasi.example>"])
async def test_strangers_reach_a_postmaster_who_reads_mail_elsewhere(tmp_path, path):
    local = LocalMail(frozenset([DOMAIN]), People(), postmaster="boss@elsewhere.example", clock=SystemClock())
    place = InProcess(tmp_path, local=local)
    talk = Talk(place, peer=("198.51.100.9", 4711))
    await talk.say(b"EHLO stranger.example", b"MAIL FROM:<>")
    assert await talk.say(b"RCPT TO:" + path) == ["250 2.1.5 ok"]
    assert await talk.say(b"RCPT TO:<joe@elsewhere.example>") == ["550 5.7.1 relaying denied"]
    await place.close()


async def test_strangers_are_told_nothing(place):
    talk = Talk(place, ASKED, peer=("198.51.100.9", 4711))
    await talk.say(b"EHLO stranger.example")
    assert (await talk.say(b"VRFY mark@minasi.example"))[0].startswith("252 ")
    assert (await talk.say(b"EXPN crew@minasi.example"))[0].startswith("502 ")
    assert (await talk.say(b"ETRN minasi.example"))[0].startswith("459 ")
    plain = Talk(place)
    await plain.say(b"EHLO client.example")
    assert (await plain.say(b"EXPN crew@minasi.example"))[0].startswith("502 ")


async def test_etrn_starts_the_queue_of_a_domain(place):
    asked = []

    async def flush(node):
        asked.append(node)
        if node == "broken.example":
            raise StorageError("no")
        return node == "waiting.example"

    place.reception.inquiries.on_flush = flush
    talk = Talk(place)
    await talk.say(b"EHLO client.example")
    assert (await talk.say(b"ETRN Waiting.example"))[0].startswith("250 ")
    assert (await talk.say(b"ETRN @idle.example"))[0].startswith("251 ")
    assert (await talk.say(b"ETRN broken.example"))[0].startswith("458 ")
    assert (await talk.say(b"ETRN #queue"))[0].startswith("458 ")
    assert asked == ["waiting.example", "@idle.example", "broken.example"]


async def test_no_more_than_so_many_flushes_are_under_way(place):
    go_on = asyncio.Event()

    async def flush(node):
        await go_on.wait()
        return 1

    place.reception.inquiries.on_flush = flush
    talks = [Talk(place) for _ in range(inquiries.FLUSH_LIMIT + 1)]
    for talk in talks:
        await talk.say(HELLO.rstrip())
    said = [await talk.say(b"ETRN waiting.example") for talk in talks]
    assert said[-1][0].startswith("458 ")
    assert said[:-1] == [[]] * inquiries.FLUSH_LIMIT
    go_on.set()
    assert [(await talk.say())[0][:3] for talk in talks[:-1]] == ["250"] * inquiries.FLUSH_LIMIT


async def test_a_proxy_of_ours_speaks_for_a_client(place):
    talk = Talk(place, PROXIED)
    await talk.say(b"EHLO proxy.example")
    assert (await talk.say(b"XCLIENT ADDR=198.51.100.9 NAME=stranger.example"))[0].startswith("220 ")
    await talk.say(b"EHLO stranger.example")
    said = await talk.say(b"MAIL FROM:<a@athena.example>", b"RCPT TO:<b@arlington.example>")
    assert said[-1] == "550 5.7.1 relaying denied"  # the stranger may not, whatever its proxy may
    assert (await talk.say(b"RCPT TO:<mark@minasi.example>", b"DATA"))[-1].startswith("354")
    await talk.say(CONTENT + b".")
    message = place.deliverer.entries[0].message
    assert (message.client_address, message.client_name) == ("198.51.100.9", "stranger.example")
    assert place.deliverer.entries[0].content.startswith(b"Received: from stranger.example ([198.51.100.9])")
    talk.connection.connection_lost(None)
    assert place.left_over() == {"sessions": 0, "clients": 0, "watched": 0, "gauge": 0}


async def test_nobody_else_speaks_for_others(place):
    talk = Talk(place, PROXIED, peer=("192.0.2.8", 4711))
    await talk.say(b"EHLO client.example")
    assert await talk.say(b"XCLIENT ADDR=198.51.100.9") == ["550 5.7.0 not authorized"]
    assert await talk.say(b"XFORWARD ADDR=198.51.100.9") == ["550 5.7.0 not authorized"]
    plain = Talk(place)
    await plain.say(b"EHLO client.example")
    assert (await plain.say(b"XCLIENT ADDR=198.51.100.9"))[0].startswith("502 ")


async def test_xforward_is_for_one_message_and_for_the_record_only(place):
    talk = Talk(place, PROXIED)
    await talk.say(b"EHLO proxy.example")
    assert (await talk.say(b"XFORWARD ADDR=198.51.100.9 HELO=stranger.example"))[0].startswith("250")
    for _ in range(2):
        said = await talk.say(b"MAIL FROM:<a@athena.example>", b"RCPT TO:<b@arlington.example>", b"DATA")
        assert said[-1].startswith("354")  # the rights are the proxy's
        await talk.say(CONTENT + b".")
    first, second = (entry.message for entry in place.deliverer.entries)
    assert (first.client_address, first.client_name) == ("198.51.100.9", "stranger.example")
    assert (second.client_address, second.client_name) == ("192.0.2.7", "proxy.example")


@pytest.mark.parametrize("values", [b"ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE]", b"NAME=x.example"])
async def test_what_a_proxy_does_not_know_is_what_we_know(place, values):
    talk = Talk(place, PROXIED)
    await talk.say(b"EHLO proxy.example")
    await talk.say(b"XFORWARD " + values)
    await talk.say(b"MAIL FROM:<a@athena.example>", b"RCPT TO:<b@arlington.example>", b"DATA")
    await talk.say(CONTENT + b".")
    message = place.deliverer.entries[0].message
    assert (message.client_address, message.client_name) == ("192.0.2.7", "proxy.example")


async def test_a_client_whose_address_its_proxy_does_not_know_has_no_rights_of_the_proxy(place):
    talk = Talk(place, PROXIED)
    await talk.say(b"EHLO proxy.example")
    assert (await talk.say(b"XCLIENT NAME=x.example ADDR=[UNAVAILABLE]"))[0].startswith("220 ")
    await talk.say(b"EHLO stranger.example")
    said = await talk.say(b"MAIL FROM:<a@athena.example>", b"RCPT TO:<b@arlington.example>")
    assert said[-1] == "550 5.7.1 relaying denied"


async def test_with_another_client_nothing_of_xforward_is_left(place):
    talk = Talk(place, PROXIED)
    await talk.say(b"EHLO proxy.example")
    await talk.say(b"XFORWARD ADDR=198.51.100.9 HELO=stranger.example")
    await talk.say(b"XCLIENT ADDR=192.0.2.8")
    await talk.say(b"EHLO client.example")
    await talk.say(b"MAIL FROM:<a@athena.example>", b"RCPT TO:<b@arlington.example>", b"DATA")
    await talk.say(CONTENT + b".")
    message = place.deliverer.entries[0].message
    assert (message.client_address, message.client_name) == ("192.0.2.8", "client.example")


# Domains have two spellings (RFC 5890).


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("zo\u00e9@b\u00fccher.example", "zo\u00e9@xn--bcher-kva.example"),
        ("mark@B\u00dcCHER.example", "mark@xn--bcher-kva.example"),
        ("mark@\uff4furs.example", "mark@ours.example"),
        ("mark@m\u00fcller.example", None),
    ],
)
async def test_strangers_reach_a_domain_of_ours_by_either_spelling(tmp_path, path, taken):
    class Readers:
        def resolve(self, address):
            known = address.endswith("@xn--bcher-kva.example")
            return Resolution("mailbox", address=address, mailbox=1) if known else None

    local = LocalMail(frozenset(["xn--bcher-kva.example"]), Readers(), postmaster="", clock=SystemClock())
    place = InProcess(tmp_path, local=local)
    talk = Talk(place, peer=("198.51.100.9", 4711))
    await talk.say(b"EHLO stranger.example", b"MAIL FROM:<> SMTPUTF8")
    said = await talk.say(b"RCPT TO:<%b>" % path.encode())
    assert said == ["250 2.1.5 ok" if taken else "550 5.7.1 relaying denied"]
    if taken is not None:
        await talk.say(b"DATA")
        await talk.say(CONTENT + b".")
        [recipient] = place.deliverer.entries[0].message.recipients
        assert (recipient.forward_path, recipient.domain) == (taken, taken.partition("@")[2])
    await place.close()


# What a listener offers.


def offered(text):
    config = parse(f'[local]\ndomains = ["minasi.example"]\n[[listener]]\n{text}')
    return access_of(config.listener[0], config)


TLS = 'certificate = "c.pem"\ntls = "starttls"\n'


def test_an_mx_offers_no_login_and_no_hold():
    assert offered("").extensions == EVERYWHERE
    assert offered(TLS).extensions == (*EVERYWHERE, "STARTTLS")
    assert offered(TLS.replace("starttls", "implicit")).extensions == EVERYWHERE


def test_submission_offers_both():
    access = offered(f'{TLS}protocol = "submission"')
    assert set(access.extensions) - set(EVERYWHERE) == {"STARTTLS", "AUTH", "FUTURERELEASE"}
    assert access.options(1_795_484_322_000)["max_hold_until"] == "2026-12-24T01:00:00Z"


def test_each_extension_can_be_switched_off_and_takes_with_it_what_needs_it():
    assert "DSN" not in offered('extensions_off = ["DSN"]').extensions
    assert "BINARYMIME" not in offered('extensions_off = ["CHUNKING"]').extensions
    everything = ", ".join(f'"{name}"' for name in EVERYWHERE)
    assert offered(f"extensions_off = [{everything}]").extensions == ()


@pytest.mark.parametrize("why", ["draining", "too many", "too many of one"])
async def test_who_is_turned_away_hears_no_enhanced_code_where_there_are_none(place, why):
    access = offered('extensions_off = ["ENHANCEDSTATUSCODES"]')
    if why == "draining":
        place.reception.drain()
    else:
        name = "connections" if why == "too many" else "connections_per_client"
        place.reception.settings = place.reception.settings._replace(**{name: 0})
    _, coded = place.connect()
    assert coded.said.startswith(b"421 4.3.2 ")
    _, bare = place.connect(access=access)
    assert bare.said == coded.said.replace(b"4.3.2 ", b"")


async def test_policy_speaks_without_enhanced_codes_where_there_are_none(place, tmp_path):
    talk = Talk(place, offered('extensions_off = ["ENHANCEDSTATUSCODES"]')._replace(in_step=False))
    said = await talk.say(
        b"EHLO client.example", b"MAIL FROM:<a@athena.example>", b"RCPT TO:<nobody@minasi.example>",
        b"RCPT TO:<mark@minasi.example>", b"DATA", CONTENT + b".", b"QUIT",
    )  # fmt: skip
    assert "250-ENHANCEDSTATUSCODES" not in said
    replies = [line.split() for line in said if line[:4] != "250-"]
    assert [words[1] for words in replies[2:6]] == ["ok", "no", "ok", "end"]
    assert (replies[6][2], replies[7][1]) == ("queued", "bye")
    place.events.close()
    events = [msgspec.json.decode(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    [rejection] = [event for event in events if event["type"] == "Rejection"]
    assert rejection["response"]["enhanced_code"] == "5.1.1"


def test_what_needs_a_reason_is_offered_only_with_it():
    assert {"VRFY", "EXPN"} <= set(offered('vrfy = "trusted"').extensions)
    assert {"XCLIENT", "XFORWARD"} <= set(offered('xclient_networks = ["10.0.0.0/8"]').extensions)


def test_plaintext_is_not_for_a_listener_that_requires_tls():
    allowed = "dangerously_allow_plaintext_auth = true\n"
    assert offered(f'{allowed}protocol = "submission"').plaintext
    assert not offered(f"{allowed}{TLS}".replace("starttls", "required")).plaintext
