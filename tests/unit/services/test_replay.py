"""A recorded session played to hooks: what is read, asked and shown."""

from typing import Any

import pytest

from mta.errors import DataError
from mta.policy.hooks import Accept, AddHeaders, Defer, Discard, Redirect, Reject
from mta.services.replay import Step, read_record, replay

RECORD = r"""A stranger and his message.
from: 198.51.100.7
S: 220 what was said then
C: EHLO stranger.example
C: MAIL FROM:<eve@stranger.example>
C: RCPT TO:<bob@ours.example>
C: RCPT TO:<trap@ours.example>
C: DATA
C: Subject: cheap potatoes
c: \r\n\xe9\r\n
C: .
C: QUIT
"""


class Curious:
    def connect(self, connection: Any) -> None:
        self.address = connection.address

    def rcpt(self, rcpt: Any) -> Any:
        return Discard() if rcpt.recipient.startswith("trap") else AddHeaders((("X-A", "1"), ("X-B", "2")))

    async def content(self, content: Any) -> Any:
        self.content_seen = content
        return Reject(554, "5.7.1", "no potatoes") if b"potatoes" in content.content else Accept()


class Late:
    def hello(self, hello: Any) -> Any:
        return Defer(450, "4.7.1", "later") if hello.name == "late.example" else None

    def content(self, content: Any) -> Any:
        return Redirect("joe@ours.example")


class Broken:
    def mail(self, mail: Any) -> Any:
        raise ValueError("no")


async def steps(record: str, *policies: object) -> list[Step]:
    named = [(type(policy).__name__, policy, 1.0) for policy in policies]
    return [step async for step in replay(named, read_record(record))]


async def test_every_hook_says_what_it_thinks_and_the_reply_is_that_of_the_first_who_decides():
    curious = Curious()
    found = await steps(RECORD, curious, Late())
    assert [(step.stage, step.who, step.said) for step in found if step.stage] == [
        ("connect", "Curious", "no opinion"),
        ("hello", "Late", "no opinion"),
        ("rcpt", "Curious", "adds X-A: 1, adds X-B: 2"),
        ("rcpt", "Curious", "discards"),
        ("content", "Curious", "rejects: 554 5.7.1 no potatoes"),
        ("content", "Late", "redirects to joe@ours.example"),
    ]
    assert curious.address == "198.51.100.7"
    assert curious.content_seen.recipients == ("bob@ours.example",)
    assert curious.content_seen.content == b"Subject: cheap potatoes\r\n\r\n\xe9\r\n"
    said = [step.said[:3] for step in found if step.who == "S" and step.said[3] == " "]
    assert said == ["220", "250", "250", "250", "250", "354", "554", "221"]
    assert [step.said for step in found if step.who == "C"][-1] == "QUIT"


async def test_a_refused_client_says_no_more():
    class Closed:
        def connect(self, connection: Any) -> Any:
            return Reject(554, "5.7.1", "never you")

    found = await steps(RECORD, Closed())
    assert [step.said for step in found] == ["rejects: 554 5.7.1 never you", "554 5.7.1 never you"]


async def test_a_hook_that_raises_is_seen_and_costs_a_451():
    found = await steps("C: EHLO a\nC: MAIL FROM:<>\n", Broken())
    assert found[-2:] == [
        Step("mail", "Broken", "failed, see above"),
        Step("", "S", "451 4.3.0 policy is out of order, try again later"),
    ]


@pytest.mark.parametrize("text", ["", "S: 220 nothing\n", "c: \\x\nC: QUIT\n", "c: \\u20ac\nC: QUIT\n"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(DataError):
        read_record(text)


class Reading:
    def content(self, content: Any) -> None:
        self.seen = content


async def test_large_content_is_given_as_a_server_gives_it():
    policy = Reading()
    lines = "".join(f"C: {'x' * 1000}\n" for _ in range(1100))
    await steps(RECORD.replace("C: .", f"{lines}C: ."), policy)
    seen = policy.seen
    assert seen.content is None
    assert max(map(len, seen.pieces())) <= 65_536
    assert len(b"".join(seen.pieces())) == seen.size > 1 << 20
