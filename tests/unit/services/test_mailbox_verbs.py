"""What an operator may ask about mailboxes, on a live store."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mta.clock import LAST_MOMENT, SystemClock
from mta.directory.protocol import DirectoryUnreadable
from mta.directory.reader import DirectoryReader
from mta.errors import DataError, StorageError, TemporaryError, UsageError
from mta.model.spoolid import format_id
from mta.services import mailboxes, uploads
from mta.services.mailboxes import MailboxVerbs
from mta.store.disk import DiskStore
from mta.store.memory import MemoryStore
from mta.store.protocol import Quota, Store
from tests.harness.directory import make_directory
from tests.harness.storing import HEAD, SMALL, balanced, deliver, octets_of, remove, rows, unexpected, until_purged

MARK = "mark@minasi.example"
SIZE = 9_000_000
QUOTA = Quota(messages=500)


@pytest.fixture(scope="module")
def people() -> Iterator[DirectoryReader]:
    with tempfile.TemporaryDirectory() as directory:
        aliases = {"info@minasi.example": [MARK]}
        lists = {"staff@minasi.example": [MARK]}
        reader = make_directory(Path(directory), [MARK, "sheila@minasi.example"], aliases, lists, separator="+")
        yield reader
        reader.close()


@pytest.fixture(params=["disk", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = (
        DiskStore(tmp_path / "store", quota=QUOTA, **SMALL) if request.param == "disk" else MemoryStore(quota=QUOTA)
    )
    made.start(unexpected)
    yield made
    await balanced(made)
    await made.stop()


class Operator:
    """Asks and gets rows as they come out of JSON."""

    def __init__(self, store: Store, people: DirectoryReader) -> None:
        self.verbs = MailboxVerbs(store, people, SystemClock(), quota=QUOTA, message_size=SIZE)
        person = people.find(MARK)
        assert person is not None
        self.mark = person.id

    async def ask(self, verb: str, **args: Any) -> list[Any]:
        asked = msgspec.json.decode(msgspec.json.encode({"address": MARK} | args))
        return [msgspec.json.decode(msgspec.json.encode(row)) async for row in self.verbs.answer(verb, asked)]


def octets(row: Any) -> bytes:
    return msgspec.convert(row["content"], bytes)


@pytest.fixture
def operator(store: Store, people: DirectoryReader) -> Operator:
    return Operator(store, people)


async def test_a_listing_tells_what_is_there(operator: Operator, store: Store) -> None:
    content = b"From: Alice <a@b.example>\r\nSubject: =?utf-8?q?K=C3=A4the?=\r\n\r\nhello"
    (uid,) = await deliver(store, operator.mark, content=content)
    await deliver(store, operator.mark, content=b"")
    first, second = await operator.ask("mailbox.list")
    assert abs(first.pop("arrived") - SystemClock().now_ms() / 1000) < 60
    assert first == {
        "number": 1,
        "unique_id": format_id(uid),
        "size": len(HEAD + content) + 2,
        "from": "Alice <a@b.example>",
        "subject": "Käthe",
    }
    assert (second["number"], second["from"], second["subject"]) == (2, "", "")


async def test_a_long_listing_lets_others_have_their_turn_and_what_goes_meanwhile_is_left_out(
    operator: Operator, store: Store
) -> None:
    for _ in range(120):
        await deliver(store, operator.mark)
    numbers = []
    async for row in operator.verbs.answer("mailbox.list", {"address": MARK}):
        if not numbers:
            await remove(store, operator.mark, [5, 6, 119])
        numbers.append(row["number"])
    assert numbers == [number for number in range(1, 121) if number not in (6, 7, 120)]


@pytest.mark.parametrize("address", [MARK, "Mark+lists@minasi.example"])
async def test_a_mailbox_is_named_by_its_person_or_its_number(operator: Operator, store: Store, address: str) -> None:
    await deliver(store, operator.mark)
    assert len(await operator.ask("mailbox.list", address=address)) == 1
    assert len(await operator.ask("mailbox.list", address=str(operator.mark))) == 1


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nobody@minasi.example", "nobody of that address"),
        ("info@minasi.example", "is an alias"),
        ("staff@minasi.example", "is a list"),
        ("0", "no mailbox 0"),
        ("99999999999999999999", "no mailbox 9999"),
        ("9" * 5000, "nobody of that address"),
    ],
)
async def test_an_address_that_names_no_mailbox_is_said(operator: Operator, address: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        await operator.ask("mailbox.list", address=address)


async def test_one_message_is_shown_by_number_or_unique_id(operator: Operator, store: Store) -> None:
    uids = [
        *await deliver(store, operator.mark, content=b"1\r\n"),
        *await deliver(store, operator.mark, content=b"2\r\n"),
    ]
    for name in ("2", format_id(uids[1]), format_id(uids[1]).lower()):
        facts, content = await operator.ask("mailbox.show", messages=[name])
        assert facts["number"] == 2
        assert octets(content) == HEAD + b"2\r\n"
    for names in (["3"], ["0"], ["-1"], ["x"], ["9" * 12], ["0000000000001"], ["!!!!!!!!!!!!!"]):
        with pytest.raises(DataError):
            await operator.ask("mailbox.show", messages=names)
    for several in ([], ["1", "2"]):
        with pytest.raises(UsageError):
            await operator.ask("mailbox.show", messages=several)


async def test_an_export_gives_every_message_in_order(operator: Operator, store: Store) -> None:
    contents = [b"a\r\n", b"", b"x" * 200_000]
    for content in contents:
        await deliver(store, operator.mark, content=content)
    exported: list[bytes] = []
    for row in await operator.ask("mailbox.export"):
        if "number" in row:
            assert row["number"] == len(exported) + 1
            exported.append(b"")
        else:
            exported[-1] += octets(row)
    assert exported == [HEAD + content for content in contents]
    rows_of_two = await operator.ask("mailbox.export", messages=["3", "1"])
    assert [row["number"] for row in rows_of_two if "number" in row] == [1, 3]


async def test_what_is_removed_during_an_export_is_said_to_be_gone(operator: Operator, store: Store) -> None:
    for _ in range(3):
        await deliver(store, operator.mark, content=b"x" * 200_000)
    seen = []
    async for row in operator.verbs.answer("mailbox.export", {"address": MARK}):
        if not seen:
            await remove(store, operator.mark, [0, 1])
        seen.append(next(iter(row)))
    assert seen[:3] == ["number", "gone", "gone"]
    assert seen[3:5] == ["number", "content"]
    assert "gone" not in seen[3:]


async def test_an_import_keeps_content_unique_id_and_time(operator: Operator, store: Store) -> None:
    (uid,) = await deliver(store, operator.mark)
    letters = [
        {"content": b"a\r\n", "unique_id": format_id(uid - 7), "arrived": 1234.567},
        {"content": b"b", "unique_id": format_id(uid)},
        {"content": b"", "unique_id": "of another program"},
    ]
    answered = await operator.ask("mailbox.import", messages=letters)
    assert [list(row) for row in answered] == [["unique_id"]] * 3
    assert answered[0]["unique_id"] == format_id(uid - 7)
    assert answered[1]["unique_id"] > format_id(uid)
    view = store.view(operator.mark)
    assert octets_of(view)[0] == b"a\r\n"
    assert view.arrival(0) == 1_234_567
    assert octets_of(view)[2:] == [b"b", b""]


@pytest.mark.parametrize("arrived", [-5.0, 1e300])
async def test_an_import_with_a_time_that_is_none_takes_place(operator: Operator, store: Store, arrived: float) -> None:
    (row,) = await operator.ask("mailbox.import", messages=[{"content": b"a\r\n", "arrived": arrived}])
    assert "unique_id" in row
    assert 0 <= store.view(operator.mark).arrival(0) <= LAST_MOMENT * 1000


async def test_a_large_message_is_imported_in_parts(operator: Operator, store: Store) -> None:
    parts = [bytes([65 + number]) * 2_500_000 for number in range(3)]
    name = ""
    for number, part in enumerate(parts):
        args = {"upload": name, "part": {"content": part, "arrived": 5.0}, "more": number < 2}
        (row,) = await operator.ask("mailbox.import", **args)
        name = row.get("upload", "")
    assert row["unique_id"] == store.view(operator.mark).unique_ids()[0].decode()
    assert octets_of(store.view(operator.mark)) == [b"".join(parts)]
    with pytest.raises(DataError, match="no upload"):
        await operator.ask("mailbox.import", upload="1", part={"content": b"x"})


async def test_an_import_beyond_its_limits_is_refused(
    operator: Operator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="message_size"):
        await operator.ask("mailbox.import", messages=[{"content": b"x" * (SIZE + 1)}])
    part = {"content": b"x" * (SIZE // 2)}
    (first,) = await operator.ask("mailbox.import", upload="", part=part, more=True)
    await operator.ask("mailbox.import", upload=first["upload"], part=part, more=True)
    with pytest.raises(DataError, match="message_size"):
        await operator.ask("mailbox.import", upload=first["upload"], part={"content": b"xy"}, more=True)
    monkeypatch.setattr(uploads, "LIMIT", 2)
    small = {"content": b"x"}
    for _ in range(2):
        await operator.ask("mailbox.import", upload="", part=small, more=True)
    with pytest.raises(TemporaryError):
        await operator.ask("mailbox.import", upload="", part=small, more=True)
    if isinstance(store, DiskStore):
        await deliver(store, operator.mark)
        await until_purged(store)


async def test_an_upload_that_nobody_goes_on_with_is_abandoned(
    operator: Operator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.01)
    (row,) = await operator.ask("mailbox.import", upload="", part={"content": b"x" * 300_000}, more=True)
    async with asyncio.timeout(20):
        while operator.verbs._uploads._open:
            await asyncio.sleep(0.001)
    with pytest.raises(DataError, match="no upload"):
        await operator.ask("mailbox.import", upload=row["upload"], part={"content": b"x"})
    if isinstance(store, DiskStore):
        await until_purged(store)
        assert rows(store, "content") == 0


async def test_a_quota_holds_for_imports_and_says_so(operator: Operator, store: Store) -> None:
    answered = await operator.ask("mailbox.import", messages=[{"content": b"x"}] * 501)
    assert [row for row in answered if "error" in row] == [
        {"error": answered[-1]["error"], "exit": StorageError.exit_code}
    ]
    assert "quota" in answered[-1]["error"] or "full" in answered[-1]["error"]
    assert store.usage(operator.mark).messages == 500


async def test_a_removal_takes_all_that_were_named_or_none(operator: Operator, store: Store) -> None:
    uids = [(await deliver(store, operator.mark))[0] for _ in range(5)]
    with pytest.raises(DataError, match="no message 6"):
        await operator.ask("mailbox.remove", messages=["1", "6"])
    assert store.usage(operator.mark).messages == 5
    answered = await operator.ask("mailbox.remove", messages=["4", format_id(uids[0]), "4"])
    assert answered == [{"number": n + 1, "unique_id": format_id(uids[n])} for n in (0, 3)]
    assert list(store.view(operator.mark).uids) == [uids[1], uids[2], uids[4]]
    with pytest.raises(UsageError):
        await operator.ask("mailbox.remove")
    assert len(await operator.ask("mailbox.remove", everything=True)) == 3
    assert store.maildrop(operator.mark) is not None, "the lock is gone again"


async def test_no_removal_while_a_session_has_the_mailbox(operator: Operator, store: Store) -> None:
    await deliver(store, operator.mark)
    maildrop = store.maildrop(operator.mark)
    assert maildrop is not None
    with pytest.raises(TemporaryError, match="POP3 session"):
        await operator.ask("mailbox.remove", everything=True)
    maildrop.close()
    assert len(await operator.ask("mailbox.remove", everything=True)) == 1


async def test_a_removal_that_fails_is_an_error(people: DirectoryReader) -> None:
    store = MemoryStore()
    store.start(lambda failure: None)
    operator = Operator(store, people)
    await deliver(store, operator.mark)
    store.fail()
    with pytest.raises(StorageError, match="commit failed"):
        await operator.ask("mailbox.remove", everything=True)


async def test_usage_tells_of_one_or_all(operator: Operator, store: Store) -> None:
    await deliver(store, operator.mark, 77)
    (one,) = await operator.ask("mailbox.usage")
    assert one == {
        "mailbox": str(operator.mark),
        "address": MARK,
        "messages": 1,
        "octets": store.usage(operator.mark).octets,
        "quota_messages": 500,
        "quota_octets": 0,
    }
    everything = await operator.ask("mailbox.usage", address="")
    assert {row["mailbox"]: row["address"] for row in everything} == {str(operator.mark): MARK, "77": ""}


@pytest.fixture
def bites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailboxes, "BITE", 10)


@pytest.mark.usefixtures("bites")
async def test_an_erasure_takes_the_mail_bite_by_bite_and_then_the_mailbox(operator: Operator, store: Store) -> None:
    kept, _ = await deliver(store, operator.mark, 77)
    for _ in range(24):
        await deliver(store, 77)
    octets = store.usage(77).octets
    commits: list[int] = []
    store.on_commit = lambda seconds, delivered, removed: commits.append(removed)
    answered = await operator.ask("mailbox.erase", mailboxes=["77"])
    assert answered == [
        {"mailbox": "77", "before": 0, "removed": 10, "messages": 25},
        {"mailbox": "77", "before": 10, "removed": 20, "messages": 25},
        {"mailbox": "77", "before": 20, "removed": 25, "messages": 25},
        {"mailbox": "77", "messages": 25, "octets": octets, "erased": True},
    ]
    assert [removed for removed in commits if removed] == [10, 10, 5]
    assert store.mailboxes(0, 10) == [operator.mark]
    assert list(store.view(operator.mark).uids) == [kept], "what others share with it stays"
    await deliver(store, 77)
    assert store.usage(77).messages == 1, "mail that was on its way makes it again"


async def test_an_erasure_refuses_who_exists_who_is_read_and_what_is_not_there(
    operator: Operator, store: Store
) -> None:
    await deliver(store, operator.mark, 77, 78)
    session = store.maildrop(77)
    assert session is not None
    answered = await operator.ask("mailbox.erase", mailboxes=[MARK, str(operator.mark), "5", "x@y", "77", "78"])
    assert [(row.get("exit"), row.get("erased")) for row in answered if "removed" not in row] == [
        (65, None), (65, None), (65, None), (65, None), (75, None), (None, True),
    ]  # fmt: skip
    assert "belongs to mark@minasi.example: `mta directory user remove`" in answered[1]["error"]
    assert "no mailbox 5" in answered[2]["error"]
    assert "POP3 session" in answered[4]["error"]
    assert store.mailboxes(0, 10) == sorted([operator.mark, 77])
    session.close()
    assert (await operator.ask("mailbox.erase", mailboxes=["77"]))[-1]["erased"]


async def test_a_message_that_comes_during_an_erasure_is_kept_and_said(operator: Operator, store: Store) -> None:
    await deliver(store, 77)
    rows = operator.verbs.answer("mailbox.erase", {"mailboxes": ["77"]})
    assert (await anext(rows))["removed"] == 1
    await deliver(store, 77)
    answered = [row async for row in rows]
    assert [row["exit"] for row in answered] == [75]
    assert "a message came" in answered[0]["error"]
    assert store.usage(77).messages == 1
    assert (await operator.ask("mailbox.erase", mailboxes=["77"]))[-1]["erased"]


@pytest.mark.usefixtures("bites")
async def test_an_erasure_that_is_broken_off_leaves_the_rest_and_no_lock(operator: Operator, store: Store) -> None:
    for _ in range(25):
        await deliver(store, 77)
    async with contextlib.aclosing(operator.verbs.answer("mailbox.erase", {"mailboxes": ["77"]})) as rows:
        await anext(rows)
        assert store.maildrop(77) is None, "no session comes in between"
    assert store.usage(77).messages == 15
    assert (await operator.ask("mailbox.erase", mailboxes=["77"]))[-1]["messages"] == 15


async def test_orphans_are_the_mailboxes_whose_person_is_no_more(operator: Operator, store: Store) -> None:
    assert await operator.ask("mailbox.orphans") == []
    await deliver(store, operator.mark, 77, 78)
    assert [(row["mailbox"], row["messages"]) for row in await operator.ask("mailbox.orphans")] == [
        ("77", 1), ("78", 1),
    ]  # fmt: skip


async def test_without_people_or_a_directory_nothing_is_an_orphan(store: Store, tmp_path: Path) -> None:
    await deliver(store, 77)
    (tmp_path / "nobody").mkdir()
    reader = make_directory(tmp_path / "nobody", [])
    verbs = MailboxVerbs(store, reader, SystemClock(), message_size=SIZE)
    with contextlib.closing(reader), pytest.raises(DataError, match="holds nobody"):
        await anext(verbs.answer("mailbox.orphans", {}))
    missing = DirectoryReader(tmp_path / "missing")
    verbs = MailboxVerbs(store, missing, SystemClock(), message_size=SIZE)
    for verb, args in (("mailbox.orphans", {}), ("mailbox.erase", {"mailboxes": ["77"]})):
        with pytest.raises(DirectoryUnreadable):
            await anext(verbs.answer(verb, args))
    assert store.usage(77).messages == 1


async def test_an_erasure_that_fails_is_an_error(people: DirectoryReader) -> None:
    store = MemoryStore()
    store.start(lambda failure: None)
    await deliver(store, 77)
    store.fail()
    with pytest.raises(StorageError, match="commit failed"):
        await Operator(store, people).ask("mailbox.erase", mailboxes=["77"])


async def test_the_audit_is_a_row(operator: Operator, store: Store) -> None:
    await deliver(store, operator.mark)
    (row,) = await operator.ask("audit")
    assert (row["messages"], row["delivered"], row["drift"], row["findings"]) == (1, 1, 0, [])


async def test_what_is_no_verb_or_no_argument_is_said(operator: Operator) -> None:
    with pytest.raises(UsageError, match=r"mailbox\.list"):
        await operator.ask("mailbox.burn")
    with pytest.raises(UsageError, match="wrong"):
        await operator.ask("mailbox.list", address=5)
    with pytest.raises(UsageError, match="wrong"):
        await operator.ask("mailbox.import", messages=[{"content": "not base 64!"}])
