"""LMTP into mailboxes: who is taken, what is kept, and what each recipient hears."""

import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mta.directory.protocol import Directory, DirectoryUnreadable, Resolution
from mta.directory.reader import DirectoryReader
from mta.metrics.layout import REJECTED
from mta.model.spoolid import format_id
from mta.services import lmtp as lmtp_module
from mta.services.lmtp import head, reply_to
from mta.store.disk import DiskStore
from mta.store.memory import MemoryStore
from mta.store.protocol import Copy, Quota, StoreFailed, StoreFull
from tests.harness.directory import make_directory
from tests.harness.lmtp_in_process import CONTENT, HELLO, LmtpInProcess, envelope, settled
from tests.harness.storing import SMALL, deliver, octets_of, until_purged

MARK, SHEILA, CHARLIE = (f"{name}@minasi.example" for name in ("mark", "sheila", "charlie"))
ALIASES = {
    "info@minasi.example": [MARK],
    "both@minasi.example": [MARK, SHEILA],
    "away@minasi.example": [MARK, "else@where.example"],
    "gone@minasi.example": ["nobody@minasi.example"],
    "loop@minasi.example": ["pool@minasi.example"],
    "pool@minasi.example": ["loop@minasi.example"],
}
LISTS = {"staff@minasi.example": ["both@minasi.example", CHARLIE]}
DATA = b"DATA\r\n" + CONTENT + b".\r\n"


@pytest.fixture(scope="module")
def people() -> Iterator[DirectoryReader]:
    with tempfile.TemporaryDirectory() as directory:
        reader = make_directory(
            Path(directory), [MARK, SHEILA, CHARLIE], ALIASES, LISTS, separator="+", postmaster=SHEILA
        )
        yield reader
        reader.close()


@pytest.fixture
async def site(tmp_path: Path, people: DirectoryReader) -> AsyncIterator[LmtpInProcess]:
    made = LmtpInProcess(tmp_path, people)
    yield made
    assert made.left_over() == {"sessions": 0, "watched": 0, "gauge": 0}
    await made.close()


def mailbox(people: Directory, address: str) -> int:
    person = people.find(address)
    assert person is not None
    return person.id


async def test_a_message_goes_into_the_mailbox_with_its_two_fields(site: LmtpInProcess, people: Directory) -> None:
    replies = await site.say(envelope("Mark+lists@minasi.example") + DATA)
    number = mailbox(people, MARK)
    view = site.store.view(number)
    assert replies[-1] == f"250 2.0.0 {view.unique_ids()[0].decode()} stored"
    assert octets_of(view) == [
        b"Return-Path: <alice@athena.example>\r\nDelivered-To: Mark+lists@minasi.example\r\n" + CONTENT
    ]


async def test_a_domain_is_known_by_either_spelling(site: LmtpInProcess, people: Directory) -> None:
    replies = await site.say(HELLO + "MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<mark@\uff4dinasi.example>\r\n".encode() + DATA)
    assert replies[-1].startswith("250 2.0.0 ")
    assert site.store.usage(mailbox(people, MARK)).messages == 1


async def test_the_null_path_is_kept_as_such(site: LmtpInProcess, people: Directory) -> None:
    await site.say(envelope(MARK, sender="") + DATA)
    assert octets_of(site.store.view(mailbox(people, MARK)))[0].startswith(b"Return-Path: <>\r\nDelivered-To: mark@")


async def test_a_return_path_that_the_content_has_stays_below_ours(site: LmtpInProcess, people: Directory) -> None:
    content = b"Return-Path: <old@else.example>\r\nReturn-Path: <>\r\n" + CONTENT
    await site.say(envelope(MARK) + b"DATA\r\n" + content + b".\r\n")
    (kept,) = octets_of(site.store.view(mailbox(people, MARK)))
    assert kept.endswith(b"\r\n" + content)
    assert kept.startswith(b"Return-Path: <alice@athena.example>\r\n")


async def test_each_recipient_is_answered_in_order(site: LmtpInProcess, people: Directory) -> None:
    replies = await site.say(envelope(SHEILA, "nobody@minasi.example", MARK) + DATA)
    assert [reply[:3] for reply in replies[1:5]] == ["250", "550", "250", "354"]
    stored = [re.fullmatch(r"250 2\.0\.0 (\w{13}) stored", reply) for reply in replies[5:]]
    assert [match and match[1] for match in stored] == [
        format_id(site.store.view(mailbox(people, address)).uids[0]) for address in (SHEILA, MARK)
    ]
    assert site.counters.get(REJECTED) == 1


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("info@minasi.example", [MARK]),
        ("both@minasi.example", [MARK, SHEILA]),
        ("STAFF@minasi.example", [MARK, SHEILA, CHARLIE]),
        ("postmaster@minasi.example", [SHEILA]),
        ("postmaster", [SHEILA]),
    ],
)
async def test_aliases_and_lists_lead_to_mailboxes(
    site: LmtpInProcess, people: Directory, address: str, reached: list[str]
) -> None:
    replies = await site.say(envelope(address) + DATA)
    assert replies[-1].startswith("250 2.0.0 ")
    for person in (MARK, SHEILA, CHARLIE):
        assert site.store.usage(mailbox(people, person)).messages == (person in reached)
    assert b"\r\nDelivered-To: %b\r\n" % address.encode() in octets_of(site.store.view(mailbox(people, reached[0])))[0]


