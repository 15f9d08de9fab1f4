"""The scenes of the demonstration: each does something to the running servers, verifies what came of it, and tells.

Owns: what is sent and what must be true afterwards; DemoFailed with one line when it is not. Never does: start or
stop relays, or draw.
"""

import asyncio
import email
import email.policy
from email.message import EmailMessage

from mta.cli import render
from mta.cli.demonstration.facts import Audit, Hop, Letter, Lookup, Refused, Row, Setup, Waiting
from mta.cli.demonstration.places import text
from mta.cli.demonstration.stage import (
    ARLINGTON,
    AUTHOR,
    DESK,
    MINASI,
    NOBODY,
    PATIENCE,
    POLL,
    READER,
    DemoFailed,
    Stage,
    mail,
    until,
    verify,
)
from mta.clock import rfc5322_date
from mta.errors import MtaError
from mta.services.dialogue import Dialogue, Turn
from mta.services.sink import Arrival
from mta.services.source import Letter as Outgoing
from mta.services.source import Source

_BODY = """\
Hello Mark,

this letter goes from my desk to Athena, the mail server of our house. Athena
hands it to Hermes, our gateway, and Hermes asks the DNS who takes mail for
minasi.example. That is Arlington, where you pick it up.

.This line begins with a dot, and must still do so when you read it.

Ada
"""

#: Fields of a report's machine-readable part that are shown.
_SHOWN = ("Final-Recipient", "Action", "Status", "Remote-MTA")


def setup(stage: Stage, version: str, seconds: float) -> Setup:
    places = stage.places._asdict()
    addresses = {name: text(place) for name, place in places.items() if name != "tap"}
    return Setup(version, seconds, str(stage.directory), addresses)


async def letter(stage: Stage) -> Letter:
    """Ada's letter to Mark, all the way."""
    began = stage.clock.monotonic()
    content = compose(stage, READER, "A letter on its way")
    desk = await _hand_in(stage, READER, content)
    arrival = await mail(stage.arlington_mail, "the letter")
    wire, last = stage.tap.dialogues[0], stage.arlington.dialogues[0]
    await _answered(wire, "Hermes's reply to Athena")
    await _answered(last, "Arlington's reply to Hermes")
    verify_arrival(arrival, content, AUTHOR, READER)
    hops = (
        Hop("Ada", "Athena", tuple(desk.turns), desk.seconds),
        Hop("Athena", "Hermes", tuple(wire.turns), wire.seconds),
        Hop("Hermes", "Arlington", tuple(last.turns), last.seconds),
    )
    return Letter(
        hops,
        lookups(stage),
        queue_id(desk),
        queue_id(wire),
        arrival.content,
        len(content),
        arrival.at - began,
    )


async def refused(stage: Stage) -> Refused:
    """A letter to somebody whom Arlington does not know: the report must come home."""
    began = stage.clock.monotonic()
    await _hand_in(stage, NOBODY, compose(stage, NOBODY, "Is anybody there?"))
    report = await mail(stage.home_mail, "the report about the refused letter")
    said = [text for dialogue in stage.arlington.dialogues for text in dialogue.replies()]
    reply = next((text for text in said if text.startswith("5")), "nothing of the kind")
    verify(reply.startswith("550 5.1.1 "), f'Arlington should have said 550 5.1.1, it said "{reply}"')
    return _report(report, reply, report.at - began)


async def waiting(stage: Stage) -> Waiting:
    """Arlington goes away, a letter waits for it, and goes on its way when it is back."""
    await stage.arlington.stop()
    began = stage.clock.monotonic()
    content = compose(stage, READER, "No hurry")
    await _hand_in(stage, READER, content)
    why: list[Row] = await _waits(stage)
    row = why[0]
    verify(row["recipient"] == READER, f"mta why tells of {row['recipient']} instead of {READER}")
    verify("refused" in row["last_reply"], f'mta why should say that the connection was refused: "{row["last_reply"]}"')
    await stage.arlington.start(*stage.places.arlington)
    back = stage.clock.monotonic()
    arrival = await mail(stage.arlington_mail, "the letter that had waited")
    verify_arrival(arrival, content, AUTHOR, READER)
    lines = tuple(render.why(why))
    return Waiting(row["queue_id"], lines, row["attempts"], arrival.at - began, arrival.at - back)


async def audit(stage: Stage, burst: int) -> Audit:
    """Both ledgers must balance, with nothing left, and show what the scenes have done."""
    expected = {
        "athena": {"accepted": 4, "delivered": 4},
        "hermes": {"accepted": 3 + burst, "generated": 1, "delivered": 3 + burst, "failed": 1},
    }
    found: dict[str, Row] = {}
    for relay in (stage.athena, stage.hermes):
        began = stage.clock.monotonic()
        row: Row = await relay.ask(lambda admin: admin.audit())
        while row["queued"] and stage.clock.monotonic() < began + PATIENCE:
            row = await relay.ask(lambda admin: admin.audit())
        verify(row["drift"] == 0, f"{relay.name}'s ledger does not balance: drift {row['drift']}")
        for column in ("accepted", "generated", "delivered", "failed", "expired", "discarded", "removed", "queued"):
            wanted = expected[relay.name].get(column, 0)
            verify(row[column] == wanted, f"{relay.name}'s ledger: {column} is {row[column]}, should be {wanted}")
        found[relay.name] = row
    return Audit(found["athena"], found["hermes"])


