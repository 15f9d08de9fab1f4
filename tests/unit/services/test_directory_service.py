"""The directory service in this process: verbs, common commits, imports, logins, and commits that fail."""

import asyncio

import pytest

from mta.config import parse
from mta.directory import staging
from mta.directory.tables import directory_path
from mta.errors import DataError, MtaError, StorageError, TemporaryError, UsageError
from mta.services import directory as module
from mta.services.directory import DirectoryService
from mta.services.process import Orders

MARK = "mark@minasi.example"


class Service:
    """A running service; ``failures``: what it told the attendant."""

    def __init__(self, data_dir):
        text = f'data_dir = "{data_dir}"\n[local]\ndomains = ["minasi.example"]\npostmaster = "{MARK}"\n'
        orders = Orders(config={}, service="directory", worker=0, shards=[], listeners=[], metrics_fd=-1, row=0)
        self.service = DirectoryService(orders, parse(text))
        self.failures = []
        self.writer = None

    async def ask(self, verb, **args):
        return [row async for row in self.service.answer(verb, args, 0)]

    async def right(self, password):
        """Whether a listener of this process would let Mark in with it."""
        answer = asyncio.get_running_loop().create_future()
        self.service._logins.check("mark", password, "192.0.2.1", answer.set_result)
        return (await answer).status == "ok"

    async def one(self, verb, **args):
        [row] = await self.ask(verb, **args)
        return row


@pytest.fixture
async def directory(tmp_path):
    running = Service(tmp_path)
    await running.service.start(running.failures.append)
    running.writer = running.service._writer
    yield running
    await running.service.stop(1.0)


async def test_a_person_comes_changes_and_goes(directory):
    row = await directory.one("user.add", address=MARK, display_name="Mark Minasi", password="secret")
    assert (row["id"], row["password"], row["scram"]) == (1, True, True)
    assert not {"argon2", "credentials"} & row.keys()
    assert await directory.right("secret")
    assert not await directory.right("wrong")
    await directory.one("user.passwd", user=MARK, password="other")
    assert not await directory.right("secret")
    changed = await directory.one("user.set", user="1", title="Author", further=["m@minasi.example"])
    assert (changed["title"], changed["further"], changed["password"]) == ("Author", ["m@minasi.example"], True)
    assert await directory.one("user.show", user="m@minasi.example") == changed
    assert await directory.ask("user.list") == [changed]
    assert await directory.ask("search", text="auth") == [changed]
    assert (await directory.one("user.passwd", user="1"))["password"] is False
    assert (await directory.one("user.remove", user=MARK))["id"] == 1
    assert await directory.ask("user.list") == []


async def test_a_person_without_an_address_gets_one(directory):
    assert (await directory.one("user.add", given_name="Mark", surname="Minasi"))[
        "address"
    ] == "mark.minasi@minasi.example"
    second = await directory.one("user.add", display_name="Mark Minasi")
    assert second["address"] == "mark.minasi2@minasi.example"
    await directory.one("alias.add", alias="Mark.Minasi3@minasi.example", targets=[MARK])
    third = await directory.one("user.add", given_name="Mark", surname="Minasi")
    assert third["address"] == "mark.minasi4@minasi.example"
    with pytest.raises(DataError, match="give a name"):
        await directory.ask("user.add")


async def test_aliases_and_lists(directory):
    await directory.one("user.add", address=MARK)
    assert (await directory.one("alias.add", alias="i@minasi.example", targets=[MARK]))["targets"] == [MARK]
    assert (await directory.one("alias.set", alias="i@minasi.example", targets=["x@y.example"]))["targets"] == [
        "x@y.example"
    ]
    row = await directory.one("list.add", address="all@minasi.example", members=[MARK], owner=MARK)
    assert row == {"address": "all@minasi.example", "kind": "list", "members": [MARK], "owner": MARK}
    added = await directory.one("list.members.add", address="all@minasi.example", members=["i@minasi.example"])
    assert added["members"] == [MARK, "i@minasi.example"]
    left = await directory.one("list.members.remove", address="all@minasi.example", members=[MARK])
    assert await directory.one("list.show", address="all@minasi.example") == left
    assert (await directory.one("list.owner", address="all@minasi.example", owner=""))["owner"] == ""
    assert len(await directory.ask("alias.list")) == len(await directory.ask("list.list")) == 1
    assert await directory.ask("resolve", address="all@minasi.example") == [
        {"address": "x@y.example", "mailbox": 0, "tag": "", "owner": ""}
    ]
    assert await directory.ask("check") == []
    await directory.one("alias.remove", address="i@minasi.example")
    [trouble] = await directory.ask("check")
    assert (trouble["address"], trouble["trouble"]) == ("all@minasi.example", "unknown")
    await directory.one("list.remove", address="all@minasi.example")
    for verb in ("alias.show", "list.show"):
        with pytest.raises(DataError, match="no such"):
            await directory.ask(verb, address="all@minasi.example")