@pytest.mark.parametrize("local", ["nobody", "gone", "loop", "away", "postman"])
async def test_what_leads_to_no_mailbox_or_elsewhere_is_unknown(site: LmtpInProcess, local: str) -> None:
    replies = await site.say(envelope(f"{local}@minasi.example") + b"DATA\r\n")
    assert replies[1] == "550 5.1.1 no such mailbox here"
    assert replies[2].startswith("503")
    (event,) = site.events_written()
    assert (event["type"], event["recipient"]) == ("Rejection", f"{local}@minasi.example")
    assert event["response"] == {
        "code": 550,
        "enhanced_code": "5.1.1",
        "content": "no such mailbox here",
        "command": "RCPT",
    }


async def offered(site: LmtpInProcess, **options: Any) -> list[str]:
    connection, transport = site.connect(**options)
    transport.take()
    connection.data_received(HELLO)
    lines = transport.take().decode().split("\r\n")[1:-1]
    connection.connection_lost(None)
    return [line[4:].partition(" ")[0] for line in lines]


async def test_the_store_offers_what_it_keeps_and_nothing_that_goes_further(site: LmtpInProcess) -> None:
    usual = ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES"]
    assert await offered(site) == usual
    assert await offered(site, tls="starttls") == [*usual, "STARTTLS"]
    assert await offered(site, off=("CHUNKING", "SIZE", "DSN")) == [usual[0], "8BITMIME", "SMTPUTF8", usual[-1]]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"MAIL FROM:<a@b.example> BODY=BINARYMIME", "501"),
        (b"MAIL FROM:<a@b.example> RET=HDRS", "555"),
        (b"MAIL FROM:<a@b.example>\r\nRCPT TO:<mark@minasi.example> NOTIFY=SUCCESS", "555"),
    ],
)
async def test_what_is_for_the_client_to_do_is_not_taken(site: LmtpInProcess, command: bytes, code: str) -> None:
    replies = await site.say(command + b"\r\n")
    assert replies[-1].startswith(f"{code} 5.5.4 ")


async def test_who_does_not_wait_for_354_is_sent_away(tmp_path: Path, people: DirectoryReader) -> None:
    site = LmtpInProcess(tmp_path, people, in_step=True)
    replies = await site.say(envelope(MARK) + DATA)
    assert replies[-1] == "554 5.5.0 improper command pipelining"
    assert (await site.say(envelope(MARK) + b"DATA\r\n", CONTENT + b".\r\n"))[-1].endswith(" stored")
    await site.close()


async def test_addresses_that_lead_to_one_mailbox_make_one_copy(site: LmtpInProcess, people: Directory) -> None:
    replies = await site.say(envelope(MARK, "both@minasi.example", "info@minasi.example") + DATA)
    for address in (MARK, SHEILA):
        assert site.store.usage(mailbox(people, address)).messages == 1
    uid = format_id(site.store.view(mailbox(people, MARK)).uids[0])
    assert replies[-3:] == [f"250 2.0.0 {uid} stored"] * 3
    assert b"Delivered-To: mark@" in octets_of(site.store.view(mailbox(people, MARK)))[0]


class Broken:
    """A directory that cannot be read."""

    def resolve(self, address: str) -> Resolution | None:
        raise DirectoryUnreadable("the disk is gone")


async def test_a_directory_that_cannot_be_read_is_no_unknown_recipient(tmp_path: Path) -> None:
    site = LmtpInProcess(tmp_path, Broken())  # type: ignore[arg-type]
    replies = await site.say(envelope(MARK))
    assert replies[1].startswith("451 4.3.0 ")
    await site.close()


