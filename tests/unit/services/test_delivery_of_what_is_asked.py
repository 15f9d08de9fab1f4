"""What senders ask for, all the way: parameters on the wire, conversions, and the reports that the next host will not
write."""

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path

import pytest

from mta.metrics.layout import DEFERRED, DELIVERED, EXPIRED, FAILED, REPORTS
from mta.model.message import Recipient
from mta.routing.destination import Destination, Host
from mta.services import conversions
from tests.harness.scripted_remote import EXTENSIONS, Received, ScriptedRemote, ScriptedServer
from tests.harness.works import CLOCK, Works

GRUSS = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "Grüße\r\n.\r\n".encode()
)
SEVEN = ("PIPELINING", "SIZE")
DSN = (*EXTENSIONS, "DSN")


@pytest.fixture
async def works(tmp_path: Path) -> AsyncIterator[Works]:
    made = Works(tmp_path)
    yield made
    await made.end()


class Side:
    """A server that takes everything, and gives what it received: mail first, reports apart."""

    def __init__(self, works: Works, *extensions: str, lmtp: bool = False, script=None) -> None:
        self.works = works
        self.lmtp = lmtp
        self.server = ScriptedServer(lambda: ScriptedRemote(script or {}, extensions, lmtp=lmtp))

    async def __aenter__(self) -> "Side":
        await self.server.__aenter__()
        host = Host("mx.example", self.server.port, 0, ("127.0.0.1",))
        self.works.router.destination = Destination("site.example", "lmtp" if self.lmtp else "smtp", (host,))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.server.__aexit__(*exc)

    @property
    def received(self) -> list[Received]:
        return [each for remote in self.server.remotes for each in remote.received]

    @property
    def mail(self) -> list[Received]:
        return [each for each in self.received if each.reverse_path]

    @property
    def reports(self) -> list[Received]:
        return [each for each in self.received if not each.reverse_path]


def somebody(name: str = "r", **facts) -> Recipient:
    return Recipient(f"{name}@b.example", "b.example", **facts)


def fields(report: Received) -> list[dict[str, str]]:
    """The groups of fields of the part for programs."""
    status = list(message_from_bytes(report.content).walk())
    [part] = [each for each in status if each.get_content_type() == "message/delivery-status"]
    return [dict(group) for group in part.get_payload()]


async def test_what_the_host_knows_is_passed_on_and_reported_by_it(works: Works):
    async with Side(works, *DSN) as side:
        person = somebody(notify="SUCCESS", orcpt="rfc822;r+2B@b.example")
        works.post(person, envid="e+3D1", ret="HDRS")
        await works.until(DELIVERED, 1)
        [got] = side.mail
        assert got.mail.endswith(" RET=HDRS ENVID=e+3D1")
        assert got.arguments == ["TO:<r@b.example> NOTIFY=SUCCESS ORCPT=rfc822;r+2B@b.example"]
        assert works.counters.get(REPORTS) == 0


@pytest.mark.parametrize(("lmtp", "action"), [(False, "relayed"), (True, "delivered")])
async def test_success_is_told_where_the_host_does_not_tell_it(works: Works, lmtp: bool, action: str):
    async with Side(works, *EXTENSIONS, lmtp=lmtp) as side:
        works.post(somebody("a", notify="SUCCESS", orcpt="rfc822;x+2By@b.example"), somebody("b"), envid="e+3D1")
        await works.until(DELIVERED, 3)
        [report] = side.reports
        about, person = fields(report)
        assert about["Original-Envelope-Id"] == "e=1"
        assert person["Action"] == action
        assert person["Final-Recipient"] == "rfc822; a@b.example"
        assert person["Original-Recipient"] == "rfc822; x+y@b.example"
        assert person["Status"] == "2.0.0"
        assert person["Remote-MTA"] == "dns; mx.example"
        assert report.recipients == ["a@b.example"]
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_notify_decides_about_failures(works: Works):
    async with Side(works, *EXTENSIONS, script={"RCPT": ["550 5.1.1 no"] * 3}) as side:
        works.post(
            somebody("a", notify="NEVER"), somebody("b", notify="SUCCESS,DELAY"), somebody("c", notify="FAILURE")
        )
        await works.until(FAILED, 3)
        await works.until(DELIVERED, 1)
        [report] = side.reports
        assert [group["Final-Recipient"] for group in fields(report)[1:]] == ["rfc822; c@b.example"]
        assert works.counters.get(REPORTS) == 1


