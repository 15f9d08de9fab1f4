"""Hooks in a session: each answer at each stage, at once or late, and what a broken hook costs."""

import asyncio
from base64 import b64encode
from typing import Any

import pytest

from mta.errors import StorageError
from mta.metrics.layout import HOOK_FAILURES
from mta.policy.hooks import Accept, AddHeaders, Defer, Discard, Redirect, Reject
from mta.services.visitor import Visitor
from mta.spool.disk import DiskSpool
from mta.spool.memory import MemorySpool
from tests.harness.guarded import HELLO, MAIL, RCPT, STRANGER, Guarded, replies
from tests.harness.in_process import CONTENT, turns
from tests.harness.spooling import SMALL
from tests.harness.submitting import SUBMITS, Submitting

MESSAGE = MAIL + RCPT + b"DATA\r\n" + CONTENT + b".\r\n"
STAGES = ("connect", "hello", "mail", "rcpt", "content")
FAILED = "451 4.3.0 policy is out of order, try again later"


class Scripted:
    """Answers what the test says, and remembers what it was asked. An exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[tuple[str, Any]] = []
        for stage, answer in answers.items():
            setattr(self, stage, self._method(stage, answer))

    def _method(self, stage: str, answer: Any) -> Any:
        def method(value: Any) -> Any:
            self.asked.append((stage, value))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return method


class Slow(Scripted):
    """The same, as coroutine functions that wait until ``release`` is set."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.release = asyncio.Event()

    def _method(self, stage: str, answer: Any) -> Any:
        at_once = super()._method(stage, answer)

        async def method(value: Any) -> Any:
            await self.release.wait()
            return at_once(value)

        return method


@pytest.fixture
async def make(tmp_path):
    sites = []

    def made(*policies, **arguments) -> Guarded:
        sites.append(Guarded(tmp_path, policies=policies, **arguments))
        return sites[-1]

    yield made
    for site in sites:
        assert site.hooks is not None
        await site.hooks.close()
        await site.close()


async def played(site: Guarded, *policies: Scripted) -> list[str]:
    """A whole session with one message; slow policies are released in its middle. Its replies."""
    connection, transport = site.stranger()
    await turns()
    for policy in policies:
        if isinstance(policy, Slow):
            policy.release.set()
    await turns(4)
    if not connection.leaving and not connection.gone:
        connection.data_received(HELLO + MESSAGE)
        await turns(20)
    return replies(transport)


def contents(site: Guarded) -> list[bytes]:
    """What was handed to the queue."""
    return [b"".join(site.spool.content(entry.message)) for entry in site.deliverer.entries]


@pytest.mark.parametrize("kind", [Scripted, Slow])
@pytest.mark.parametrize("answer", [Reject(550, "5.7.1", "not you"), Reject(text=""), Defer(450, "4.7.1", "not now")])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_refusal_at_each_stage_is_the_reply_there(make, kind, answer, stage):
    policy = kind(**{stage: answer})
    site = make(policy)
    said = await played(site, policy)
    refused = answer.reply.decode().rstrip("\r\n")
    assert refused in said
    assert [line for line in said if line.endswith("queued")] == []
    assert not site.deliverer.entries
    [event] = [event for event in site.written() if event.reason.startswith("hook")]
    assert (event.reason, event.response.code) == ("hook: policy0", answer.code)
    assert event.peer_address.addr == STRANGER


@pytest.mark.parametrize("kind", [Scripted, Slow])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, asyncio.CancelledError])
async def test_a_hook_that_raises_costs_a_451_and_a_line(make, caplog, kind, stage, error):
    policy = kind(**{stage: error("secret")})
    site = make(policy)
    said = await played(site, policy)
    assert FAILED in said
    assert "secret" not in "".join(said)
    assert f"hook policy0: {stage} raised {error.__name__}('secret') at " in caplog.text
    assert site.counters.get(HOOK_FAILURES) >= 1
    assert not site.deliverer.entries


@pytest.mark.parametrize("kind", [Scripted, Slow])
@pytest.mark.parametrize(
    ("stage", "answer"), [("connect", Discard()), ("mail", Redirect("a@b.example")), ("rcpt", 550)]
)
async def test_an_answer_that_is_not_for_its_stage_is_a_failure(make, caplog, kind, stage, answer):
    policy = kind(**{stage: answer})
    assert FAILED in await played(make(policy), policy)
    assert "is no answer at" in caplog.text