async def test_a_full_mailbox_is_said_at_rcpt_or_after_the_content(tmp_path: Path, people: DirectoryReader) -> None:
    site = LmtpInProcess(tmp_path, people, MemoryStore(quota=Quota(octets=1000, messages=2)))
    replies = await site.say(
        envelope(MARK) + b"RSET\r\nMAIL FROM:<a@b.example> SIZE=2000\r\nRCPT TO:<%b>\r\n" % MARK.encode()
    )
    assert replies[-1] == "552 5.2.2 the mailbox is full"
    await deliver(site.store, mailbox(people, MARK))
    content = b"x" * 990 + b"\r\n"
    replies = await site.say(envelope(MARK, SHEILA, "both@minasi.example") + b"DATA\r\n" + content + b".\r\n")
    assert replies[-3:] == ["552 5.2.2 the mailbox is full"] * 3
    await deliver(site.store, mailbox(people, MARK))
    replies = await site.say(envelope(SHEILA) + b"RCPT TO:<%b>\r\n" % MARK.encode() + DATA)
    assert replies[2] == "552 5.2.2 the mailbox is full"
    assert replies[-1].startswith("250 2.0.0")
    rejected = [event for event in site.events_written() if event["type"] == "Rejection"]
    assert [event["response"]["command"] for event in rejected] == ["RCPT", "DATA", "DATA", "DATA", "RCPT"]
    await site.close()


async def test_one_of_a_list_that_is_full_is_not_passed_over_in_silence(
    tmp_path: Path, people: DirectoryReader
) -> None:
    site = LmtpInProcess(tmp_path, people, MemoryStore(quota=Quota(messages=1)))
    connection, transport = site.connect()
    connection.data_received(HELLO + envelope("staff@minasi.example", MARK))
    await deliver(site.store, mailbox(people, CHARLIE))
    connection.data_received(DATA)
    await settled(connection)
    replies = transport.take().decode().split("\r\n")
    assert replies[-3] == "552 5.2.2 the mailbox is full"
    assert replies[-2].startswith("250 2.0.0 ")
    connection.connection_lost(None)
    await site.close()


async def test_a_store_that_fails_is_451_and_later_421(tmp_path: Path, people: DirectoryReader) -> None:
    store = MemoryStore()
    site = LmtpInProcess(tmp_path, people, store)
    connection, transport = site.connect()
    connection.data_received(HELLO + envelope(MARK, SHEILA))
    store.fail()
    connection.data_received(DATA)
    await settled(connection)
    assert transport.take().endswith(lmtp_module.FAILED * 2)
    assert len(site.failures) == 1
    site.lmtp.drain(lmtp_module.FAILING)
    assert transport.take() == lmtp_module.FAILING
    _, refused = site.connect()
    assert refused.take() == lmtp_module.FAILING
    connection.connection_lost(None)
    await site.close()


async def test_storage_that_is_closed_is_451_at_rcpt(tmp_path: Path, people: DirectoryReader) -> None:
    site = LmtpInProcess(tmp_path, people, DiskStore(tmp_path / "store", **SMALL))
    await site.store.stop()
    replies = await site.say(envelope(MARK))
    assert replies[1].startswith("451 4.3.0 ")
    await site.close()


async def test_a_full_disk_is_452(tmp_path: Path, people: DirectoryReader) -> None:
    site = LmtpInProcess(tmp_path, people, DiskStore(tmp_path / "store", **{**SMALL, "free_space": 1 << 60}))
    replies = await site.say(envelope(MARK))
    assert replies[1] == "452 4.3.1 out of disk space, try again later"
    await site.close()


LARGE = b"Subject: x\r\n\r\n" + (b"x" * 62 + b"\r\n") * (6 * 16_384)


async def test_large_content_streams_into_the_store(tmp_path: Path, people: DirectoryReader) -> None:
    site = LmtpInProcess(tmp_path, people, DiskStore(tmp_path / "store", **SMALL))
    replies = await site.say(envelope(MARK, SHEILA) + b"DATA\r\n" + LARGE + b".\r\n")
    assert [reply[:9] for reply in replies[-2:]] == ["250 2.0.0", "250 2.0.0"]
    for address in (MARK, SHEILA):
        octets = octets_of(site.store.view(mailbox(people, address)))[0]
        assert octets == head("alice@athena.example", address) + LARGE
    await site.close()


async def test_a_client_that_goes_within_large_content_leaves_nothing(tmp_path: Path, people: DirectoryReader) -> None:
    store = DiskStore(tmp_path / "store", **SMALL)
    site = LmtpInProcess(tmp_path, people, store)
    await site.say(envelope(MARK) + b"DATA\r\n" + LARGE)
    await until_purged(store)
    assert store.totals().messages == 0
    await site.close()


async def test_refused_large_content_does_not_stall_its_connection(tmp_path: Path, people: DirectoryReader) -> None:
    """All of it comes in one read: reading is held when it ends, and the stream is given up by the store."""
    store = DiskStore(tmp_path / "store", **SMALL)
    site = LmtpInProcess(tmp_path, people, store)
    connection, transport = site.connect()
    connection.data_received(HELLO + envelope(MARK) + b"DATA\r\n")
    store._free_space = 1 << 60
    store._space._mark = 1 << 60
    store._space._until = float("-inf")
    connection.data_received(LARGE + b".\r\n")
    await settled(connection)
    assert transport.take().endswith(lmtp_module.DISK_LOW)
    assert transport.reading
    connection.connection_lost(None)
    await site.close()


