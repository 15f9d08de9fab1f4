"""The demonstration's pure parts: pictures, the burst's books, trace fields, addresses, configurations."""

import asyncio
import random
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from mta.cli.demonstration import arrived, burst, drawing, filling, installation, places, stage, story
from mta.cli.demonstration.facts import Audit, Burst, Hop, Letter, Lookup, Mailbox, Setup, Stored
from mta.clock import SystemClock
from mta.config import parse
from mta.errors import UnavailableError
from mta.services.dialogue import Dialogue, Turn
from mta.services.sink import Arrival
from mta.services.tap import Tap

ADDRESSES = {
    "dns": "127.99.99.1:1053",
    "athena": "127.99.99.2:2525",
    "athena_pop3": "127.99.99.2:2110",
    "hermes": "127.99.99.3:2525",
    "arlington": "127.99.99.4:2525",
    "arlington_pop3": "127.99.99.4:2110",
    "sink": "127.99.99.5:2525",
}
PLACES = places.Places(*[("127.20.20.1", 2001 + number) for number in range(len(places.Places._fields))])
FIGURES = Burst(5000, 4096, 20, 2, 1.5, 3333.3, 4.0, 20.0, 5.0, 30.0, 140.0, 2, "ext4")


# Drawing.


def test_the_picture_has_straight_edges() -> None:
    lines = list(drawing.picture(ADDRESSES, "Hermes's own"))
    assert max(map(len, lines)) <= drawing.WIDTH
    for upper, lower in pairwise(lines):
        for at, sign in enumerate(upper):
            if sign in "┌┐" or (sign == "│" and upper[at - 10 : at].strip()):
                assert lower[at : at + 1] in "│└┘▼", (upper, lower, at)


def test_the_picture_has_everybody_and_the_five_steps() -> None:
    text = "\n".join(drawing.picture(ADDRESSES, "nsd"))
    for word in ("Ada", "Athena", "Hermes", "DNS (nsd)", "Arlington", "Mark", *list(ADDRESSES.values())[:6]):
        assert word in text
    assert [text.count(f" {number} ") for number in "12345"] == [1] * 5


def test_a_terminal_without_box_characters_gets_ascii() -> None:
    for line in drawing.picture(ADDRESSES, "nsd"):
        assert line.translate(drawing.ASCII).isascii()


def hop(*turns: Turn) -> Hop:
    return Hop("Ada", "Athena", turns, 0.004)


def test_a_reply_of_many_lines_is_one_turn_and_long_ones_are_folded() -> None:
    said = ("250-a.example", "250-SIZE 1", "250 X")
    turns = (*(Turn("server", line) for line in said), Turn("client", "QUIT"))
    assert [turn.text for turn in drawing.joined(turns)] == ["250-a.example  250-SIZE 1  250 X", "QUIT"]
    long = list(drawing.dialogue(hop(Turn("server", "250 " + "word " * 40)), drawing.plain))
    assert len(long) > 1
    assert max(map(len, long)) <= drawing.WIDTH
    assert [line.split()[0] for line in long] == ["athena"] + ["word"] * (len(long) - 1)


def test_a_refusal_has_the_colour_of_trouble_and_content_is_counted() -> None:
    marks: list[tuple[str, str]] = []

    def paint(text: str, colour: str) -> str:
        marks.append((text, colour))
        return text

    list(drawing.dialogue(hop(Turn("server", "550 no"), Turn("client", "550 yes"), Turn("client", "", 1234)), paint))
    assert marks == [
        ("550 no", "trouble"), ("550 yes", "client"), ("(content: 1,234 octets on the wire)", "client"),
    ]  # fmt: skip


def journey(arrived: bytes, sent: bytes) -> Letter:
    taken = hop(Turn("server", "250 2.0.0 A queued"), Turn("client", "QUIT"), Turn("server", "221 2.0.0 bye"))
    lookups = (Lookup("x.example", "MX", "10 m"), Lookup("m", "AAAA", ""))
    kept = Stored("Arlington", "C", "mark@minasi.example", "250 2.0.0 stored")
    fetched = Hop("Mark", "Arlington", (Turn("client", "RETR 1"), Turn("server", "", 99)), 0.004)
    return Letter((taken,) * 3, lookups, ("A", "B", "C"), kept, fetched, arrived, len(sent), 0.02)


SENT = b"Subject: x\r\n\r\nbody\r\n"
TRACED = b"Received: from a\r\n\tby b\r\n" + SENT


def test_a_letter_shows_which_octets_were_added() -> None:
    lines = list(drawing.letter(journey(TRACED, SENT), lambda text, colour: f"<{text}>" if colour == "note" else text))
    assert "   <Received: from a>" in lines
    assert "   <        by b>" in lines
    assert "   Subject: x" in lines
    assert lines[-1].strip() == "25 octets of trace fields in front, the 20 octets behind them as Ada sent them."