@pytest.mark.parametrize("stage", STAGES)
async def test_a_hook_that_takes_too_long_costs_a_451(make, caplog, stage):
    policy = Slow(**{stage: None})
    site = make(policy, hook_timeout=0.01)
    connection, transport = site.stranger()
    connection.data_received(b"" if stage == "connect" else HELLO + MESSAGE)
    async with asyncio.timeout(5.0):
        while FAILED.encode() not in transport.said:
            await asyncio.sleep(0.001)
    assert f"hook policy0: {stage} took longer than 0.01 s" in caplog.text


async def test_others_go_on_while_one_waits_for_its_hook(make):
    class Picky(Slow):
        async def mail(self, mail: Any) -> None:
            if mail.connection.address == STRANGER:
                await self.release.wait()

    policy = Picky()
    site = make(policy)
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + b"NOOP\r\n")
    await turns()
    other, its = site.connect()
    other.data_received(HELLO + MAIL)
    await turns()
    assert replies(its)[-1] == "250 2.1.0 ok"
    assert replies(transport)[-1].startswith("250 ")
    assert connection.session.pending
    policy.release.set()
    await turns()
    assert replies(transport) == ["250 2.1.0 ok", "250 2.0.0 ok"]


async def test_hooks_are_asked_in_order_until_one_decides(make):
    first, second, third = Scripted(rcpt=None), Scripted(rcpt=Accept()), Scripted(rcpt=Reject())
    said = await played(make(first, second, third))
    assert said[-1].endswith("queued")
    assert [len(policy.asked) for policy in (first, second, third)] == [1, 1, 0]


async def test_a_slow_one_between_quick_ones_keeps_the_order(make):
    first, second, third = (
        Scripted(mail=AddHeaders((("X-First", "1"),))),
        Slow(mail=AddHeaders((("X-Second", "2"),))),
        Scripted(mail=AddHeaders((("X-Third", "3"),))),
    )
    site = make(first, second, third)
    assert (await played(site, second))[-1].endswith("queued")
    [content] = contents(site)
    assert b"\r\nX-First: 1\r\nX-Second: 2\r\nX-Third: 3\r\nSubject: x\r\n" in content


async def test_no_hook_makes_a_relay_of_us(make):
    site = make(Scripted(rcpt=Accept(), mail=Accept(), connect=Accept()))
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + b"RCPT TO:<joe@elsewhere.example>\r\n")
    assert replies(transport)[-1] == "550 5.7.1 relaying denied"


async def test_what_a_hook_is_told(make):
    policy = Scripted(**dict.fromkeys(STAGES))
    site = make(policy)
    connection, _ = site.stranger()
    connection.data_received(HELLO + b"MAIL FROM:<> SIZE=500\r\n" + MESSAGE.removeprefix(MAIL))
    await turns(12)
    told = dict(policy.asked)
    assert [stage for stage, _ in policy.asked] == list(STAGES)
    assert (told["connect"].address, told["connect"].known) == (STRANGER, False)
    assert (told["hello"].verb, told["hello"].name) == ("EHLO", "stranger.example")
    assert (told["mail"].sender, told["mail"].size, told["mail"].hello) == ("", 500, "stranger.example")
    assert (told["rcpt"].recipient, told["rcpt"].domain) == ("bob@ours.example", "ours.example")
    assert told["content"].recipients == ("bob@ours.example",)
    assert (told["content"].content, told["content"].size) == (CONTENT, len(CONTENT))
    assert told["content"].mail is told["rcpt"].mail
    assert told["mail"].connection.session == site.written()[-1].session_id


@pytest.mark.parametrize("kind", [Scripted, Slow])
async def test_fields_are_added_at_the_top_below_the_trace_field(make, kind):
    policy = kind(
        mail=AddHeaders((("X-Mail", "m"),)),
        rcpt=AddHeaders((("X-Rcpt", "r"),)),
        content=AddHeaders((("X-Score", "5"),)),
    )
    site = make(policy)
    assert (await played(site, policy))[-1].endswith("queued")
    [content] = contents(site)
    assert content.startswith(b"Received: ")
    assert content.endswith(b"\r\nX-Mail: m\r\nX-Rcpt: r\r\nX-Score: 5\r\n" + CONTENT)
    [entry] = site.deliverer.entries
    assert entry.message.size == len(content)


async def test_fields_of_one_transaction_are_not_those_of_the_next(make):
    class Once(Scripted):
        def mail(self, mail: Any) -> AddHeaders | None:
            self.asked.append(("mail", mail))
            return AddHeaders((("X-Once", "1"),)) if len(self.asked) == 1 else None

    site = make(Once())
    connection, _ = site.stranger()
    connection.data_received(HELLO + MAIL + b"RSET\r\n" + MESSAGE)
    await turns(12)
    assert b"X-Once" not in contents(site)[0]


