"""The server sessions and their invariants: SMTP, LMTP, submission (logins and TLS) and POP3.

Owns: what must hold whatever a client sends, see ``cores``. Never does: choose octets.
"""

import itertools
import re
from collections.abc import Hashable
from random import Random
from typing import Any

from mta_ext.smtp_server import EXTENSIONS
from tests.fuzz.logins import MECHANISMS, LoginHandler
from tests.fuzz.ways import FLIGHT, Flights, alike, assert_no_bare_line_end, flights_of
from tests.harness import pop3_handler
from tests.harness.recording_handler import LmtpHandler, PolicyBroke, RecordingHandler, new_session, settle
from tests.harness.reference import count_ends

LIMITS = {
    "command_line": 512, "message_size": 2000, "content_line": 200, "header_section": 600, "hops": 3, "errors": 12,
    "recipients": 4, "stream_above": 300, "in_step": False,
}  # fmt: skip
_WITHOUT = ("STARTTLS", "AUTH", "REQUIRETLS", "FUTURERELEASE")
OFFERED = tuple(name for name in EXTENSIONS if name not in _WITHOUT)
OUT_OF_STEP = b"554 5.5.0 improper command pipelining\r\n"
_BAD_OCTET = b"500 5.5.2 NUL or 8-bit octet in a command\r\n"
_LAST_CHUNK = re.compile(rb"BDAT +\d+ +LAST", re.IGNORECASE)
_CODE = re.compile(rb"^\d{3}[ -]|^$")
#: Call-backs that come under TLS alone, unless logins in the clear are allowed.
SECURED = frozenset({"sasl"})
#: How a decision comes: from the call-back, by ``answer`` after it, or by ``answer`` while it runs.
_DECISIONS = ({}, {"pending": True}, {"pending": True, "early": True})


def converse(session: Any, handler: Any, flights: Flights) -> bytes:
    """Greeted; each flight in its pieces, and the handshake where it is asked for. The whole transcript."""
    transcript = [_taken(session, handler)]
    for pieces in flights:
        if session.wants_tls:
            session.tls_started()
            assert session.secure
            handler.before_tls = len(handler.calls)
            known = [getattr(session, name, "") for name in ("hello_name", "login_name")]
            assert known == ["", ""], "what was said before TLS is not forgotten"
        for piece in pieces:
            session.feed(piece)
            transcript.append(_taken(session, handler))
    return b"".join(transcript)


def _taken(session: Any, handler: Any) -> bytes:
    """Decisions are settled, and a client reads everything at once."""
    taken = []
    while True:
        if isinstance(handler, RecordingHandler):
            settle(session, handler)
        else:
            handler.settle()
        taken.append(session.take_output())
        if not session.pending and not session.go_on():
            return b"".join(taken)


def smtp(octets: bytes, random: Random) -> Hashable:
    return _receiving(octets, random, RecordingHandler, {"extensions": OFFERED, "in_step": random.random() < 0.2})


def lmtp(octets: bytes, random: Random) -> Hashable:
    return _receiving(octets, random, LmtpHandler, {"extensions": OFFERED[:10], "lmtp": True})


def submission(octets: bytes, random: Random) -> Hashable:
    """Everything is offered, every mechanism too."""
    options = {
        "extensions": EXTENSIONS, "mechanisms": MECHANISMS, "exchange": 400, "failed_logins": 3, "max_hold": 1000,
        "max_hold_until": "2027-01-01T00:00:00Z", "min_by": 60, "messages": random.choice((0, 2)),
        "secure": random.random() < 0.2, "tls_required": random.random() < 0.3,
        "plaintext_login": random.random() < 0.5, "in_step": random.random() < 0.2,
    }  # fmt: skip
    return _receiving(octets, random, LoginHandler, options)


