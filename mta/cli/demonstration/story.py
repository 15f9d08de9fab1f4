"""The scenes of the demonstration: each does something to the running servers, verifies what came of it, and tells.

Owns: what is sent and what must be true afterwards; DemoFailed with one line when it is not. Never does: start
servers but for the one that goes away for a while, read what arrived (``arrived``), or draw.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from mta.cli import render
from mta.cli.demonstration.arrived import report, verify_letter
from mta.cli.demonstration.facts import Audit, Hop, Letter, Lookup, Refused, Row, Setup, Stored, Waiting
from mta.cli.demonstration.installation import Installation
from mta.cli.demonstration.places import Address, text
from mta.cli.demonstration.stage import (
    ARLINGTON,
    AUTHOR,
    HERMES,
    MINASI,
    NOBODY,
    PARADIGMS,
    PATIENCE,
    POLL,
    READER,
    DemoFailed,
    Stage,
    until,
    verify,
)
from mta.clock import rfc5322_date
from mta.errors import MtaError
from mta.services import pop3_client
from mta.services.dialogue import Dialogue, Turn
from mta.services.source import Letter as Outgoing
from mta.services.source import Source
from mta.services.tap import Tap

_LETTER = """\
Hello Mark,

this letter goes from my desk to Athena, the mail server of our house. Athena
hands it to Hermes, our gateway, and Hermes asks the DNS who takes mail for
minasi.example. That is Arlington, where you pick it up.

.This line begins with a dot, and must still do so when you read it.

Ada
"""
_REPLY = """\
Hello Ada,

it is here, dot and all. This answer goes the other way round: Arlington asks
the DNS who takes mail for paradigms.example, which is Hermes, and Hermes knows
that your mailbox is at Athena.

Mark
"""


class Correspondent(NamedTuple):
    """Somebody with a mailbox: the server that has it, where the mail program sends to and where it fetches."""

    name: str
    address: str
    desk: str
    server: Installation
    tap: Tap
    smtp: Address
    pop3: Address


def ada(stage: Stage) -> Correspondent:
    places = stage.places
    return Correspondent(
        "Ada", AUTHOR, f"desk.{PARADIGMS}", stage.athena, stage.athena_tap, places.athena, places.athena_pop3
    )


def mark(stage: Stage) -> Correspondent:
    places = stage.places
    return Correspondent(
        "Mark",
        READER,
        f"laptop.{MINASI}",
        stage.arlington,
        stage.arlington_tap,
        places.arlington,
        places.arlington_pop3,
    )


def setup(stage: Stage, version: str, seconds: float) -> Setup:
    places = stage.places._asdict()
    addresses = {name: text(place) for name, place in places.items() if not name.endswith("_behind")}
    assert stage.name_server is not None, "the stage is set up"
    return Setup(version, seconds, str(stage.directory), addresses, stage.name_server.software)


async def letter(stage: Stage) -> Letter:
    """Ada's letter to Mark, all the way."""
    content = compose(stage, AUTHOR, READER, "A letter on its way", _LETTER)
    found = await _journey(stage, ada(stage), mark(stage), content)
    _verify_lookups(found.lookups, MINASI, ARLINGTON, stage.places.arlington)
    return found


async def reply(stage: Stage) -> Letter:
    """Mark's answer finds its way home."""
    content = compose(stage, READER, AUTHOR, "Re: A letter on its way", _REPLY)
    found = await _journey(stage, mark(stage), ada(stage), content)
    _verify_lookups(found.lookups, PARADIGMS, HERMES, stage.places.hermes)
    return found


async def _journey(stage: Stage, author: Correspondent, reader: Correspondent, content: bytes) -> Letter:
    """From one person to the other, by way of Hermes, with every session on the way."""
    taps = (author.tap, stage.hermes_tap, reader.tap)
    known = [len(tap.dialogues) for tap in taps]
    asked = len(stage.dns_tap.exchanges)
    began = stage.clock.monotonic()
    await _hand_in(stage, author, reader.address, content)
    sessions = []
    for tap, number in zip(taps, known, strict=True):
        await until(lambda: _is_answered(tap, number), f"the letter to {reader.address} on its way")  # noqa: B023
        sessions.append(tap.dialogues[number])
    ids = [queue_id(session) for session in sessions]
    stored = await _stored(reader, ids[-1])
    (message, fetched) = await _fetch_one(stage, reader)
    verify_letter(message, content, author.address, reader.address)
    servers = [author.server.name.title(), "Hermes", reader.server.name.title()]
    return Letter(
        tuple(map(_hop, [author.name, *servers], servers, sessions)),
        _lookups(stage, asked),
        tuple(ids),
        stored,
        _hop(reader.name, servers[-1], fetched),
        message,
        len(content),
        stage.clock.monotonic() - began,
    )