async def test_too_many_fields_are_a_failure(make):
    policy = Scripted(mail=AddHeaders((("X-Much", "1"),) * 33))
    assert FAILED in await played(make(policy))


@pytest.mark.parametrize("kind", [Scripted, Slow])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "content"])
async def test_what_is_discarded_is_acknowledged_and_gone(make, kind, stage):
    policy = kind(**{stage: Discard()})
    site = make(policy)
    said = await played(site, policy)
    assert said[-1] == "250 2.0.0 ok"
    assert not site.deliverer.entries
    assert site.spool.ledger().accepted == 0
    [event] = site.written()
    assert event.response.code == 250
    assert event.reason.startswith("hook: ")


async def test_one_recipient_of_two_is_discarded(make):
    class Picky:
        def rcpt(self, rcpt: Any) -> Discard | None:
            return Discard() if rcpt.recipient.startswith("bob") else None

    site = make(Picky())
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT + RCPT.replace(b"bob", b"joe") + b"DATA\r\n" + CONTENT + b".\r\n")
    await turns(12)
    assert replies(transport)[-1].endswith("queued")
    [entry] = site.deliverer.entries
    assert [recipient.forward_path for recipient in entry.message.recipients] == ["joe@ours.example"]


@pytest.mark.parametrize("kind", [Scripted, Slow])
@pytest.mark.parametrize("stage", ["rcpt", "content"])
async def test_a_message_is_redirected_even_where_the_client_might_not_relay(make, kind, stage):
    policy = kind(**{stage: Redirect("trap@elsewhere.example")})
    site = make(policy)
    said = await played(site, policy)
    assert said[-1].endswith("queued")
    [entry] = site.deliverer.entries
    [recipient] = entry.message.recipients
    assert (recipient.forward_path, recipient.domain) == ("trap@elsewhere.example", "elsewhere.example")


@pytest.mark.parametrize("kind", [Scripted, Slow])
@pytest.mark.parametrize("stage", ["rcpt", "content"])
async def test_what_the_sender_wants_to_be_told_goes_with_a_redirected_message(make, kind, stage):
    policy = kind(**{stage: Redirect("trap@elsewhere.example")})
    site = make(policy)
    connection, transport = site.stranger()
    policy.__dict__.get("release", asyncio.Event()).set()
    asked = b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;robert@ours.example\r\n"
    connection.data_received(
        HELLO
        + MAIL.replace(b"\r\n", b" RET=HDRS ENVID=QQ314\r\n")
        + RCPT.replace(b"\r\n", asked)
        + b"DATA\r\n"
        + CONTENT
        + b".\r\n"
    )
    await turns(20)
    assert replies(transport)[-1].endswith("queued")
    [entry] = site.deliverer.entries
    assert (entry.message.ret, entry.message.envid) == ("HDRS", "QQ314")
    [recipient] = entry.message.recipients
    assert recipient.forward_path == "trap@elsewhere.example"
    assert (recipient.notify, recipient.orcpt) == ("SUCCESS,DELAY", "rfc822;robert@ours.example")


async def test_in_place_of_all_whatever_was_asked_about_any_is_told(make):
    site = make(Scripted(content=Redirect("trap@elsewhere.example")))
    connection, _ = site.stranger()
    first, second = RCPT.replace(b"\r\n", b" NOTIFY=SUCCESS\r\n"), RCPT.replace(b"bob", b"joe")
    connection.data_received(HELLO + MAIL + first + second + b"DATA\r\n" + CONTENT + b".\r\n")
    await turns(12)
    [recipient] = site.deliverer.entries[0].message.recipients
    assert (recipient.notify, recipient.orcpt) == ("SUCCESS,FAILURE,DELAY", None)


LARGE = b"Subject: long\r\n\r\n" + b"".join(b"%08d" % n + b"x" * 90 + b"\r\n" for n in range(12_000))


class Reader(Scripted):
    """Reads the content before it answers."""

    def __init__(self, *, content: Any, **answers: Any) -> None:
        super().__init__(**answers)
        self.read: list[list[bytes]] = []
        self._answer = self._method("content", content)

    def content(self, content: Any) -> Any:
        self.read.append(list(content.pieces()))
        return self._answer(content)


class SlowReader(Reader):
    """The same, with others on the loop between two pieces."""

    async def content(self, content: Any) -> Any:
        pieces = []
        for piece in content.pieces():
            pieces.append(piece)
            await asyncio.sleep(0)
        self.read.append(pieces)
        return self._answer(content)


