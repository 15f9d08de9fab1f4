"""Plays a recorded session to hooks, without a server: what each of them says at each stage.

Owns: the reading of a record, and a session whose only policy are the hooks. Never does: sockets, queue, limits or the
rules of relaying; nothing that is said here goes anywhere.

A record is a text file. ``C: text``: a line of the client, CRLF added; ``c: text``: octets of the client with Python's
backslash escapes, nothing added; ``from: address``: whose they are. Every other line is a remark (``S:`` lines too).
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from mta.errors import DataError
from mta.policy.hooks import Accept, Connection, Defer, Discard, Hello, Mail, Rcpt, Redirect, Reject
from mta.policy.hooks import Content as WholeContent
from mta.services.hooking import Hooks, Said, asked
from mta_ext.content import Content
from mta_ext.session import PENDING, _Pending
from mta_ext.smtp_server import SmtpServerSession

#: Where a record does not say whose it is: an address for documentation (RFC 5737).
SOMEBODY: Final = "192.0.2.1"
#: Octets above which a hook gets content in pieces, as in a server.
LARGE: Final = 1 << 20
_HOSTNAME: Final = "replay.invalid"


class Step(NamedTuple):
    """``who``: a hook, or "C" or "S" for what client and server say. ``stage``: "" for those."""

    stage: str
    who: str
    said: str


class Record(NamedTuple):
    address: str
    client: list[bytes]


def read_record(text: str) -> Record:
    """Raises DataError when the client says nothing in it, or what it says cannot be read."""
    address, client = SOMEBODY, []
    for number, line in enumerate(text.splitlines(), 1):
        key, _, said = line.partition(":")
        said = said.removeprefix(" ")
        if key == "C":
            client.append(said.encode() + b"\r\n")
        elif key == "c":
            try:
                client.append(said.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1"))
            except ValueError as error:
                raise DataError(f"line {number}: {error}") from None
        elif key == "from":
            address = said.strip()
    if not client:
        raise DataError('no line of a client in it: they begin with "C: "')
    return Record(address, client)


class _Asker:
    """The handler of the session: keeps the question, so that it can be put to hooks that wait."""

    def __init__(self, address: str) -> None:
        self.session: SmtpServerSession
        self.question: tuple[str, Any] = ("connect", Connection(address, "replay", known=False))
        self._connection = self.question[1]
        self._mail: Mail
        self.recipients: list[str] = []

    def on_hello(self, verb: str, name: str) -> _Pending:
        return self._ask("hello", Hello(self._connection, verb, name))

    def on_mail(self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: object) -> _Pending:
        self.recipients = []
        self._mail = Mail(self._connection, self.session.hello_name, reverse_path, size, "")
        return self._ask("mail", self._mail)

    def on_rcpt(self, forward_path: str, domain: str, parameters: object) -> _Pending:
        return self._ask("rcpt", Rcpt(self._mail, forward_path, domain))

    def on_data(self) -> None:
        return None

    def on_content(self, content: Content) -> _Pending:
        octets, recipients = content.joined(b""), tuple(self.recipients)
        if len(octets) <= LARGE:
            return self._ask("content", WholeContent(self._mail, recipients, content.size, octets))
        return self._ask("content", WholeContent(self._mail, recipients, content.size, None, partial(_pieces, octets)))

    def on_piece(self, data: bytes) -> None:
        """Nothing is streamed: the limit is that of the whole message."""

    def on_refused_content(self) -> None:
        """The session has said why."""

    def on_reset(self) -> None:
        self.recipients = []

    def _ask(self, stage: str, value: object) -> _Pending:
        self.question = (stage, value)
        return PENDING


def _pieces(octets: bytes) -> Iterator[bytes]:
    return (octets[at : at + 65_280] for at in range(0, len(octets), 65_280))


async def replay(policies: Sequence[tuple[str, object, float]], record: Record) -> AsyncIterator[Step]:
    """``policies``: name, object, time-out. Every hook is asked, also behind one that has decided; the reply is that of
    the first who did."""
    hooks = [Hooks([policy]) for policy in policies]
    asker = _Asker(record.address)
    session = asker.session = SmtpServerSession(asker, _HOSTNAME, stream_above=1 << 40)
    steps: list[Step] = []
    refusal = await _question(hooks, asker, steps)
    if refusal is None:
        session.greet()
    else:
        session.shut(refusal)
    for step in (*steps, *_replies(session)):
        yield step
    for octets in record.client:
        if session.closing:
            return
        yield Step("", "C", octets.decode("utf-8", "backslashreplace").rstrip("\r\n"))
        session.feed(octets)
        while session.pending:
            steps = []
            session.answer(await _question(hooks, asker, steps))
            for step in steps:
                yield step
        for step in _replies(session):
            yield step


async def _question(hooks: Sequence[Hooks], asker: _Asker, steps: list[Step]) -> bytes | None:
    """Puts the question to every hook; the reply that follows."""
    stage, value = asker.question
    answered, reply, taken = False, None, True
    for one in hooks:
        if not one.wants(stage):
            continue
        said = await asked(one, stage, value)
        steps.append(Step(stage, one.names[0], spoken(said)))
        if answered:
            continue
        answered = said.failed or said.decision is not None
        if said.failed:
            reply = b"451 4.3.0 policy is out of order, try again later\r\n"
        elif isinstance(said.decision, Reject | Defer):
            reply = said.decision.reply
        taken = not isinstance(said.decision, Discard)
    if stage == "rcpt" and reply is None and taken:
        asker.recipients.append(value.recipient)
    return reply


def _replies(session: SmtpServerSession) -> list[Step]:
    return [Step("", "S", line) for line in session.take_output().decode().splitlines()]


def spoken(said: Said) -> str:
    """What a hook said, for people."""
    fields = [f"adds {name}: {value}" for added in said.fields for name, value in added.fields]
    if said.failed:
        return "failed, see above"
    decision = said.decision
    if isinstance(decision, Reject | Defer):
        kind = "rejects" if isinstance(decision, Reject) else "defers"
        fields.append(f"{kind}: {decision.reply.decode().rstrip()}")
    elif isinstance(decision, Redirect):
        fields.append(f"redirects to {decision.recipient}")
    elif isinstance(decision, Discard):
        fields.append("discards")
    elif isinstance(decision, Accept):
        fields.append("accepts")
    return ", ".join(fields) or "no opinion"
