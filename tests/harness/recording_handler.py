"""A policy for SMTP server sessions that remembers what it was asked, and ways to play octets to a session.

Owns: the rules that the dialogues rely on: a local part tells what happens. ``refused``, ``later``, ``raises`` and
``closing`` refuse with 550 or 451, raise, or say 421; ``waits`` is answered through PENDING. In LMTP ``full`` and
``shutdown`` are accepted by RCPT and refused behind the content. Never does: assertions.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from mta_ext.content import Content
from mta_ext.deciding import Verdict
from mta_ext.envelope import MailParameters, RcptParameters
from mta_ext.session import PENDING
from mta_ext.smtp_server import SmtpServerSession

REFUSALS = {
    "refused": b"550 5.1.1 no such user\r\n",
    "later": b"451 4.2.1 not now\r\n",
    "closing": b"421 4.3.2 going down\r\n",
}


#: LMTP: what a recipient hears behind the content.
DELIVERIES = {
    "full": b"552 5.2.2 mailbox full\r\n",
    "verbose": b"250-2.1.5 delivered\r\n250 2.1.5 with a word more\r\n",
    "shutdown": b"421 4.3.2 going down\r\n",
    "missing": b"",
}

#: To AUTH without an initial response.
CHALLENGES = {"PLAIN": b"334 \r\n", "LOGIN": b"334 VXNlcm5hbWU6\r\n"}


class PolicyBroke(Exception):
    """What the handler raises on purpose."""


class RecordingHandler:
    """``calls``: names and arguments in order; ``parameters``: those of MAIL and RCPT, which are in no call.
    ``contents``: whole contents, streamed pieces included."""

    def __init__(self, *, pending: bool = False) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.parameters: list[MailParameters | RcptParameters | None] = []
        self.contents: list[bytes] = []
        self.facts: list[dict[str, Any]] = []
        self.errors: list[Exception] = []
        self.pieces: list[bytes] = []
        self.waiting: list[bytes | None] = []
        self.pending = pending
        #: What is PENDING is answered before the call-back has returned.
        self.early = False
        self.content_reply: bytes | None = None
        self.starttls_reply: bytes | None = None
        self.session: SmtpServerSession

    def _verdict(self, name: str, reply: bytes | None = None) -> Verdict:
        if name.startswith("raises"):
            raise PolicyBroke(name)
        reply = next((REFUSALS[key] for key in REFUSALS if name.startswith(key)), reply)
        if self.pending or name.startswith("waits"):
            if self.early:
                self.session.answer(reply)
            else:
                self.waiting.append(reply)
            return PENDING
        return reply

    def on_hello(self, verb: str, name: str) -> Verdict:
        self.calls.append(("hello", verb, name))
        return self._verdict(name)

    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> Verdict:
        self.calls.append(("mail", reverse_path, domain, size, eight_bit))
        self.parameters.append(parameters)
        return self._verdict(reverse_path)

    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> Verdict:
        self.calls.append(("rcpt", forward_path, domain))
        self.parameters.append(parameters)
        self._last = forward_path
        return self._verdict(forward_path)

    def on_data(self) -> Verdict:
        self.calls.append(("data",))
        name = self._last.removeprefix("nodata-")
        return self._verdict(name if name != self._last else "")

    def on_sasl(self, mechanism: str, response: bytes | None) -> Verdict:
        """The password of everybody is ``secret``; the name tells more, as a local part does."""
        self.calls.append(("sasl", mechanism, response))
        if response is None:
            return self._verdict("", CHALLENGES[mechanism])
        if mechanism == "LOGIN" and self.session.exchange_step < 2:
            self._user = response
            return self._verdict("", b"334 UGFzc3dvcmQ6\r\n")
        user, password = (self._user, response) if mechanism == "LOGIN" else response.split(b"\0")[1:3]
        if password != b"secret":
            return self._verdict("", b"535 5.7.8 wrong name or password\r\n")
        if user != b"nameless":
            self.session.log_in(user.decode())
        return self._verdict(user.decode())

    def on_starttls(self) -> Verdict:
        self.calls.append(("starttls",))
        return self._verdict("", self.starttls_reply)

    def on_verify(self, text: str) -> Verdict:
        self.calls.append(("verify", text))
        return self._verdict(text, b"250 2.1.5 <john@server.example>\r\n" if text.startswith("john") else None)

    def on_expand(self, text: str) -> Verdict:
        self.calls.append(("expand", text))
        return self._verdict(text, b"250-2.1.5 <a@b>\r\n250 2.1.5 <c@d>\r\n" if text.startswith("staff") else None)

    def on_etrn(self, text: str) -> Verdict:
        self.calls.append(("etrn", text))
        return self._verdict(text, b"250 2.0.0 queuing started\r\n" if "mail" in text else None)

    def on_xclient(self, attributes: dict[str, str]) -> Verdict:
        self.calls.append(("xclient", attributes))
        if "LOGIN" in attributes:
            self.session.log_in(attributes["LOGIN"])
        return self._verdict(attributes.get("HELO", ""))

    def on_xforward(self, attributes: dict[str, str]) -> Verdict:
        self.calls.append(("xforward", attributes))
        return self._verdict(attributes.get("HELO", ""))

    def on_piece(self, data: bytes) -> None:
        self.pieces.append(data)
        if self._last.startswith("nopiece-"):
            raise PolicyBroke("piece")

    def on_content(self, content: Content) -> Verdict:
        self.calls.append(("content", content.size))
        self.facts.append(
            {
                name: getattr(content, name)
                for name in (
                    "size",
                    "streamed",
                    "dotted",
                    "eight_bit",
                    "hops",
                    "has_date",
                    "has_message_id",
                    "message_id",
                )
            }
        )
        self.contents.append(b"".join(self.pieces) + content.joined(b""))
        self.pieces.clear()
        return self._verdict(
            self._last.removeprefix("nocontent-") if "nocontent" in self._last else "", self.content_reply
        )

    def on_refused_content(self) -> None:
        self.calls.append(("refused",))
        self.pieces.clear()

    def on_reset(self) -> None:
        self.calls.append(("reset",))
        self.pieces.clear()

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)


class LmtpHandler(RecordingHandler):
    """Answers the content once for each accepted recipient, as his local part says."""

    def __init__(self, *, pending: bool = False) -> None:
        super().__init__(pending=pending)
        self.accepted: list[str] = []

    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> Verdict:
        self.accepted.clear()
        return super().on_mail(reverse_path, domain, size, eight_bit, parameters)

    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> Verdict:
        verdict = super().on_rcpt(forward_path, domain, parameters)
        if not forward_path.startswith(tuple(REFUSALS)):
            self.accepted.append(forward_path)
        return verdict

    def on_content(self, content: Content) -> Verdict:
        self.content_reply = b"".join(self._delivery(path) for path in self.accepted)
        return super().on_content(content)

    def _delivery(self, path: str) -> bytes:
        return next(
            (DELIVERIES[key] for key in DELIVERIES if path.startswith(key)), b"250 2.1.5 %b\r\n" % path.encode()
        )


def settle(session: SmtpServerSession, handler: RecordingHandler) -> None:
    """Answer what is pending, and what becomes pending by that."""
    while session.pending:
        session.answer(handler.waiting.pop(0))


def play(session: SmtpServerSession, handler: RecordingHandler, pieces: Iterable[bytes]) -> bytes:
    """Greet, feed the pieces in order, settle decisions late; the whole transcript of replies."""
    session.greet()
    return session.take_output() + carry_on(session, handler, pieces)


def carry_on(session: SmtpServerSession, handler: RecordingHandler, pieces: Iterable[bytes]) -> bytes:
    """The same without the greeting."""
    transcript = []
    for piece in pieces:
        session.feed(piece)
        settle(session, handler)
        transcript.append(session.take_output())
    return b"".join(transcript)


def octet_by_octet(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` cut at these offsets (taken modulo its length)."""
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def new_session(
    make: Callable[[], RecordingHandler] = RecordingHandler, **limits: Any
) -> tuple[SmtpServerSession, RecordingHandler]:
    """Not ``in_step`` unless it says so: most tests feed whole conversations at once."""
    handler = make()
    handler.session = SmtpServerSession(handler, "hermes.example", **{"in_step": False} | limits)
    return handler.session, handler