def send_large(connection: Any) -> None:
    for at in range(0, len(LARGE), 100_000):
        connection.data_received(LARGE[at : at + 100_000])
    connection.data_received(b".\r\n")


async def said_to_large(site: Guarded, envelope: bytes = MAIL + RCPT) -> tuple[Any, str]:
    """The connection, and the reply to a content that is streamed."""
    connection, transport = site.stranger()
    connection.data_received(HELLO + envelope + b"DATA\r\n")
    send_large(connection)
    while connection.session.pending:
        await asyncio.sleep(0.001)
    return connection, replies(transport)[-1]


async def read_for_ever(told: Any) -> None:
    async with asyncio.timeout(5.0):
        while list(told.pieces()):
            await asyncio.sleep(0.001)


@pytest.fixture(params=["memory", "disk"])
async def on(request, make, tmp_path):
    """``make`` with each spool."""

    def made(*policies: Any) -> Guarded:
        spool = DiskSpool(tmp_path / "0", 0, **SMALL) if request.param == "disk" else MemorySpool(0)
        return make(*policies, reception={"spool": spool})

    return made


@pytest.mark.parametrize("kind", [Reader, SlowReader])
async def test_content_above_the_limit_is_read_in_pieces_and_can_be_refused(on, kind):
    policy = kind(content=Reject(554, "5.7.1", "too dull"))
    site = on(policy)
    connection, said = await said_to_large(site)
    assert said == "554 5.7.1 too dull"
    [(_, told)] = policy.asked
    assert (told.content, told.size) == (None, len(LARGE))
    [pieces] = policy.read
    assert max(map(len, pieces)) <= 65_536
    assert b"".join(pieces) == LARGE
    assert connection.session.idle
    with pytest.raises(StorageError):
        await read_for_ever(told)


@pytest.mark.parametrize("kind", [Reader, SlowReader])
async def test_fields_are_added_to_content_above_the_limit_as_to_any(on, kind):
    fields = AddHeaders(tuple((f"X-{n}", "y" * 890) for n in range(30)))
    policy = kind(mail=AddHeaders((("X-Mail", "m"),)), rcpt=AddHeaders((("X-Rcpt", "r"),)), content=fields)
    site = on(policy)
    _, said = await said_to_large(site)
    assert said.endswith("queued")
    [content] = contents(site)
    assert content.startswith(b"Received: ")
    assert content.endswith(b"\r\nX-Mail: m\r\nX-Rcpt: r\r\n" + fields.octets + LARGE)
    [entry] = site.deliverer.entries
    assert entry.message.size == len(content)
    assert b"".join(policy.asked[-1][1].pieces()) == LARGE


async def test_what_is_submitted_is_read_as_it_will_go_out(make, tmp_path):
    policy = Reader(content=AddHeaders((("X-Score", "5"),)))
    (tmp_path / "submission").mkdir()
    place = Submitting(tmp_path / "submission")
    place.reception.guard = make(policy).guard
    connection, transport = place.connect(access=SUBMITS)
    plain = b64encode(b"\0mark@minasi.example\0arlington")
    for said in (HELLO, b"AUTH PLAIN " + plain + b"\r\n", b"MAIL FROM:<mark@minasi.example>\r\n" + RCPT + b"DATA\r\n"):
        connection.data_received(said)
        await turns(10)
    connection.data_received(b"Bcc: secret@x.example\r\n")
    send_large(connection)
    await turns(20)
    assert replies(transport)[-1].endswith("queued")
    [entry] = place.deliverer.entries
    content = b"".join(place.spool.content(entry.message))
    front, _, rest = content.partition(b"\r\nX-Score: 5\r\n")
    assert front.startswith(b"Received: ")
    assert rest == b"".join(policy.read[0])
    assert rest.endswith(LARGE)
    assert b"\r\nDate: " in b"\r\n" + rest[: -len(LARGE)]
    assert b"Bcc" not in content
    await place.close()


@pytest.mark.parametrize("answer", [None, Accept(), AddHeaders(()), Redirect("trap@elsewhere.example")])
async def test_content_above_the_limit_is_stored_as_it_came_whatever_else_is_said(on, answer):
    site = on(Scripted(content=answer))
    _, said = await said_to_large(site)
    assert said.endswith("queued")
    [content] = contents(site)
    assert content.startswith(b"Received: ")
    assert content.endswith(b"\r\n" + LARGE)
    assert content.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("answer", [Discard(), "no answer", AddHeaders((("X-Much", "1"),) * 33)])