async def test_check_finds_catch_alls_and_foreign_domains(directory):
    await directory.one("user.add", address="a@else.example")
    await directory.one("alias.add", alias="@minasi.example", targets=["gone@minasi.example"])
    troubles = {(row["address"], row["trouble"]) for row in await directory.ask("check")}
    assert troubles == {("a@else.example", "domain"), ("@minasi.example", "loop")}


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("user.fly", {}),
        ("user.add", {"colour": "red"}),
        ("user.add", {"address": 7}),
        ("user.show", {}),
        ("alias.add", {"alias": "a@b.example"}),
        ("import.records", {"records": 7}),
    ],
)
async def test_what_is_no_verb_or_argument_is_a_usage_error(directory, verb, args):
    if verb == "import.records":
        args = args | {"token": (await directory.one("import.begin"))["token"]}
    with pytest.raises(UsageError, match=verb.replace(".", r"\.")):
        await directory.ask(verb, **args)


async def test_a_password_that_is_none_changes_nothing(directory):
    with pytest.raises(DataError, match="password"):
        await directory.ask("user.add", address=MARK, password="a\0b")
    assert await directory.ask("user.list") == []


async def test_changes_that_come_together_are_committed_together_and_stand_alone(directory):
    batches = []
    run = directory.writer.run
    directory.writer.run = lambda jobs: batches.append(len(jobs)) or run(jobs)
    names = [f"p{n}@minasi.example" for n in range(20)] + ["p3@minasi.example"]
    answers = await asyncio.gather(*(directory.ask("user.add", address=name) for name in names), return_exceptions=True)
    assert [isinstance(answer, DataError) for answer in answers] == [False] * 20 + [True]
    assert sum(batches) == 21
    assert len(batches) < 21
    assert directory.failures == []
    assert directory.service.facts() == {"waiting": 0}


async def test_a_row_is_there_for_every_reader_before_the_change_is_told_as_done(directory):
    for number in range(5):
        await directory.one("user.add", address=f"p{number}@minasi.example")
        assert directory.writer.reading.resolve(f"p{number}@minasi.example")


async def test_a_commit_that_fails_is_told_once_to_everybody_and_never_tried_again(directory):
    def fail(jobs):
        raise StorageError("the disk said no")

    directory.writer.run = fail
    answers = await asyncio.gather(
        *(directory.ask("user.add", address=f"p{n}@minasi.example") for n in range(3)), return_exceptions=True
    )
    assert {str(answer) for answer in answers} == {"the disk said no"}
    assert directory.failures == ["the disk said no"]
    with pytest.raises(StorageError, match="said no"):
        await directory.ask("user.add", address=MARK)
    assert await directory.ask("user.list") == []


async def test_a_change_that_breaks_asks_for_a_restart(directory):
    def broken(jobs):
        raise ZeroDivisionError

    directory.writer.run = broken
    with pytest.raises(StorageError, match="ZeroDivisionError"):
        await directory.ask("user.add", address=MARK)
    assert len(directory.failures) == 1


async def test_changes_that_wait_have_a_bound(directory, monkeypatch):
    monkeypatch.setattr(module, "WAITING_LIMIT", 0)
    with pytest.raises(TemporaryError, match="wait"):
        await directory.ask("alias.add", alias="a@minasi.example", targets=[MARK])


async def test_what_was_begun_is_committed_before_the_end(tmp_path):
    running = Service(tmp_path)
    await running.service.start(running.failures.append)
    commits = running.service._commits
    changes = [
        asyncio.ensure_future(commits.change(lambda changes, n=n: changes.add_person(f"p{n}@x.example")))
        for n in range(300)
    ]
    await asyncio.sleep(0)
    await running.service.stop(1.0)
    assert [(await change).id for change in changes] == list(range(1, 301))
    with pytest.raises(StorageError, match="stopped"):
        await commits.change(lambda changes: None)


