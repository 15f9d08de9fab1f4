"""A policy for POP3 sessions with a maildrop of three messages, and ways to play octets to a session.

Owns: the rules that the dialogues rely on. A user's name tells what happens at the login: ``wrong``, ``busy``,
``later`` and ``delayed`` are refused, each with its response code; ``raises`` raises; ``forgets`` says yes without a
maildrop; ``empty`` has no message; any other may log in with any password, ``waits`` through PENDING. A name that ends
in ``-quit-fails`` hears -ERR at QUIT. SASL takes PLAIN, LOGIN, and a mechanism SCRAM-SHA-256 of two challenges that
computes nothing. Never does: assertions.
"""

import base64
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mta_ext.deciding import Verdict
from mta_ext.pop3_server import Pop3ServerSession
from mta_ext.session import PENDING

REFUSALS = {
    "wrong": b"-ERR [AUTH] wrong name or password\r\n",
    "busy": b"-ERR [IN-USE] maildrop is in use\r\n",
    "later": b"-ERR [SYS/TEMP] not now\r\n",
    "delayed": b"-ERR [LOGIN-DELAY] too soon\r\n",
}
#: As pieces; sizes are told without dots, and the last message has no line end of its own.
MESSAGES = [
    [b"Return-Path: <a@b.example>\r\n", b"Subject: one\r\n\r\nHello\r\n.dot\r\n..\r\n"],
    [b"Subject: two\r", b"\n", b"\r", b"\nline 1\r\nline", b" 2\r\nline 3\r\n"],
    [b"Subject: three\r\n\r\nno line end"],
]
UNIQUE_IDS = (1 << 60, (1 << 60) + 1, (1 << 60) + 40)


class PolicyBroke(Exception):
    """What the handler raises on purpose."""


class Pop3Handler:
    """``calls``: names and arguments in order. ``pulled``: pieces that were asked for."""

    def __init__(self, *, pending: bool = False) -> None:
        self.session: Pop3ServerSession
        self.calls: list[tuple[Any, ...]] = []
        self.deletes: list[list[int]] = []
        self.errors: list[Exception] = []
        self.waiting: list[tuple[bytes | None, str | None]] = []
        self.pending = pending
        self.pulled = 0
        self.messages: list[list[bytes]] = MESSAGES
        self.user = ""

    def on_login(self, user: str, password: str) -> Verdict:
        self.calls.append(("login", user, password))
        return self._login(user)

    def on_sasl(self, mechanism: str, response: bytes | None) -> Verdict:
        step = self.session.exchange_step
        self.calls.append(("sasl", mechanism, response, step))
        if mechanism == "PLAIN":
            return self._challenge(b"") if response is None else self._login(response.split(b"\0")[1].decode())
        if response is None:
            return self._challenge(b"Username:")
        if step == 0 or (step == 1 and self.calls[-2][2] is None):
            self.user = response.decode()
            return self._challenge(b"Password:")
        return self._login(self.user)

    def on_retrieve(self, index: int) -> Iterator[bytes] | bytes:
        self.calls.append(("retrieve", index))
        return self._pieces(self.messages[index])

    def on_quit(self, deleted: list[int]) -> Verdict:
        self.calls.append(("quit", deleted))
        self.deletes.append(deleted)
        if self.user.startswith("raises-at-quit"):
            raise PolicyBroke(self.user)
        return self._verdict(b"-ERR [SYS/TEMP] nothing removed\r\n" if self.user.endswith("-quit-fails") else None)

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)

    def _pieces(self, message: list[bytes]) -> Iterator[bytes]:
        for piece in message:
            self.pulled += 1
            yield piece

    def _login(self, user: str) -> Verdict:
        self.user = user
        if user == "raises":
            raise PolicyBroke(user)
        refusal = next((REFUSALS[key] for key in REFUSALS if user.startswith(key)), None)
        return self._verdict(refusal, None if refusal or user == "forgets" else user)

    def _challenge(self, text: bytes) -> Verdict:
        return self._verdict(b"+ %b\r\n" % base64.b64encode(text))

    def _verdict(self, reply: bytes | None, user: str | None = None) -> Verdict:
        if self.pending or self.user.startswith("waits"):
            self.waiting.append((reply, user))
            return PENDING
        self._open(user)
        return reply

    def _open(self, user: str | None) -> None:
        if user is not None:
            messages = [] if user == "empty" else self.messages
            sizes = array("Q", (sum(map(len, message)) for message in messages))
            self.session.open_maildrop(sizes, array("Q", UNIQUE_IDS[: len(messages)]))

    def settle(self) -> None:
        """Answer what is pending, and what becomes pending by that."""
        while self.session.pending:
            reply, user = self.waiting.pop(0)
            self._open(user)
            self.session.answer(reply)


def take_all(session: Pop3ServerSession) -> bytes:
    """As a shell whose peer reads everything at once."""
    output = [session.take_output()]
    while session.go_on():
        output.append(session.take_output())
    return b"".join(output)


def play(session: Pop3ServerSession, handler: Pop3Handler, pieces: Iterable[bytes]) -> bytes:
    """Feed the pieces in order, settle decisions late; the whole transcript of what was put out."""
    transcript = [take_all(session)]
    for piece in pieces:
        session.feed(piece)
        handler.settle()
        transcript.append(take_all(session))
        while session.pending:
            handler.settle()
            transcript.append(take_all(session))
    return b"".join(transcript)


def new_session(make: Callable[[], Pop3Handler] = Pop3Handler, **options: Any) -> tuple[Pop3ServerSession, Pop3Handler]:
    handler = make()
    options = {"plaintext_login": True, "mechanisms": ("PLAIN", "LOGIN", "SCRAM-SHA-256")} | options
    handler.session = Pop3ServerSession(handler, "hermes.example", **options)
    return handler.session, handler


def logged_in(
    data: bytes = b"", make: Callable[[], Pop3Handler] = Pop3Handler, user: bytes = b"paula", **options: Any
) -> tuple[Pop3ServerSession, Pop3Handler]:
    """A session in TRANSACTION that has read ``data``, its output taken."""
    session, handler = new_session(make, **options)
    session.greet()
    play(session, handler, [b"USER %b\r\nPASS secret\r\n" % user + data])
    return session, handler