async def test_nothing_of_content_above_the_limit_stays_when_it_is_not_taken(make, tmp_path, answer):
    spool = DiskSpool(tmp_path / "0", 0, **SMALL)
    site = make(Scripted(content=answer), reception={"spool": spool})
    _, said = await said_to_large(site)
    assert said == ("250 2.0.0 ok" if isinstance(answer, Discard) else FAILED)
    await until_purged(spool)


async def test_who_leaves_while_the_last_of_a_large_content_is_written_leaves_nothing(make, tmp_path):
    spool = DiskSpool(tmp_path / "0", 0, **SMALL)
    policy = Reader(content=None)
    site = make(policy, reception={"spool": spool})
    connection, _ = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT + b"DATA\r\n")
    send_large(connection)
    assert connection.session.pending
    connection.connection_lost(None)
    await until_purged(spool)
    assert policy.read == []
    assert not site.deliverer.entries
    assert not any(site.left_over().values())


async def until_purged(spool: DiskSpool) -> None:
    """No piece of any content is left on the disk."""
    async with asyncio.timeout(5.0):
        while spool._reader.snapshot.stat(spool._files.content)["entries"] or spool._reader.incomplete():
            await asyncio.sleep(0.001)


async def test_a_spool_that_fails_meanwhile_is_an_error_of_the_hook_that_reads(make, tmp_path, caplog):
    spool = DiskSpool(tmp_path / "0", 0, **SMALL)
    site = make(Reader(content=None), reception={"spool": spool})
    connection, transport = site.stranger()
    connection.data_received(HELLO + MAIL + RCPT + b"DATA\r\n")
    send_large(connection)
    spool._fail(OSError("the disk is gone"))
    while connection.session.pending:
        await asyncio.sleep(0.001)
    assert replies(transport)[-1] == FAILED
    assert "hook policy0: content raised StorageError(" in caplog.text
    assert not site.deliverer.entries


async def test_fields_for_which_no_room_was_kept_are_an_error_and_not_dropped(make, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Visitor, "inspects", False)
    spool = DiskSpool(tmp_path / "0", 0, **SMALL)
    site = make(Scripted(content=AddHeaders((("X-Score", "5"),))), reception={"spool": spool})
    connection, said = await said_to_large(site)
    assert said == "451 4.3.0 internal error"
    assert "there is no room in front of the content" in caplog.text
    await until_purged(spool)
    connection.data_received(MESSAGE)
    while connection.session.pending:
        await asyncio.sleep(0.001)
    [content] = contents(site)
    assert content.endswith(b"\r\nX-Score: 5\r\n" + CONTENT)


async def test_the_fields_of_all_stages_have_one_limit(make, caplog):
    twelve = AddHeaders((("X-Much", "1"),) * 12)
    site = make(Scripted(mail=twelve, rcpt=twelve, content=twelve))
    said = await played(site)
    assert said[-1] == FAILED
    assert "more than 32 fields were added to the message" in caplog.text
    assert not site.deliverer.entries


async def test_who_leaves_while_a_hook_looks_at_the_content_leaves_nothing(make):
    policy = Slow(content=None)
    site = make(policy)
    connection, _ = site.stranger()
    connection.data_received(HELLO + MESSAGE)
    await turns()
    assert connection.session.pending
    connection.connection_lost(None)
    policy.release.set()
    await turns(6)
    assert not site.deliverer.entries
    assert not any(site.left_over().values())
    assert len(asyncio.all_tasks()) == 1


async def test_who_leaves_while_a_hook_looks_at_the_client_leaves_nothing(make):
    policy = Slow(connect=None)
    site = make(policy)
    connection, transport = site.stranger()
    await turns()
    connection.connection_lost(None)
    policy.release.set()
    await turns(6)
    assert transport.said == b""
    assert len(asyncio.all_tasks()) == 1


async def test_hooks_are_told_what_became_of_a_message_and_cannot_change_it(make, caplog):
    policy, broken = Scripted(queued=None, delivered=None), Scripted(queued=ValueError("no"))
    slow = Slow(queued=ValueError("late"))
    site = make(broken, policy, slow)
    said = await played(site, slow)
    assert said[-1].endswith("queued")
    await turns(4)
    [(stage, told)] = policy.asked
    assert stage == "queued"
    assert (told.id, told.sender, told.recipient) == (said[-1].split()[2], "eve@stranger.example", "bob@ours.example")
    assert "hook policy0: queued raised ValueError('no')" in caplog.text
    assert "hook policy2: queued raised ValueError('late')" in caplog.text