def _hop(client: str, server: str, dialogue: Dialogue) -> Hop:
    return Hop(client, server, tuple(dialogue.turns), dialogue.seconds)


async def refused(stage: Stage) -> Refused:
    """A letter to somebody whom Arlington does not know: the report must come home, and Ada fetches it."""
    author = ada(stage)
    began = stage.clock.monotonic()
    known = queue_ids(author.tap)
    content = compose(stage, AUTHOR, NOBODY, "Is anybody there?", _LETTER)
    known.add(await _hand_in(stage, author, NOBODY, content))
    await _stored(author, await _next_id(author.tap, known, "the report about the refused letter"))
    message, _ = await _fetch_one(stage, author)
    said = [text for dialogue in stage.arlington_tap.dialogues for text in dialogue.replies()]
    answer = next((text for text in said if text.startswith("5")), "nothing of the kind")
    verify(answer.startswith("550 5.1.1 "), f'Arlington should have said 550 5.1.1, it said "{answer}"')
    return report(message, answer, stage.clock.monotonic() - began)


async def waiting(stage: Stage) -> Waiting:
    """Arlington goes away, a letter waits for it, and goes on its way when it is back."""
    author, reader = ada(stage), mark(stage)
    known = queue_ids(reader.tap)
    await reader.tap.stop()  # first: at a tap without its server connections would open and close
    await reader.server.stop()
    gone = stage.clock.monotonic()
    content = compose(stage, AUTHOR, READER, "No hurry", _LETTER)
    await _hand_in(stage, author, READER, content)
    why: list[Row] = await _waits(stage)
    row = why[0]
    verify(row["recipient"] == READER, f"mta why tells of {row['recipient']} instead of {READER}")
    verify("refused" in row["last_reply"], f'mta why should say that the connection was refused: "{row["last_reply"]}"')
    await reader.server.start()
    await reader.tap.start(*reader.smtp)
    back = stage.clock.monotonic()
    await _stored(reader, await _next_id(reader.tap, known, "the letter that had waited"))
    arrived = stage.clock.monotonic()
    message, _ = await _fetch_one(stage, reader)
    verify_letter(message, content, AUTHOR, READER)
    lines = tuple(render.why(why))
    seconds = stage.clock.monotonic() - gone
    return Waiting(row["queue_id"], lines, row["attempts"], back - gone, arrived - back, seconds)


async def audit(stage: Stage, burst: int, kept: int) -> Audit:
    """All ledgers must balance, with nothing left, and show what the scenes have done: the four letters with their
    report, ``burst`` messages for the sink and ``kept`` for Mark's mailbox."""
    expected = {
        "athena": {"accepted": 5, "delivered": 5},
        "hermes": {"accepted": 4 + burst, "generated": 1, "delivered": 4 + burst, "failed": 1},
        "arlington": {"accepted": 3 + kept, "delivered": 3 + kept},
    }
    found: dict[str, Row] = {}
    for server in stage.installations:
        began = stage.clock.monotonic()
        row: Row = await server.ask(lambda admin: admin.audit())
        while row["queued"] and stage.clock.monotonic() < began + PATIENCE:
            row = await server.ask(lambda admin: admin.audit())
        verify(row["drift"] == 0, f"{server.name}'s ledger does not balance: drift {row['drift']}")
        for column in ("accepted", "generated", "delivered", "failed", "expired", "discarded", "removed", "queued"):
            wanted = expected[server.name].get(column, 0)
            verify(row[column] == wanted, f"{server.name}'s ledger: {column} is {row[column]}, should be {wanted}")
        found[server.name] = row
    athena, arlington = await _store_audit(stage.athena, 2), await _store_audit(stage.arlington, 2 + kept)
    return Audit(found["athena"], found["hermes"], found["arlington"], athena, arlington)


async def _store_audit(server: Installation, fetched: int) -> Row:
    """Everything was fetched and removed, and the books know it."""
    row: Row = await server.ask(lambda admin: next(admin.post("/api/v1/store/audit")))
    verify(row["drift"] == 0, f"{server.name}'s store does not balance: {row['findings']}")
    for column, wanted in (("delivered", fetched), ("removed", fetched), ("messages", 0)):
        verify(row[column] == wanted, f"{server.name}'s store: {column} is {row[column]}, should be {wanted}")
    return row