async def test_strangers_are_turned_away_and_our_own_socket_is_not(site: LmtpInProcess) -> None:
    _, transport = site.connect(("198.51.100.1", 25))
    assert transport.take() == b"554 5.7.1 LMTP is for hosts in relay.networks\r\n"
    connection, transport = site.connect("")
    assert transport.take().startswith(b"220 ")
    connection.connection_lost(None)


async def test_connections_beyond_the_limits_are_turned_away(tmp_path: Path, people: DirectoryReader) -> None:
    site = LmtpInProcess(tmp_path, people, connections=4, connections_per_client=2)
    kept = [site.connect() for _ in range(2)]
    assert site.connect()[1].take() == lmtp_module.TOO_MANY
    kept += [site.connect("") for _ in range(2)]
    assert site.connect("")[1].take() == lmtp_module.TOO_MANY
    assert site.lmtp.connections.busy() == 4
    kept.pop()[0].connection_lost(None)
    kept.append(site.connect(""))
    site.lmtp.drain()
    assert [transport.take().endswith(lmtp_module.DRAINING) for _, transport in kept] == [True] * 4
    assert site.lmtp.connections.busy() == 0
    for connection, _ in kept:
        connection.connection_lost(None)
    assert site.left_over() == {"sessions": 0, "watched": 0, "gauge": 0}
    await site.close()


async def test_a_drain_lets_a_transaction_end_and_takes_no_new_one(site: LmtpInProcess) -> None:
    connection, transport = site.connect()
    connection.data_received(HELLO + envelope(MARK))
    site.lmtp.drain()
    connection.data_received(DATA)
    await settled(connection)
    assert b"250 2.0.0 " in transport.take()
    connection.data_received(envelope(MARK))
    assert transport.take() == lmtp_module.DRAINING
    connection.connection_lost(None)
    _, other_transport = site.connect()
    assert other_transport.take() == lmtp_module.DRAINING


async def test_who_is_still_there_at_the_end_is_cut_off(site: LmtpInProcess) -> None:
    connection, transport = site.connect()
    connection.data_received(HELLO + envelope(MARK))
    transport.take()
    site.lmtp.connections.shut_all(lmtp_module.DRAINING)
    assert transport.take() == lmtp_module.DRAINING
    connection.connection_lost(None)


async def test_an_event_names_the_copy_the_session_and_the_peer(site: LmtpInProcess) -> None:
    replies = await site.say(envelope(MARK, SHEILA) + DATA)
    events = site.events_written()
    assert [event["type"] for event in events] == ["Reception"] * 2
    assert [f"250 2.0.0 {event['id']} stored" for event in events] == replies[-2:]
    assert {event["session_id"] for event in events} == {events[0]["session_id"]}
    for event, recipient in zip(events, (MARK, SHEILA), strict=True):
        assert event["recipient"] == recipient
        assert event["sender"] == "alice@athena.example"
        assert event["queue"] == "minasi.example"
        assert event["size"] == len(CONTENT)
        assert event["reception_protocol"] == "LMTP"
        assert event["peer_address"] == {"name": "worker.example", "addr": "192.0.2.7"}
        assert event["delays"][0] >= 0


async def test_a_mistake_of_ours_is_451_and_the_session_goes_on(
    site: LmtpInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.store, "deliver", lambda delivery: 1 / 0)
    replies = await site.say(envelope(MARK) + DATA, envelope(MARK))
    assert [reply[:3] for reply in replies] == ["250", "250", "354", "451", "250", "250"]


async def test_a_client_may_be_gone_after_any_octet(site: LmtpInProcess, people: Directory) -> None:
    dialogue = HELLO + envelope(MARK, SHEILA) + DATA + b"QUIT\r\n"
    ended = len(dialogue) - len(b"QUIT\r\n")
    expected = 0
    for end in range(len(dialogue) + 1):
        connection, _ = site.connect()
        connection.data_received(dialogue[:end])
        await settled(connection)
        connection.connection_lost(ConnectionResetError() if end % 2 else None)
        expected += end >= ended
        assert site.store.usage(mailbox(people, MARK)).messages == expected


def test_every_error_of_the_store_has_its_reply() -> None:
    assert reply_to(StoreFull("x")).startswith(b"452 4.3.1")
    assert reply_to(StoreFailed("x")).startswith(b"451 4.3.0")
    assert Copy(1, head("", "ü@x.example")).head == "Return-Path: <>\r\nDelivered-To: ü@x.example\r\n".encode()
