"""The SMTP client session (RFC 5321 with PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES, CHUNKING, BINARYMIME,
SMTPUTF8, STARTTLS, AUTH; LMTP as well), sans-IO.

Two cursors over one plan: what is sent runs ahead where PIPELINING allows, what is received pops expected replies.
With PIPELINING the end of content and the next transaction's MAIL, RCPT… and DATA leave in one write (RFC 2920 §3.1
lets commands follow the end of content in the same group), so that a warm connection costs one round trip a message.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from mta_ext.reply import Reply
from mta_ext.session import LineSession

class SmtpClientHandler(Protocol):
    """The delivery shell. Calls come on the loop thread, from inside ``feed``, ``eof`` and ``timed_out``; from inside
    ``take_output`` come ``on_room`` and, when content cannot be read, ``on_trouble``."""

    def on_ready(self) -> None:
        """Greeting, EHLO (or HELO), STARTTLS and AUTH, as far as wanted, are done: ``deliver`` may be called (also from
        inside this call)."""
    def on_room(self) -> None:
        """One more transaction may be given (also from inside this call): the connection is idle, or PIPELINING is
        on and the content of the only outstanding transaction has just been put out whole."""
    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        """A transaction ended with replies. ``stage``: MAIL, RCPT, DATA or DOT, where it was decided, and ``reply``
        what decided it (for RCPT: every recipient was refused; ``reply`` is the first of them).
        ``recipients``: the reply to each RCPT in order, or None when all were positive (and for stage MAIL).
        LMTP, stage DOT: always a list, in it the reply to the end of content for each recipient that RCPT accepted;
        ``reply`` is the last of these. A 421 among them, behind others, speaks for all that are left; where the session
        ends between them, a reply with code 0 stands for each that did not come, and says why (UNCERTAIN)."""
    def on_trouble(self, stage: str, reply: Reply | None, reason: str, transactions: list[tuple[object, bool]]) -> None:
        """The session ends without more outcomes: refused greeting or EHLO, 421, nonsense, lost connection, deadline.
        ``stage``: GREETING, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, CONTENT, DOT, IDLE or QUIT. ``transactions``: those
        without an outcome, oldest first, each with True when its end of content was put out and no reply came
        (UNCERTAIN).
        ``reply``: 421, what refused the greeting, EHLO or RSET, or a refusal while content was still going out; None
        for all else, then ``reason`` (one line, for an operator) quotes what came.
        Called at most once; never after ``quit`` with nothing outstanding."""

class Exchange(Protocol):
    """A login under way (``mta.policy.sasl_client``). Nothing here knows base64."""

    @property
    def name(self) -> str: ...
    @property
    def finished(self) -> bool:
        """Whether the remote has shown all that the mechanism wants of it."""
    def step(self, challenge: bytes | None) -> bytes | None:
        """The response to a challenge; to None the initial one, if the mechanism has one. None: there is no response.
        Raises ValueError for what cannot be a challenge."""

class SmtpClientSession(LineSession):
    """``starttls``: "none", "opportunistic" (where it is offered and not refused) or "required" (else on_trouble).
    ``secure``: TLS is there from the start. ``login``: gets the mechanisms that the remote offers ("" when none) and
    gives the exchange, or None when there is none that may be used (on_trouble, stage AUTH)."""

    def __init__(
        self,
        handler: SmtpClientHandler,
        ehlo_name: str,
        *,
        lmtp: bool = False,
        starttls: str = "none",
        secure: bool = False,
        login: Callable[[str], Exchange | None] | None = None,
        reply_line: int = 4096,
        reply_lines: int = 128,
    ) -> None: ...
    @property
    def extensions(self) -> dict[str, str]:
        """EHLO keyword (upper case) → its parameters ("" when none)."""
    @property
    def secure(self) -> bool: ...
    @property
    def wants_tls(self) -> bool:
        """STARTTLS has its 220: make the handshake, then ``tls_started``. What is fed before that is an injection."""
    def tls_started(self) -> None:
        """Under TLS: extensions are forgotten, and EHLO is in the output. RuntimeError when ``wants_tls`` is False."""
    @property
    def size_limit(self) -> int:
        """Octets by the SIZE extension; 0 when it is unlimited or unknown."""
    @property
    def room(self) -> bool: ...
    @property
    def outstanding(self) -> int:
        """Transactions without an outcome."""
    @property
    def stage(self) -> str:
        """Which reply is awaited (names as in ``on_trouble``): the shell's deadline depends on it."""
    @property
    def has_output(self) -> bool:
        """Call ``take_output`` and write (again after the transport has room): content is pulled in pieces."""
    def deliver(
        self,
        token: object,
        reverse_path: str,
        recipients: Sequence[str],
        content: bytes | Iterator[bytes],
        *,
        size: int,
        dotted: bool,
        eight_bit: bool = False,
        parameters: str = "",
        recipient_parameters: Sequence[str] | None = None,
        binary: bool = False,
        smtputf8: bool = False,
    ) -> None:
        """``content`` unstuffed; ``size`` its octets, for MAIL SIZE=. ``dotted`` False: goes out as it is. A missing
        CRLF at the end is added. ``parameters``: more of MAIL, words with a space between; ``recipient_parameters``:
        those of each RCPT, "" for none. ``smtputf8``: said in MAIL, and paths may hold UTF-8; that the remote offers
        it is the caller's to know, and so it is for ``parameters``.

        From 1 MiB on, and always with ``binary``, content goes as one BDAT chunk to a remote with CHUNKING: octets as
        given, and ``size`` of them, or the session ends (``on_trouble``, stage CONTENT).

        Raises RuntimeError when there is no ``room``; ValueError for no recipients, for a path or parameter with a
        control or (without ``smtputf8``) an 8-bit character, for a path with an unquoted space, < or >, for binary
        content to a remote without BINARYMIME. An 8-bit message to a remote without 8BITMIME is sent as it is: see
        ``mta.policy.offer``."""
    def take_output(self) -> bytes:
        """One write: commands and content joined up to about 256 KiB; call again while ``has_output``. Content from
        64 KiB without dots is not copied: it comes as the object that was given. Asks the iterator for no more than
        this write needs; what it raises ends the session (``on_trouble``, stage CONTENT), with no end of content."""
    def quit(self) -> None:
        """QUIT after what is outstanding; the session closes on its reply, or at once when nothing was said yet."""
    def eof(self) -> None: ...
    def timed_out(self) -> None:
        """The deadline of ``stage`` passed: on_trouble, then closing."""