def test_a_letter_shows_its_steps_in_their_order() -> None:
    lines = list(drawing.letter(journey(TRACED, SENT), drawing.plain))
    assert [line[0] for line in lines if line[:1].isdigit()] == list("12345")
    assert f"   {'Arlington → its store, by LMTP':<34}250 2.0.0 stored" in lines
    assert f"   {'m AAAA':<34}no such record" in lines
    assert f"   {'mark':<12}RETR 1" in lines
    assert f"   {'arlington':<12}(content: 99 octets on the wire)" in lines


def test_an_answer_has_a_line_for_each_session_and_the_reply_that_decided_it() -> None:
    lines = list(drawing.reply(journey(TRACED, SENT), drawing.plain))
    assert lines.count(f"   {'Ada → Athena':<34}250 2.0.0 A queued") == 3
    assert not any("221" in line for line in lines)
    assert any("arlington" in line and "99 octets" in line for line in lines)


def test_a_ledger_is_an_equation_without_its_zeros() -> None:
    row = {"accepted": 5003, "generated": 1, "delivered": 5003, "failed": 1, "queued": 0, "drift": 0}
    assert drawing.equation(row) == "5,003 accepted + 1 generated = 5,003 delivered + 1 failed"
    assert drawing.equation({}) == "0 = 0"
    store = {"delivered": 1002, "removed": 1000, "messages": 2, "drift": 0}
    lines = list(drawing.audit(Audit(row, row, row, store, store), drawing.plain))
    assert "".join(lines).count("drift 0") == 5
    assert "   Athena store      1,002 stored = 1,000 removed + 2 kept    drift 0" in lines


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, '2 workers, durability "commit" on ext4: every message was synced before its 250.'),
        ({"workers": 1, "file_system": ""}, 'one worker, durability "commit": every message'),
        ({"file_system": "tmpfs"}, "That is memory, where a sync costs nothing: point TMPDIR to a disk"),
        ({"cores": 1}, "Source, relay and sink share one core: a figure of this machine now"),
    ],
)
def test_figures_come_with_what_they_hold_for(changes: dict[str, object], said: str) -> None:
    assert any(line.startswith(said) for line in drawing.conditions(FIGURES._replace(**changes)))


def test_figures_fit_and_cpu_is_left_out_where_nobody_knows_it() -> None:
    assert max(map(len, drawing.burst(FIGURES, drawing.plain))) <= drawing.WIDTH
    assert any("140 µs a message" in line for line in drawing.burst(FIGURES, drawing.plain))
    assert not any("µs" in line for line in drawing.burst(FIGURES._replace(cpu_us=None), drawing.plain))


def test_the_opening_and_the_ending_say_where_things_are() -> None:
    lines = list(drawing.opening(Setup("1.0", 0.5, "d", ADDRESSES, "nsd"), drawing.plain))
    assert "heading" not in "".join(lines)
    assert max(map(len, lines)) <= drawing.WIDTH
    assert list(drawing.ending(6.04, "d", drawing.plain))[-1] == "Kept: d"
    assert list(drawing.ending(6.04, "", drawing.plain))[-1].endswith("6.0 s in all; every server has stopped.")


def test_the_figures_of_a_mailbox_fit() -> None:
    lines = list(drawing.mailbox(Mailbox(1000, 4096, 20, 0.8, 1250.0, 0.4, 2500.0), drawing.plain))
    assert max(map(len, lines)) <= drawing.WIDTH
    assert "1,000 × 4 KiB, 20 connections" in lines[1]
    assert "   stored         1,250 messages a second, by SMTP" in lines[2]
    single = list(drawing.mailbox(Mailbox(1, 4096, 1, 0.8, 1.25, 0.4, 2.5), drawing.plain))
    assert single[1].endswith("1 × 4 KiB, one connection")


# The burst's books.


def test_a_message_of_the_burst_has_its_number_and_exactly_its_size() -> None:
    assert len(burst.content(0)) == len(burst.content(99_999_999)) == burst.SIZE
    assert burst.content(42).startswith(b"X-Number: 00000042\r\n")
    assert all(len(line) <= 998 for line in burst.content(1).split(b"\r\n"))
    assert b"\n." not in burst.content(1)
    assert burst.content(1).endswith(b"\r\n")


