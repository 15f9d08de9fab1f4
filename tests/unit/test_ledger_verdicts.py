"""The comparison of ledgers sees what it is there for: each kind of damage, and nothing where there is none."""

from pathlib import Path

import pytest

from tests.harness.ledger import Arrival, Books, LedgerFile, Verdict, address, compose, digest, examine, reconcile

CONTENT = compose("m1", b"some text")
TRACE = b"Received: from a (b)\r\n\tby c with ESMTP id Q1\r\n\tfor <d>; date\r\n"


def verdict(tmp_path: Path, client: list[str], sink: list[str], **options) -> Verdict:
    sent, got = tmp_path / "sent", tmp_path / "got"
    for path, lines in ((sent, client), (got, sink)):
        path.write_text("".join(f"{line}\n" for line in lines))
    return reconcile(Books.read([sent], [got]), 1, **options)


SEND, ACK = "SEND m1 1 SHA 1.0", "ACK m1 250 Q1 1.1"
WHO = address("m1", 0, 1)
GOT = f"GOT m1 {WHO} SHA Q1 - 0.1 1.2"


def test_a_message_that_arrived_once_as_it_was_sent_is_clean(tmp_path):
    found = verdict(tmp_path, [SEND, ACK], [GOT])
    assert found.clean
    assert found.acknowledged == found.recipients == 1
    assert not found.duplicates


@pytest.mark.parametrize(
    ("client", "sink", "field"),
    [
        ([SEND, ACK], [], "loss"),
        (["SEND m1 2 SHA 1.0", ACK], [GOT], "loss"),
        ([], [GOT], "ghosts"),
        ([SEND, "NACK m1 451_4.3.0 1.1"], [GOT], "ghosts"),
        ([SEND, "CUT m1 1.1"], [GOT], "ghosts"),
        ([SEND, ACK], [GOT.replace("SHA", "OTHER")], "corrupt"),
        ([SEND, ACK], [GOT.replace(" - ", " header ")], "corrupt"),
        ([SEND, ACK], [GOT.replace("Q1", "Q2")], "corrupt"),
        ([SEND, ACK], [GOT, GOT], "unexplained"),
    ],
)
def test_damage_is_seen(tmp_path, client, sink, field):
    found = verdict(tmp_path, client, sink)
    assert not found.clean
    assert getattr(found, field)
    assert any(field[:4].upper() in line or field == "unexplained" for line in found.lines())


def test_a_duplicate_is_explained_by_a_fault_soon_after_its_first_copy_and_by_no_other(tmp_path):
    again = GOT.replace("1.2", "9.0")
    assert verdict(tmp_path, [SEND, ACK], [GOT, again], faults=[1.4]).clean
    assert not verdict(tmp_path, [SEND, ACK], [GOT, again], faults=[1.0]).clean
    assert not verdict(tmp_path, [SEND, ACK], [GOT, again], faults=[8.9]).clean


def test_what_a_killed_worker_had_sent_may_be_read_after_its_end_on_a_connection_from_before(tmp_path):
    again = GOT.replace("1.2", "9.0")
    assert verdict(tmp_path, [SEND, ACK], [GOT.replace("0.1 ", "0.3 "), again], faults=[1.0]).clean
    assert not verdict(tmp_path, [SEND, ACK], [GOT, again], faults=[1.0]).clean


@pytest.mark.parametrize("end", [["UNKNOWN m1 1.1"], []])
def test_what_is_unknown_may_arrive_or_not(tmp_path, end):
    assert verdict(tmp_path, [SEND, *end], [GOT]).clean
    found = verdict(tmp_path, [SEND, *end], [])
    assert found.clean
    assert (found.unknown, found.unknown_delivered) == (1, 0)


def test_the_sink_takes_the_trace_field_off_and_compares_the_three_ids():
    found = examine(TRACE + CONTENT, [WHO])
    assert found == Arrival("m1", digest(CONTENT), "Q1", "-")
    assert examine(CONTENT, [WHO]).trouble == "trace"
    assert examine(TRACE + CONTENT, ["m2.0@d0.ledger.example"]).trouble == "recipient"
    assert examine(TRACE + CONTENT.replace(b"ledger m1", b"ledger m2"), [WHO]).trouble == "body"
    assert examine(TRACE + CONTENT.replace(b"X-Ledger", b"X-Leger"), [WHO]).trouble == "header+body+recipient"


def test_a_line_is_whole_when_it_is_there(tmp_path):
    ledger = LedgerFile(tmp_path / "ledger")
    ledger.write("SEND", "m1", 2, "SHA")
    words = (tmp_path / "ledger").read_text().split()
    assert words[:4] == ["SEND", "m1", "2", "SHA"]
    assert float(words[4]) > 0
    ledger.close()
