"""Hooks: what a policy written by somebody else is asked, in which words, and what it may answer. A stable interface.

Owns: the values and the shape of a policy. Never does: load or call one (``mta.services.hooking``).

A policy is any object; those of the methods of ``Policy`` that it has are called, each with one value. A method may be
a coroutine function: then the session waits for it, and nobody else does, ``timeout`` of its ``[[hook]]`` at most.
The answers:

* None: no opinion, the next hook is asked; ``AddHeaders`` as well, and the fields are kept.
* ``Accept``: nobody behind this hook is asked at this stage. It lifts none of the server's own rules: who may not relay
  may not relay.
* ``Reject``, ``Defer``: the reply to the client. With 421 the connection is closed.
* ``Discard``: the client hears 250, and nothing follows: for a recipient at ``rcpt``, for the message at ``mail`` and
  ``content``.
* ``Redirect``: another recipient, at ``rcpt`` in place of this one, at ``content`` in place of all. It is routed as any
  other address and not asked about again. What the sender wanted to be told (RFC 3461) goes with it, as to whoever is
  behind an alias: NOTIFY, and the address the client named as ORCPT; in place of several, the NOTIFY of all of them.

What a hook raises, an answer that is not for its stage, and a time-out are ``451 4.3.0`` for the client and a line in
the log. ``queued``, ``delivered`` and ``failed`` are told, not asked: what they return or raise changes nothing.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from msgspec import Struct

_ENHANCED: Final = re.compile(r"([245])\.\d{1,3}\.\d{1,3}", re.ASCII)
_NAME: Final = re.compile(r"[!-9;-~]{1,76}", re.ASCII)
#: Characters of a reply's text (a reply line has 512 octets at most, RFC 5321 §4.5.3.1.5), and of one added field.
TEXT_LIMIT: Final = 400
FIELD_LIMIT: Final = 900
#: Fields that all hooks together may add to one message.
FIELDS_LIMIT: Final = 32


# What a policy is asked. New fields come at the end.


class Connection(Struct, frozen=True, gc=False):
    """A client has connected. ``session``: its id in the event log. ``known``: in ``relay.networks`` or ``allow``."""

    address: str
    session: str
    known: bool


class Hello(Struct, frozen=True, gc=False):
    """``verb``: EHLO or HELO."""

    connection: Connection
    verb: str
    name: str


class Mail(Struct, frozen=True, gc=False):
    """``sender``: the reverse-path, "" for <>. ``hello``: what the client calls itself. ``size``: as declared, 0: not.
    ``login``: who has logged in, "": nobody."""

    connection: Connection
    hello: str
    sender: str
    size: int
    login: str


class Rcpt(Struct, frozen=True, gc=False):
    """``domain``: that of the recipient, in lower case."""

    mail: Mail
    recipient: str
    domain: str


class Content(Struct, frozen=True):
    """The whole message has come. ``content``: its octets as the client sent them (CRLF line ends, no dots stuffed),
    without the trace field; None above 1 MiB: such a message is on the disk already, and ``pieces`` reads it there.
    Everything may be answered to either; fields are added to both."""

    mail: Mail
    recipients: tuple[str, ...]
    size: int
    content: bytes | None
    reader: Callable[[], Iterator[bytes]] | None = None

    def pieces(self) -> Iterator[bytes]:
        """The octets of a message of any size, from the beginning with each call: in one piece where ``content`` is
        there, else in pieces of 64 KiB at most, so that memory stays bounded. What was submitted is read from the disk
        as it will go out, with Date and without Bcc. A piece takes the loop's time, some 10 µs and what is done with
        it, so who reads through large messages should be a coroutine that awaits in between. Raises StorageError when
        the disk is in trouble, or the message is gone: after ``content`` was answered nothing of it may be there any
        more."""
        return self.reader() if self.content is None and self.reader is not None else iter((self.content or b"",))


class Outcome(Struct, frozen=True, gc=False):
    """What became of one recipient: queued, delivered or failed for good. ``code``, ``text``: what a host answered, 0
    and "" when none did; ``host``: which one."""

    id: str
    sender: str
    recipient: str
    size: int
    code: int = 0
    text: str = ""
    host: str = ""


# What it may answer.


class Accept(Struct, frozen=True, gc=False):
    """Ask nobody else at this stage."""


class _Refusal(Struct, frozen=True, gc=False):
    code: int
    enhanced: str
    text: str

    def _check(self, kind: int) -> None:
        found = _ENHANCED.fullmatch(self.enhanced)
        if self.code // 100 != kind or found is None or int(found[1]) != kind:
            raise ValueError(f"{self.code} {self.enhanced} is no reply {kind}yz {kind}.x.y")
        if len(self.text) > TEXT_LIMIT or not (self.text.isascii() and self.text.isprintable()):
            raise ValueError(f"the text of a reply is ASCII in one line, {TEXT_LIMIT} characters at most")

    @property
    def reply(self) -> bytes:
        return f"{self.code} {self.enhanced} {self.text}\r\n".encode()


class Reject(_Refusal, frozen=True, gc=False):
    """A refusal for good. Raises ValueError for what is no such reply."""

    code: int = 550
    enhanced: str = "5.7.1"
    text: str = "refused by policy"

    def __post_init__(self) -> None:
        self._check(5)


class Defer(_Refusal, frozen=True, gc=False):
    """A refusal for now: the client is to try again. Raises ValueError for what is no such reply."""

    code: int = 450
    enhanced: str = "4.7.1"
    text: str = "try again later"

    def __post_init__(self) -> None:
        self._check(4)


class Discard(Struct, frozen=True, gc=False):
    """Say 250, and throw it away."""


class AddHeaders(Struct, frozen=True, gc=False):
    """Fields (name, value) for the top of the message, in this order, below our trace field. Raises ValueError for what
    is no field: ASCII in one line, FIELD_LIMIT characters at most."""

    fields: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        for name, value in self.fields:
            if not _NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
                raise ValueError(f"{name!r}: {value!r} is no field of one line")
            if len(name) + len(value) > FIELD_LIMIT:
                raise ValueError(f"{name}: a field has {FIELD_LIMIT} characters at most")

    @property
    def octets(self) -> bytes:
        return "".join(f"{name}: {value}\r\n" for name, value in self.fields).encode()


class Redirect(Struct, frozen=True, gc=False):
    """``recipient``: local-part@domain, ASCII. Raises ValueError for what is none."""

    recipient: str

    def __post_init__(self) -> None:
        name, _, domain = self.recipient.rpartition("@")
        plain = self.recipient.isascii() and self.recipient.isprintable() and not set(" <>").intersection(name + domain)
        if not name or not domain or not plain or len(self.recipient) > 254:
            raise ValueError(f"{self.recipient!r} is no mailbox such as joe@minasi.example")


Opinion = Accept | Reject | Defer | Discard | AddHeaders | Redirect | None

#: What may be answered at each stage; the other three are told.
ANSWERS: Final[dict[str, tuple[type, ...]]] = {
    "connect": (Accept, Reject, Defer),
    "hello": (Accept, Reject, Defer),
    "mail": (Accept, Reject, Defer, Discard, AddHeaders),
    "rcpt": (Accept, Reject, Defer, Discard, AddHeaders, Redirect),
    "content": (Accept, Reject, Defer, Discard, AddHeaders, Redirect),
}
TOLD: Final = ("queued", "delivered", "failed")


class Policy(Protocol):
    """All a policy may have; whoever leaves a method out is not asked. Each may be a coroutine function. The object is
    made once per worker with ``options`` of its ``[[hook]]`` as keyword arguments, and is called in the loop's thread:
    what takes longer than a millisecond belongs into a coroutine that awaits."""

    def connect(self, connection: Connection) -> Opinion: ...
    def hello(self, hello: Hello) -> Opinion: ...
    def mail(self, mail: Mail) -> Opinion: ...
    def rcpt(self, rcpt: Rcpt) -> Opinion: ...
    def content(self, content: Content) -> Opinion: ...
    def queued(self, outcome: Outcome) -> None: ...
    def delivered(self, outcome: Outcome) -> None: ...
    def failed(self, outcome: Outcome) -> None: ...