async def test_arrivals_are_counted_once_and_checked() -> None:
    said: list[str] = []
    books = burst.Arrivals(2, said.append)

    def arrive(octets: bytes) -> None:
        books.arrived(Arrival("", (), b"Received: x\r\n" + octets, 1.0))

    arrive(burst.content(0))
    arrive(burst.content(0))
    arrive(burst.content(7))
    arrive(burst.content(1).replace(b"among", b"along"))
    assert (books.missing, books.duplicates, books.changed) == (1, 1, 2)
    assert not books.complete.is_set()
    arrive(burst.content(1))
    assert books.complete.is_set()
    assert said == ["burst: 2 of 2 messages at the sink"]


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [burst.percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert burst.percentile([3.0], 0.5) == 3.0


def test_the_file_system_is_the_one_of_the_nearest_mount() -> None:
    mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/a\\040b xfs rw 0 0\n"
    assert burst.file_system(Path("/tmp/x"), mounts) == "tmpfs"
    assert burst.file_system(Path("/tmp/a b/c"), mounts) == "xfs"
    assert burst.file_system(Path("/tmpx"), mounts) == "ext4"
    assert burst.file_system(Path("/x"), "") == ""


# Verifying.

RECEIVED = b"Received: from a\r\n\tby b\r\n"
STORE = b"Return-Path: <a@x>\r\nDelivered-To: b@y\r\n"


def test_received_fields_are_found_with_their_folds() -> None:
    assert arrived.received(RECEIVED * 2 + b"Subject: x\r\n") == [RECEIVED, RECEIVED]
    assert arrived.received(b"Subject: x\r\n" + RECEIVED) == []


@pytest.mark.parametrize(
    ("message", "finding"),
    [
        (STORE + RECEIVED * 3 + b"letteR\r\n", "arrived changed"),
        (STORE + RECEIVED * 2 + b"letter\r\n", "has 2 Received fields"),
        (STORE + RECEIVED * 3 + b"X: y\r\nletter\r\n", "more than trace fields"),
        (STORE.replace(b"a@x", b"") + RECEIVED * 3 + b"letter\r\n", "no Return-Path and Delivered-To of its envelope"),
        (STORE.replace(b"b@y", b"c@y") + RECEIVED * 3 + b"letter\r\n", "no Return-Path and Delivered-To of its"),
        (RECEIVED * 3 + STORE + b"letter\r\n", "no Return-Path and Delivered-To of its envelope"),
    ],
)
def test_a_letter_that_is_not_what_was_sent_is_found(message: bytes, finding: str) -> None:
    with pytest.raises(stage.DemoFailed, match=finding):
        arrived.verify_letter(message, b"letter\r\n", "a@x", "b@y")


def test_a_letter_that_is_what_was_sent_is_fine() -> None:
    arrived.verify_letter(STORE + RECEIVED * 3 + b"letter\r\n", b"letter\r\n", "a@x", "b@y")


REPORT = b"""\
Return-Path: <>
Delivered-To: ada@paradigms.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; hermes.paradigms.example

Final-Recipient: rfc822; nobody@minasi.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; arlington.minasi.example
--b
Content-Type: text/rfc822-headers

Subject: Is anybody there?
--b--
"""


def test_a_report_tells_what_it_is_about() -> None:
    found = arrived.report(REPORT, "550 5.1.1 no", 0.5)
    assert found.report_fields[2] == "Status: 5.1.1"
    assert found.report_text == ("It could not be delivered.",)
    assert (found.recipient, found.report_to, found.seconds) == ("nobody@minasi.example", "ada@paradigms.example", 0.5)


@pytest.mark.parametrize(
    ("right", "wrong", "finding"),
    [
        (b"<>", b"<ada@paradigms.example>", "should have none"),
        (b"Delivered-To: ada", b"Delivered-To: eve", "the report went to eve"),
        (b"multipart/report", b"multipart/mixed", "the report is multipart/mixed"),
        (b"--b\nContent-Type: text/rfc822-headers\n", b"", "has 2 parts"),
        (b"nobody@", b"mark@", 'does not say "Final-Recipient: rfc822; nobody'),
        (b"Status: 5.1.1", b"Status: 5.0.0", 'does not say "Status: 5.1.1"'),
        (b"Is anybody", b"Is nobody", "does not hold the letter's header section"),
    ],
)
def test_a_report_that_is_not_what_it_should_be_is_found(right: bytes, wrong: bytes, finding: str) -> None:
    assert right in REPORT
    with pytest.raises(stage.DemoFailed, match=finding):
        arrived.report(REPORT.replace(right, wrong), "550 5.1.1 no", 0.5)


# What was said.


def dialogue(*replies: str) -> Dialogue:
    said = Dialogue(SystemClock())
    for text in replies:
        said.said("server", text)
    return said


def test_queue_ids_are_those_of_all_sessions() -> None:
    tap = Tap(("127.0.0.1", 9), SystemClock())
    tap.dialogues = [dialogue("250 2.0.0 A queued", "250 2.0.0 B queued"), dialogue("220 x", "250 2.0.0 C queued")]
    assert story.queue_ids(tap) == {"A", "B", "C"}
    assert story.queue_id(tap.dialogues[0]) == "B"
    with pytest.raises(stage.DemoFailed, match='the letter should be queued, the reply is ""'):
        story.queue_id(dialogue("452 4.3.1 full"))


# The stage.


def test_addresses_are_free_and_all_differ() -> None:
    chosen = places.choose(random.Random(1))
    assert len(set(chosen)) == len(chosen)
    for address in chosen:
        with socket.socket() as sock:
            sock.bind(address)


def test_where_only_one_loopback_address_exists_ports_make_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_own_addresses", lambda network: [("192.0.2.1", 2525)])
    chosen = places.choose(random.Random(1))
    assert {host for host, _ in chosen} == {"127.0.0.1"}
    assert len(set(chosen)) == len(chosen)


def test_configurations_are_such_as_an_operator_writes(tmp_path: Path) -> None:
    athena = parse(stage.athena_toml(tmp_path / 'with "quotes"', PLACES))
    assert athena.hostname == "athena.paradigms.example"
    assert athena.data_dir == tmp_path / 'with "quotes"'
    assert athena.local.domains == ("paradigms.example",)
    assert [(route.domain, route.to) for route in athena.route] == [("*", f"smtp://{places.text(PLACES.hermes)}")]
    hermes = parse(stage.hermes_toml(tmp_path, PLACES, 2))
    assert (hermes.workers, hermes.delivery.port, hermes.delivery.retry_after) == (2, PLACES.arlington[1], (1.0,))
    assert hermes.local.domains == ()
    assert [(route.domain, route.to) for route in hermes.route] == [
        ("paradigms.example", f"smtp://{places.text(PLACES.athena)}"),
        ("burst.example", f"smtp://{places.text(PLACES.sink)}"),
    ]
    arlington = parse(stage.arlington_toml(tmp_path, PLACES))
    assert (arlington.local.domains, arlington.delivery.port, arlington.route) == (
        ("minasi.example",), PLACES.hermes[1], (),
    )  # fmt: skip
    for server, pop3 in ((athena, PLACES.athena_pop3), (arlington, PLACES.arlington_pop3)):
        assert [(one.protocol, one.port) for one in server.listener][1] == ("pop3", pop3[1])


async def test_when_one_job_fails_the_others_end_and_its_error_is_raised() -> None:
    ended: list[str] = []

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("long")

    async def failing() -> None:
        raise stage.DemoFailed("one of them")

    with pytest.raises(stage.DemoFailed, match="one of them"):
        await stage.together(long(), failing())
    assert ended == ["long"]


def installed(directory: Path) -> installation.Installation:
    return installation.Installation("arlington", directory / "a", stage.arlington_toml(directory / "a", PLACES))


async def test_an_event_is_found_by_its_fields_once_its_line_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "PATIENCE", 0.05)
    server = installed(tmp_path)
    with pytest.raises(UnavailableError, match="arlington's event log has no Delivery of"):
        await server.event("Delivery", id="A")
    server.directory.mkdir()
    log = Path(server.config.log.events)
    log.write_bytes(b'{"type":"Reception","id":"A"}\n{"type":"Delivery","id":"B"}\n{"type":"Delivery","id":"A"}')
    with pytest.raises(UnavailableError, match="no Delivery of"):
        await server.event("Delivery", id="A")
    log.write_bytes(log.read_bytes() + b"\n")
    assert await server.event("Delivery", id="A") == {"type": "Delivery", "id": "A"}


def test_servers_know_nothing_of_the_operators_environment() -> None:
    environ = {"PATH": "/bin", "MTA_HOSTNAME": "x", "MTA_SPOOL__BACKEND": "y", "NOTIFY_SOCKET": "z", "HOME": "/"}
    assert installation.environment(environ) == {"PATH": "/bin", "HOME": "/"}


# Into the mailbox.


class Ledger:
    """An installation whose ledger says the next of these numbers with each look, the last one for good."""

    def __init__(self, *delivered: int) -> None:
        self.delivered = list(delivered)
        self.looks = 0

    async def ask(self, question: object) -> dict[str, int]:
        self.looks += 1
        return {"delivered": self.delivered[min(self.looks, len(self.delivered)) - 1]}


async def test_deliveries_are_waited_for_as_long_as_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "POLL", 0.02)
    monkeypatch.setattr(filling, "PATIENCE", 0.05)
    ledger = Ledger(*range(10))
    await filling.until_delivered(ledger, 9, SystemClock())
    assert ledger.looks == 10
    with pytest.raises(stage.DemoFailed, match="2 messages did not come into Mark's mailbox"):
        await filling.until_delivered(Ledger(1, 2, 3), 5, SystemClock())