def _receiving(octets: bytes, random: Random, make: type[RecordingHandler], options: dict[str, Any]) -> Hashable:
    options = LIMITS | options
    no_certificate = random.random() < 0.1

    def run(flights: Flights, decisions: dict[str, bool]) -> tuple[Any, ...]:
        session, handler = new_session(make, **options)
        handler.pending, handler.early = decisions.get("pending", False), decisions.get("early", False)
        handler.starttls_reply = b"454 4.7.0 no certificate\r\n" if no_certificate else None
        session.greet()
        transcript = converse(session, handler, flights)
        assert not [error for error in handler.errors if not _on_purpose(error)], handler.errors
        if isinstance(handler, LoginHandler):
            _check_logins(handler, options)
        return transcript, handler.contents, session.closing, session.pending

    results = [run(flights, decisions) for flights in flights_of(octets, random) for decisions in _DECISIONS]
    hasty = [result for result in results if result[2] and result[0].endswith((OUT_OF_STEP, _BAD_OCTET))]
    transcript, contents, closing, _ = alike([result for result in results if result not in hasty] or hasty[:1])
    for early, taken, _closing, _pending in hasty:
        # What stands behind a refused DATA is no command, whoever sent it in one piece; else all is the same so far.
        assert transcript.startswith(early.removesuffix(OUT_OF_STEP)) or early.startswith(
            transcript.removesuffix(OUT_OF_STEP)
        ), "the transcript depends on more than haste"
        assert contents[: len(taken)] == taken or taken[: len(contents)] == contents
    whole = octets.replace(FLIGHT, b"")
    ends = count_ends(whole) + len(_LAST_CHUNK.findall(whole))
    for said, taken, _closing, _pending in (*hasty, (transcript, contents, closing, False)):
        assert len(taken) <= ends, "more messages than ends of content"
        assert_no_bare_line_end(said)
        assert all(_CODE.match(line) for line in said.split(b"\r\n")), "a line that is no reply"
    return tuple(line[:9] for line in transcript.split(b"\r\n"))[-12:], len(contents), closing


def _on_purpose(error: Exception) -> bool:
    """Raised by the policy of the tests, or, in LMTP, said about one of its replies."""
    return isinstance(error, PolicyBroke) or str(error).endswith(("recipients", "b'' is no reply"))


def _check_logins(handler: LoginHandler, options: dict[str, Any]) -> None:
    """What must not be done before TLS was not, and what was said before it is forgotten."""
    clear = [] if options["secure"] else handler.calls[: handler.before_tls]
    secured = [] if handler.before_tls is None else handler.calls[handler.before_tls :]
    asked = {call[0] for call in clear}
    assert options["plaintext_login"] or not asked & SECURED, "a login in the clear"
    assert not options["tls_required"] or asked <= {"hello", "starttls"}
    # RFC 5321 §4.1.4: VRFY and EXPN may come before EHLO.
    unknown = itertools.takewhile(lambda name: name != "hello", (call[0] for call in secured))
    assert set(unknown) <= {"verify", "expand"}, "a command under TLS stands on what was said before it"
    assert not any(call[0] == "starttls" for call in secured)


def pop3(octets: bytes, random: Random) -> Hashable:
    """With STLS, where a password is not shown before it, or a password in the clear."""
    starttls = random.random() < 0.4
    options = {"starttls": starttls, "plaintext_login": not starttls or random.random() < 0.5}

    def run(flights: Flights, pending: bool) -> tuple[Any, ...]:
        session, handler = pop3_handler.new_session(lambda: pop3_handler.Pop3Handler(pending=pending), **options)
        session.greet()
        said = converse(session, handler, flights)
        early = handler.calls[: getattr(handler, "before_tls", None)]
        assert options["plaintext_login"] or not any(call[0] == "login" for call in early), "a password in the clear"
        return said, session.closing, handler.deletes, session.admitted

    said, closing, deletes, admitted = alike(
        [run(flights, late) for flights in flights_of(octets, random) for late in (False, True)]
    )
    assert_no_bare_line_end(said)
    removed = sum(map(len, deletes))
    assert removed <= octets.upper().count(b"DELE"), "more removed than was asked for"
    assert not removed or b"QUIT" in octets.upper(), "removed without QUIT"
    return tuple(line[:6] for line in said.split(b"\r\n"))[-12:], closing, admitted, removed