def compose(stage: Stage, author: str, to: str, subject: str, body: str) -> bytes:
    """A message; its id differs from those of the other scenes by the subject."""
    now = stage.clock.now_ms()
    name, _, domain = author.partition("@")
    head = (
        f"From: {name.title()} <{author}>\nTo: <{to}>\nSubject: {subject}\n"
        f"Date: {rfc5322_date(now)}\nMessage-ID: <{now}.{len(subject)}@{domain}>\n"
    )
    return f"{head}\n{body}".replace("\n", "\r\n").encode()


# What was said.


def queue_id(dialogue: Dialogue) -> str:
    """From ``250 2.0.0 ID queued``."""
    said = next((text for text in reversed(dialogue.replies()) if text.endswith(" queued")), "")
    verify(said.startswith("250 2.0.0 "), f'the letter should be queued, the reply is "{said}"')
    return said.split()[2]


def queue_ids(tap: Tap) -> set[str]:
    """Of everything that was taken behind this tap."""
    said = [text.split() for dialogue in tap.dialogues for text in dialogue.replies() if text.endswith(" queued")]
    return {words[2] for words in said}


async def _next_id(tap: Tap, known: set[str], what: str) -> str:
    """The queue id of the first message that is taken behind this tap and was not known."""
    await until(lambda: bool(queue_ids(tap) - known), what)
    return (queue_ids(tap) - known).pop()


def _is_answered(tap: Tap, number: int) -> bool:
    """A session has come, content has gone by and its reply too."""
    if len(tap.dialogues) <= number:
        return False
    turns = tap.dialogues[number].turns
    return Turn("client", ".") in turns and turns[-1].side == "server"


def _lookups(stage: Stage, since: int) -> tuple[Lookup, ...]:
    """What was asked, in the order of the answers; the same question once."""
    asked = stage.dns_tap.exchanges[since:]
    found = {(one.name, one.kind): Lookup(one.name, one.kind, ", ".join(one.answer)) for one in asked}
    return tuple(found.values())


def _verify_lookups(found: Sequence[Lookup], domain: str, host: str, place: Address) -> None:
    for wanted in (Lookup(domain, "MX", f"10 {host}"), Lookup(host, "A", place[0])):
        verify(wanted in found, f"the DNS should have said {wanted.name} {wanted.kind} {wanted.answer}: {found}")


# Small steps.


async def _hand_in(stage: Stage, author: Correspondent, to: str, content: bytes) -> str:
    """From the author's desk to the author's server, which must take it; the queue id there."""
    source = Source(author.desk, stage.clock)
    letters = [Outgoing(author.address, (to,), content)]
    try:
        (sent,) = await asyncio.wait_for(source.run(*author.smtp, letters), PATIENCE)
    except TimeoutError:
        raise DemoFailed(f"{author.server.name} did not answer within {PATIENCE:.0f} s") from None
    verify(sent.reply.positive, f"{author.server.name} did not take the letter: {sent.reply}")
    return sent.reply.text.split()[0]


async def _stored(reader: Correspondent, queue_id: str) -> Stored:
    """Until the event log says that the store has it."""
    row = await reader.server.event("Delivery", id=queue_id, recipient=reader.address)
    response = row["response"]
    said = " ".join(str(response[name]) for name in ("code", "enhanced_code", "content") if response.get(name))
    return Stored(reader.server.name.title(), queue_id, reader.address, said)


async def _fetch_one(stage: Stage, reader: Correspondent) -> tuple[bytes, Dialogue]:
    """The only message in the mailbox, which is empty then."""
    dialogue = Dialogue(stage.clock)
    password = stage.passwords[reader.address]
    messages = await pop3_client.fetch(*reader.pop3, reader.address, password, dialogue=dialogue)
    verify(len(messages) == 1, f"{reader.name}'s mailbox has {len(messages)} messages, should have 1")
    return messages[0], dialogue


async def _waits(stage: Stage) -> list[Row]:
    """Until Hermes has tried once: what ``mta why`` then says about the only message in its queue."""
    began = stage.clock.monotonic()
    while stage.clock.monotonic() < began + PATIENCE:
        try:
            rows: list[Row] = await stage.hermes.ask(
                lambda admin: [row for found in admin.listed({}) for row in admin.why(found["queue_id"])]
            )
        except MtaError:
            rows = []  # it left the queue of Hermes between the two questions
        if rows and rows[0]["attempts"]:
            return rows
        await asyncio.sleep(POLL)
    raise DemoFailed("the letter to a stopped Arlington does not wait in Hermes's queue")