async def test_an_import_goes_in_as_a_whole(directory):
    token = (await directory.one("import.begin"))["token"]
    records = [{"kind": "person", "address": f"p{n}@minasi.example", "line": n} for n in range(5)]
    assert await directory.one("import.records", token=token, records=records[:2]) == {"staged": 2}
    assert await directory.one("import.records", token=token, records=records[2:]) == {"staged": 5}
    assert await directory.ask("user.list") == []
    assert (await directory.ask("import.commit", token=token))[-1] == {"people": 5, "aliases": 0, "lists": 0}
    assert len(await directory.ask("user.list")) == 5
    assert len(await directory.ask("export")) == 5
    for verb in ("import.commit", "import.records"):
        with pytest.raises(DataError, match="no such import"):
            await directory.ask(verb, token=token)


async def test_an_import_with_an_error_leaves_nothing_and_disturbs_nobody(directory):
    await directory.one("user.add", address=MARK)
    token = (await directory.one("import.begin"))["token"]
    records = [{"address": "new@minasi.example", "line": 2}, {"address": MARK, "line": 3}]
    await directory.one("import.records", token=token, records=records)
    outcomes = await asyncio.gather(
        directory.ask("import.commit", token=token),
        directory.ask("user.add", address="other@minasi.example"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], MtaError)
    assert "line 3" in str(outcomes[0])
    assert {row["address"] for row in await directory.ask("user.list")} == {MARK, "other@minasi.example"}


async def test_a_long_import_shows_that_it_is_alive(directory, monkeypatch):
    monkeypatch.setattr(module, "SIGN_OF_LIFE", 0.001)
    token = (await directory.one("import.begin"))["token"]
    records = [{"address": f"p{n}@minasi.example"} for n in range(2000)]
    await directory.one("import.records", token=token, records=records)
    rows = await directory.ask("import.commit", token=token)
    assert len(rows) > 1
    assert all(0 <= row["applied"] <= 2000 for row in rows[:-1])


async def test_imports_are_bounded_and_given_up(directory, monkeypatch):
    tokens = [(await directory.one("import.begin"))["token"] for _ in range(staging.IMPORTS_LIMIT)]
    with pytest.raises(TemporaryError, match="on their way"):
        await directory.ask("import.begin")
    assert await directory.one("import.drop", token=tokens[0]) == {"dropped": True}
    monkeypatch.setattr(staging, "IMPORT_LIMIT", 1)
    with pytest.raises(DataError, match="more than 1 entries"):
        await directory.ask("import.records", token=tokens[1], records=[{}, {}])
    monkeypatch.setattr(staging, "IDLE_LIMIT", -1.0)
    await directory.one("import.begin")
    with pytest.raises(DataError, match="no such import"):
        await directory.ask("import.records", token=tokens[2], records=[])


async def test_it_cannot_start_twice(directory, tmp_path):
    other = Service(tmp_path)
    with pytest.raises(StorageError, match="has it open"):
        await other.service.start(other.failures.append)
    assert directory_path(tmp_path).exists()


async def test_a_change_that_nobody_awaits_any_more_is_made_all_the_same(directory):
    commits = directory.service._commits
    waiting = asyncio.ensure_future(commits.change(lambda changes: changes.add_person(MARK)))
    await asyncio.sleep(0)
    waiting.cancel()
    await directory.one("user.add", address="b@minasi.example")
    assert [row["id"] for row in await directory.ask("user.list")] == [1, 2]


async def test_an_import_goes_on_when_whoever_asked_has_gone(directory, monkeypatch):
    monkeypatch.setattr(module, "SIGN_OF_LIFE", 0.0)
    for address in ("a@minasi.example", "no address"):
        token = (await directory.one("import.begin"))["token"]
        await directory.one("import.records", token=token, records=[{"address": address}])
        rows = directory.service.answer("import.commit", {"token": token}, 0)
        assert set(await anext(rows)) == {"applied"}, "a sign of life; how far it has come is up to the thread"
        await rows.aclose()
    await directory.one("user.add", address="b@minasi.example")
    assert [row["address"] for row in await directory.ask("user.list")] == ["a@minasi.example", "b@minasi.example"]


async def test_slots_of_dead_readers_are_looked_for_now_and_then(directory, monkeypatch):
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    directory.writer.clear_dead_readers = lambda: loop.call_soon_threadsafe(looked.set)
    monkeypatch.setattr(module, "READER_CHECK", 0.001)
    directory.service._clear_dead_readers()
    await asyncio.wait_for(looked.wait(), 10)
