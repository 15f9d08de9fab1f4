"""A message's way from event logs: links within a log and between logs, in any order of the files."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mta.errors import DataError
from mta.log import tracing
from mta.log.event import Event, PeerAddress, Response
from mta.log.reading import LogFiles, siblings
from mta.log.tracing import Tracer

ALICE, MARK, NOBODY = "alice@athena.example", "mark@minasi.example", "nobody@minasi.example"
FIRST, SECOND, THIRD, REPORT, OTHER, COPY = (f"06H0PNA5B400{n}" for n in range(6))


def line(kind: str, queue_id: str, recipient: str, at: float, content: str = "", **more: object) -> bytes:
    more.setdefault("sender", ALICE)
    response = Response(250, "2.0.0", content, "DOT") if content else None
    event = Event(type=kind, id=queue_id, recipient=recipient, timestamp=at, created=at, response=response, **more)  # type: ignore[arg-type]
    return msgspec.json.encode(event) + b"\n"


def logs_of_three() -> dict[str, list[bytes]]:
    """Athena takes a message for two; one goes by Hermes to Arlington, the other comes back as a report."""
    athena = [
        line("Reception", OTHER, MARK, 1, sender="somebody@else.example"),
        line("Reception", FIRST, MARK, 2, message_id="<Letter@athena>"),
        line("Reception", FIRST, NOBODY, 2, message_id="<Letter@athena>"),
        line("Delivery", FIRST, MARK, 3, f"{SECOND} queued"),
        line("Delivery", FIRST, NOBODY, 3, f"{SECOND} queued"),
        line("Delivery", OTHER, MARK, 3, "9999999999999 queued", sender="somebody@else.example"),
    ]
    hermes = [
        line("Reception", SECOND, MARK, 3.1),
        line("Reception", SECOND, NOBODY, 3.1),
        line("Delivery", SECOND, MARK, 4, f"{THIRD} queued"),
        line("Bounce", SECOND, NOBODY, 4, "no such user"),
        line("Delivery", REPORT, ALICE, 5, "ok", sender="", origin=SECOND),
    ]
    arlington = [
        line("Reception", THIRD, MARK, 4.1),
        line("Reception", FIRST, "stranger@minasi.example", 4.2, sender="by@chance.example"),
        line("Delivery", THIRD, MARK, 4.3, f"{COPY} stored"),
        line("Reception", COPY, MARK, 4.4, reception_protocol="LMTP"),
        # By chance a unique-id is the same.
        line("Reception", THIRD, "else@minasi.example", 4.5, sender="by@chance.example", reception_protocol="LMTP"),
    ]
    return {"athena": athena, "hermes": hermes, "arlington": arlington}


def trace(text: str, order: tuple[str, ...] = ("athena", "hermes", "arlington")) -> list[tuple[str, str, int]]:
    """(log, id, records) of each hop."""
    logs = logs_of_three()
    chosen: list[Callable[[], list[bytes]]] = [lambda name=name: logs[name] for name in order]  # type: ignore[misc]
    return [(order[hop.log], hop.id, len(events)) for hop, events in Tracer(chosen, text).hops()]


WHOLE = [
    ("athena", FIRST, 4),
    ("hermes", SECOND, 4),
    ("arlington", THIRD, 2),
    ("arlington", COPY, 1),
    ("hermes", REPORT, 1),
]


@pytest.mark.parametrize("order", list(itertools.permutations(("athena", "hermes", "arlington"))))
@pytest.mark.parametrize(
    "text", [FIRST, SECOND.lower(), THIRD, COPY, REPORT, "<letter@ATHENA>", "Letter@athena", ALICE, NOBODY]
)
def test_the_whole_way_is_found_from_any_point_of_it_in_logs_of_any_order(text: str, order: tuple[str, ...]) -> None:
    found = trace(text, order)
    for by_chance in {FIRST: ("arlington", FIRST, 1), THIRD: ("arlington", THIRD, 1)}.items():
        if text == by_chance[0]:  # Arlington has given that id to a message of its own as well, or its store has
            found.remove(by_chance[1])
    assert found == WHOLE


def test_the_same_id_at_another_server_is_another_message() -> None:
    assert ("arlington", FIRST, 1) not in trace("letter@athena")


def test_an_address_finds_every_message_of_it() -> None:
    assert trace(MARK) == [("athena", OTHER, 2), *WHOLE]


def test_a_mailbox_that_was_reached_under_tls_is_the_end_of_the_way_too() -> None:
    server = [line("Reception", FIRST, MARK, 1), line("Delivery", FIRST, MARK, 2, f"{COPY} stored")]
    store = [line("Reception", COPY, MARK, 2, reception_protocol="LMTPS")]
    hops = [hop for hop, _ in Tracer([lambda: server, lambda: store], FIRST).hops()]
    assert [(hop.log, hop.id, hop.stored) for hop in hops] == [(0, FIRST, False), (1, COPY, True)]


@pytest.mark.parametrize("text", ['"mark \\\\ minasi"@minasi.example', 'a"b@athena.example', "\udcff@minasi.example"])
def test_an_address_or_message_id_with_quotes_is_found_and_one_that_is_no_text_is_not(text: str) -> None:
    if text.isascii():
        records = [line("Reception", FIRST, text, 1), line("Reception", SECOND, MARK, 1, message_id=f"<{text}>")]
        assert [hop.id for hop, _ in Tracer([lambda: records], text).hops()] == [FIRST, SECOND]
    else:
        assert Tracer([lambda: [line("Reception", FIRST, MARK, 1)]], text).hops() == []


def test_what_was_refused_at_the_door_is_found_by_its_address() -> None:
    refused = line("Rejection", "", NOBODY, 1, "no such user")
    [(hop, [event])] = Tracer([lambda: [refused]], NOBODY).hops()
    assert (hop.id, event.type) == ("", "Rejection")


def test_nothing_is_nothing_and_torn_lines_are_passed_over() -> None:
    torn = [b"\n", b'{"type":"Reception","id":"' + FIRST.encode() + b'"', b"\xff" + FIRST.encode() + b"\n"]
    assert Tracer([lambda: torn], FIRST).hops() == []


def test_what_is_too_much_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "RECORDS", 10)
    records = [line("Delivery", FIRST, MARK, n) for n in range(11)]
    with pytest.raises(DataError, match="more than 10 records: ask for one of the messages by its id"):
        Tracer([lambda: records], MARK).hops()


@pytest.mark.parametrize("few", [0, 100])
def test_many_ids_are_found_as_few_are(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(tracing, "FEW", few)
    assert trace(NOBODY) == WHOLE


# The files.


def test_rotated_files_are_read_from_the_oldest_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for name in ("events.jsonl", "events.jsonl.1", "events.jsonl.2", "events.jsonl.10", "events.jsonl.lock", "other.1"):
        (tmp_path / name).write_text(f"{name}\n")
    assert [file.name for file in siblings(path)] == [f"events.jsonl{end}" for end in (".10", ".2", ".1", "")]
    files = LogFiles(path)
    os.rename(path, f"{path}.11")  # a server that rotates meanwhile
    told: list[int] = []
    assert [text.decode().strip() for text in files.blocks(told.append)] == [
        f"events.jsonl{end}" for end in (".10", ".2", ".1", "")
    ]
    assert sum(told) == files.octets
    assert len(list(files.blocks())) == 4
    files.close()


@pytest.mark.parametrize("block", [1, 7, 16, 64, 1000])
def test_blocks_hold_whole_lines_whatever_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("mta.log.reading.BLOCK", block)
    lines = [b"x" * (n % 13) for n in range(60)] + [b"no end"]
    (tmp_path / "log").write_bytes(b"\n".join(lines))
    files = LogFiles(tmp_path / "log")
    blocks = list(files.blocks())
    files.close()
    assert b"".join(blocks) == b"\n".join(lines)
    if block > 13:
        assert all(text.endswith(b"\n") for text in blocks[:-1])


def test_a_log_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no event log .*--log"):
        LogFiles(tmp_path / "nowhere/events.jsonl")


def test_peers_of_events_are_kept(tmp_path: Path) -> None:
    record = line("Delivery", FIRST, MARK, 1, peer_address=PeerAddress("mx.example", "192.0.2.1"))
    [(_, [event])] = Tracer([lambda: [record]], FIRST).hops()
    assert event.peer_address == PeerAddress("mx.example", "192.0.2.1")
