"""The demonstration's pure parts: pictures, the burst's books, trace fields, addresses, configurations."""

import random
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from mta.cli.demonstration import burst, drawing, places, relay, stage, story
from mta.cli.demonstration.facts import Audit, Burst, Hop, Letter, Lookup, Setup
from mta.config import parse
from mta.services.dialogue import Turn
from mta.services.sink import Arrival

ADDRESSES = {
    "dns": "127.99.99.1:1053",
    "athena": "127.99.99.2:2525",
    "hermes": "127.99.99.3:2525",
    "arlington": "127.99.99.4:2525",
    "home": "127.99.99.5:2525",
}
PLACES = places.Places(*[("127.20.20.1", port) for port in range(2001, 2007)])
FIGURES = Burst(5000, 4096, 20, 2, 1.5, 3333.3, 4.0, 20.0, 5.0, 30.0, 140.0, 2, "ext4")


# Drawing.


def test_the_picture_has_straight_edges() -> None:
    lines = list(drawing.picture(ADDRESSES))
    assert max(map(len, lines)) <= drawing.WIDTH
    for upper, lower in pairwise(lines):
        for at, sign in enumerate(upper):
            if sign in "┌┐┬" or (sign == "│" and upper[at - 10 : at].strip()):
                assert lower[at : at + 1] in "│└┘┴", (upper, lower, at)


def test_a_terminal_without_box_characters_gets_ascii() -> None:
    for line in drawing.picture(ADDRESSES):
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


def test_a_letter_shows_which_octets_were_added() -> None:
    sent = b"Subject: x\r\n\r\nbody\r\n"
    arrived = b"Received: from a\r\n\tby b\r\n" + sent
    facts = Letter((hop(), hop(), hop()), (Lookup("x.example", "MX", "10 m", 1),), "A", "B", arrived, len(sent), 0.02)
    lines = list(drawing.letter(facts, lambda text, colour: f"<{text}>" if colour == "note" else text))
    assert "   <Received: from a>" in lines
    assert "   <        by b>" in lines
    assert "   Subject: x" in lines
    assert lines[-1].strip() == "25 octets of trace fields in front, the 20 octets behind them as Ada sent them."


def test_a_ledger_is_an_equation_without_its_zeros() -> None:
    row = {"accepted": 5003, "generated": 1, "delivered": 5003, "failed": 1, "queued": 0, "drift": 0}
    assert drawing.equation(row) == "5,003 accepted + 1 generated = 5,003 delivered + 1 failed"
    assert drawing.equation({}) == "0 = 0"
    assert "drift 0" in "".join(drawing.audit(Audit(row, row), drawing.plain))


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
    assert "heading" not in "".join(drawing.opening(Setup("1.0", 0.5, "d", ADDRESSES), drawing.plain))
    assert list(drawing.ending(6.04, "d", drawing.plain))[-1] == "Kept: d"
    assert list(drawing.ending(6.04, "", drawing.plain))[-1].endswith("6.0 s in all; every server has stopped.")


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
    assert said == ["burst: 2 of 2 messages at Arlington"]


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


def test_received_fields_are_found_with_their_folds() -> None:
    assert story.received(RECEIVED * 2 + b"Subject: x\r\n") == [RECEIVED, RECEIVED]
    assert story.received(b"Subject: x\r\n" + RECEIVED) == []


@pytest.mark.parametrize(
    ("arrived", "envelope", "finding"),
    [
        (RECEIVED * 2 + b"letteR\r\n", ("a@x", ("b@y",)), "arrived changed"),
        (RECEIVED + b"letter\r\n", ("a@x", ("b@y",)), "has 1 Received fields"),
        (RECEIVED * 2 + b"X: y\r\nletter\r\n", ("a@x", ("b@y",)), "more than Received fields"),
        (RECEIVED * 2 + b"letter\r\n", ("", ("b@y",)), "envelope of the letter changed"),
        (RECEIVED * 2 + b"letter\r\n", ("a@x", ("b@y", "c@y")), "envelope of the letter changed"),
    ],
)
def test_an_arrival_that_is_not_what_was_sent_is_found(
    arrived: bytes, envelope: tuple[str, tuple[str, ...]], finding: str
) -> None:
    with pytest.raises(stage.DemoFailed, match=finding):
        story.verify_arrival(Arrival(*envelope, arrived, 0.0), b"letter\r\n", "a@x", "b@y")


def test_an_arrival_that_is_what_was_sent_is_fine() -> None:
    story.verify_arrival(Arrival("a@x", ("b@y",), RECEIVED * 2 + b"letter\r\n", 0.0), b"letter\r\n", "a@x", "b@y")


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
    assert [(route.domain, route.to) for route in athena.route] == [
        ("paradigms.example", "smtp://127.20.20.1:2006"), ("*", "smtp://127.20.20.1:2004"),
    ]  # fmt: skip
    hermes = parse(stage.hermes_toml(tmp_path, PLACES, 2))
    assert (hermes.workers, hermes.delivery.port, hermes.delivery.retry_after) == (2, 2005, (1.0,))


def test_relays_know_nothing_of_the_operators_environment() -> None:
    environ = {"PATH": "/bin", "MTA_HOSTNAME": "x", "MTA_SPOOL__BACKEND": "y", "NOTIFY_SOCKET": "z", "HOME": "/"}
    assert relay.environment(environ) == {"PATH": "/bin", "HOME": "/"}