@pytest.mark.parametrize(("ret", "whole"), [("FULL", True), ("HDRS", False), (None, False)])
async def test_the_whole_message_comes_back_only_when_it_was_asked_for(works: Works, ret: str | None, whole: bool):
    async with Side(works, *EXTENSIONS, script={"RCPT": ["550 5.1.1 no"]}) as side:
        works.post(somebody(), content=GRUSS, eight_bit=True, ret=ret)
        await works.until(DELIVERED, 1)
        [report] = side.reports
        assert ("Grüße".encode() in report.content) == whole
        kinds = [part.get_content_type() for part in message_from_bytes(report.content).walk()]
        assert ("message/rfc822" in kinds, "text/rfc822-headers" in kinds) == (whole, not whole)


async def test_eight_bit_content_is_converted_for_who_takes_seven(works: Works):
    async with Side(works, *SEVEN) as side:
        works.post(somebody(), content=GRUSS, eight_bit=True)
        await works.until(DELIVERED, 1)
        [got] = side.mail
        assert got.content.isascii()
        assert message_from_bytes(got.content).get_payload(decode=True) == "Grüße\r\n.\r\n".encode()
        assert got.mail == f"FROM:<a@b.example> SIZE={len(got.content)}"
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_large_content_is_converted_beside_the_loop(works: Works, monkeypatch):
    monkeypatch.setattr(conversions, "AT_ONCE", 10)
    async with Side(works, *SEVEN) as side:
        for _ in range(5):
            works.post(somebody(), content=GRUSS, eight_bit=True)
        await works.until(DELIVERED, 5)
        assert all(each.content.isascii() for each in side.mail)
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_a_bug_in_a_conversion_leaves_no_message_behind(works: Works, monkeypatch, caplog):
    def broken(content: bytes) -> bytes:
        raise KeyError("a bug")

    monkeypatch.setattr(conversions, "AT_ONCE", 10)
    async with Side(works, *SEVEN) as side:
        with monkeypatch.context() as patch:
            patch.setattr(conversions, "seven_bit", broken)
            works.post(somebody(), content=GRUSS, eight_bit=True)
            await works.until(DEFERRED, 1, refill=False)
        assert "a bug" in caplog.text
        await works.until(DELIVERED, 1)
        assert len(side.mail) == 1
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


SIGNED = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n"


@pytest.mark.parametrize("ret", [None, "FULL"])
@pytest.mark.parametrize("at_once", [1, 1 << 20])
async def test_a_signed_message_comes_back_rather_than_broken(works: Works, monkeypatch, at_once: int, ret: str | None):
    """Its header section alone where the report has to go to who takes seven bits as well."""
    monkeypatch.setattr(conversions, "AT_ONCE", at_once)
    async with Side(works, *SEVEN) as side:
        works.post(somebody(), content=SIGNED, eight_bit=True, ret=ret)
        await works.until(FAILED, 1)
        await works.until(DELIVERED, 1)
        assert side.mail == []
        assert fields(side.reports[0])[1]["Status"] == "5.6.3"


async def test_binary_content_goes_as_it_is_or_converted(works: Works):
    binary = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\n\x89\0\r\n.\r\n\xff"
    async with Side(works, *EXTENSIONS, "CHUNKING", "BINARYMIME") as side:
        works.post(somebody(), content=binary, binary=True)
        await works.until(DELIVERED, 1)
        assert (side.mail[0].content, side.mail[0].chunked) == (binary, True)
    works.delivery.sites.clear()
    async with Side(works, *EXTENSIONS) as side:
        works.post(somebody(), content=binary, binary=True)
        await works.until(DELIVERED, 2)
        assert message_from_bytes(side.mail[0].content).get_payload(decode=True) == b"\x89\0\r\n.\r\n\xff"


async def test_utf8_addresses_need_a_host_that_knows_them(works: Works):
    async with Side(works, *EXTENSIONS) as side:
        works.post(Recipient("jürgen@b.example", "b.example"), smtputf8=True)
        works.post(somebody(), smtputf8=True)
        await works.until(FAILED, 1)
        await works.until(DELIVERED, 2)
        assert [each.mail.partition(" ")[0] for each in side.mail] == ["FROM:<a@b.example>"]
        assert "SMTPUTF8" not in side.mail[0].mail
        person = fields(side.reports[0])[1]
        assert (person["Status"], person["Final-Recipient"]) == ("5.6.7", r"utf-8; j\x{FC}rgen@b.example")


async def test_a_report_to_a_utf8_address_is_one_itself(works: Works):
    async with Side(works, *EXTENSIONS, "SMTPUTF8", script={"RCPT": ["550 5.1.1 no"]}) as side:
        works.post(somebody(), smtputf8=True, reverse_path="ü@b.example", content="Subject: ü\r\n\r\nx\r\n".encode())
        await works.until(DELIVERED, 1)
        [report] = side.reports
        assert " SMTPUTF8" in report.mail
        assert b"message/global-delivery-status" in report.content
        assert b"message/global-headers" in report.content
        assert "To: <ü@b.example>".encode() in report.content