# What is sent and what arrived.


def compose(stage: Stage, to: str, subject: str) -> bytes:
    """A message of Ada's."""
    now = stage.clock.now_ms()
    head = (
        f"From: Ada <{AUTHOR}>\nTo: <{to}>\nSubject: {subject}\n"
        f"Date: {rfc5322_date(now)}\nMessage-ID: <{now}.{subject.count(' ')}@{DESK}>\n"
    )
    return f"{head}\n{_BODY}".replace("\n", "\r\n").encode()


def verify_arrival(arrival: Arrival, content: bytes, reverse_path: str, recipient: str) -> None:
    """Byte for byte what was sent, behind the two Received fields of Hermes and Athena."""
    head, same = arrival.content[: -len(content)], arrival.content.endswith(content)
    verify(same, f"the letter to {recipient} arrived changed")
    fields = received(head)
    verify(len(fields) == 2, f"the letter to {recipient} has {len(fields)} Received fields, should have 2")
    verify(sum(map(len, fields)) == len(head), f"more than Received fields came before the letter to {recipient}")
    envelope = (arrival.reverse_path, arrival.recipients)
    verify(envelope == (reverse_path, (recipient,)), f"the envelope of the letter changed: {envelope}")


def received(head: bytes) -> list[bytes]:
    """The Received fields at the very beginning, each with its folded lines and line ends."""
    fields: list[bytes] = []
    for line in head.splitlines(keepends=True):
        if line.startswith(b"Received:"):
            fields.append(line)
        elif fields and line[:1] in b" \t":
            fields[-1] += line
        else:
            break
    return fields


def lookups(stage: Stage) -> tuple[Lookup, ...]:
    """What Hermes asked to find Arlington, from the name server's own books."""
    asked = stage.dns.queries
    found = (
        Lookup(MINASI, "MX", f"10 {ARLINGTON}", asked[MINASI, "MX"]),
        Lookup(ARLINGTON, "A", stage.places.arlington[0], asked[ARLINGTON, "A"]),
    )
    for lookup in found:
        verify(lookup.asked > 0, f"nobody asked the DNS for {lookup.name} {lookup.kind}")
    return found


def queue_id(dialogue: Dialogue) -> str:
    """From ``250 2.0.0 ID queued``."""
    reply = next((text for text in reversed(dialogue.replies()) if text.endswith(" queued")), "")
    verify(reply.startswith("250 2.0.0 "), f'the letter should be queued, the reply is "{reply}"')
    return reply.split()[2]


def _report(arrival: Arrival, reply: str, seconds: float) -> Refused:
    """The DSN must be one, to Ada, with the null reverse-path, and say 5.1.1 about the right recipient."""
    message = email.message_from_bytes(arrival.content, policy=email.policy.default)
    verify(arrival.reverse_path == "", f'the report has the reverse-path "{arrival.reverse_path}", should have none')
    verify(arrival.recipients == (AUTHOR,), f"the report went to {arrival.recipients}")
    verify(message.get_content_type() == "multipart/report", f"the report is {message.get_content_type()}")
    parts = list(message.iter_parts())
    verify(len(parts) == 3, f"the report has {len(parts)} parts, should have 3")
    people, status, original = parts
    assert isinstance(people, EmailMessage)
    fields = status.as_bytes().decode("ascii").partition("\n\n")[2].splitlines()
    shown = tuple(line for line in fields if line.split(":")[0] in _SHOWN)
    wanted = f"Final-Recipient: rfc822; {NOBODY}"
    for line in (wanted, "Action: failed", "Status: 5.1.1", f"Remote-MTA: dns; {ARLINGTON}"):
        verify(line in shown, f'the report does not say "{line}"')
    verify(b"Is anybody there?" in original.as_bytes(), "the report does not hold the letter's header section")
    lines = tuple(people.get_content().strip().splitlines())
    return Refused(NOBODY, reply, shown, lines, AUTHOR, "5.1.1", seconds)


# Small steps.


async def _hand_in(stage: Stage, to: str, content: bytes) -> Dialogue:
    """From Ada's desk to Athena, who must take it."""
    dialogue = Dialogue(stage.clock)
    source = Source(DESK, stage.clock, dialogue=dialogue)
    try:
        (sent,) = await asyncio.wait_for(source.run(*stage.places.athena, [Outgoing(AUTHOR, (to,), content)]), PATIENCE)
    except TimeoutError:
        raise DemoFailed(f"Athena did not answer within {PATIENCE:.0f} s") from None
    verify(sent.reply.positive, f"Athena did not take the letter: {sent.reply}")
    return dialogue


async def _answered(dialogue: Dialogue, what: str) -> None:
    """Content has gone by and its reply too."""

    def true() -> bool:
        turns = dialogue.turns
        return Turn("client", ".") in turns and turns[-1].side == "server"

    await until(true, what)


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
