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
        self.content_reply: bytes | None = None

    def _verdict(self, name: str, reply: bytes | None = None) -> Verdict:
        if name.startswith("raises"):
            raise PolicyBroke(name)
        reply = next((REFUSALS[key] for key in REFUSALS if name.startswith(key)), reply)
        if self.pending or name.startswith("waits"):
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
    transcript = [session.take_output()]
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
    return SmtpServerSession(handler, "hermes.example", **{"in_step": False} | limits), handler