async def test_a_deadline_that_has_passed_sends_the_message_back(works: Works):
    async with Side(works, *EXTENSIONS, "DELIVERBY") as side:
        works.post(somebody(), deliver_by=CLOCK.now_ms() - 1000, by_mode="R")
        works.post(somebody(), deliver_by=CLOCK.now_ms() + 90_000, by_mode="R")
        await works.until(FAILED, 1)
        await works.until(DELIVERED, 2)
        [mail] = side.mail
        assert mail.mail.rpartition(" ")[2] in ("BY=90;R", "BY=89;R")
        assert fields(side.reports[0])[1]["Status"] == "5.4.7"


async def test_a_deadline_passes_while_the_host_defers(works: Works):
    script = {"MAIL": ["451 4.3.0 later"] * 400}
    async with Side(works, *EXTENSIONS, "DELIVERBY", script=script):
        works.post(somebody(), deliver_by=CLOCK.now_ms() + 700, by_mode="R")
        async with asyncio.timeout(20):
            while works.counters.get(FAILED) + works.counters.get(EXPIRED) < 1:
                works.shard.scheduler.refill()
                works.delivery.tick()
                await asyncio.sleep(0.01)
        assert works.counters.get(DEFERRED) > 0
        assert works.counters.get(REPORTS) == 1
        [ended] = [event for event in works.happened() if event["type"] in ("Bounce", "Expiration")]
        assert ended["response"]["enhanced_code"] == "5.4.7"


async def test_a_deadline_passes_while_no_host_is_there(works: Works):
    """Nobody is connected to, so nobody says what is offered."""
    async with Side(works, *EXTENSIONS):
        pass
    works.post(somebody(), deliver_by=CLOCK.now_ms() + 300, by_mode="R")
    await works.until(EXPIRED, 1)
    assert works.counters.get(REPORTS) == 1
    [ended] = [event for event in works.happened() if event["type"] == "Expiration"]
    assert ended["response"]["enhanced_code"] == "5.4.7"


async def test_a_deadline_that_only_tells_tells_once_and_the_message_goes_on(works: Works):
    script = {"MAIL": ["451 4.3.0 later"] * 6}
    async with Side(works, *EXTENSIONS, script=script) as side:
        works.post(somebody(), deliver_by=CLOCK.now_ms() - 1, by_mode="N")
        await works.until(DELIVERED, 3)
        assert len(side.mail) == 1
        # each goes its own way, perhaps by another connection
        assert sorted(fields(report)[1]["Action"] for report in side.reports) == ["delayed", "relayed"]


async def test_limits_of_the_host_are_kept(works: Works):
    async with Side(works, *EXTENSIONS, "LIMITS RCPTMAX=3 MAILMAX=2") as side:
        works.post(*[somebody(f"r{n}") for n in range(10)])
        await works.until(DELIVERED, 10)
        assert [len(each.recipients) for each in side.mail] == [3, 3, 3, 1]
        assert [len(remote.received) for remote in side.server.remotes] == [2, 2]


async def test_a_host_hears_of_no_more_domains_in_a_session_than_it_wants(works: Works):
    """RFC 9422 §4.3: a connection that has named its domains goes on with them, and ends with the first other one."""
    async with Side(works, *EXTENSIONS, "LIMITS RCPTDOMAINMAX=2") as side:
        for domain in "aabbacdc":
            works.post(Recipient(f"r@{domain}.example", f"{domain}.example"))
            await works.until(DELIVERED, len(side.mail) + 1)
        for remote in side.server.remotes:
            assert len({path for each in remote.received for path in each.recipients}) <= 2
        assert [len(remote.received) for remote in side.server.remotes] == [5, 3]
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_many_domains_at_once_for_a_host_that_wants_one_in_a_session(works: Works):
    async with Side(works, *EXTENSIONS, "LIMITS RCPTDOMAINMAX=1") as side:
        for n in range(30):
            works.post(Recipient(f"r{n}@{n % 5}.example", f"{n % 5}.example"))
        await works.until(DELIVERED, 30)
        for remote in side.server.remotes:
            assert len({path.partition("@")[2] for each in remote.received for path in each.recipients}) == 1
        works.delivery.drain()
        await works.connections_end()
    works.nothing_left()


async def test_a_priority_goes_on(works: Works):
    async with Side(works, *EXTENSIONS, "MT-PRIORITY") as side:
        works.post(somebody(), priority=-3)
        await works.until(DELIVERED, 1)
        assert side.mail[0].mail.endswith(" MT-PRIORITY=-3")


async def test_an_address_behind_an_alias_that_needs_utf8_is_no_reason_to_stop(works: Works, caplog):
    async with Side(works, *EXTENSIONS):
        works.post(Recipient("ü@b.example", "b.example"))
        await works.until(FAILED, 1)
    assert "internal error" not in caplog.text
