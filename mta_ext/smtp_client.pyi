"""The SMTP client session (RFC 5321 with PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES), sans-IO.

Two cursors over one plan: what is sent runs ahead where PIPELINING allows, what is received pops expected replies.
With PIPELINING the end of content and the next transaction's MAIL, RCPT… and DATA leave in one write (RFC 2920 §3.1
lets commands follow the end of content in the same group), so that a warm connection costs one round trip a message.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from mta_ext.reply import Reply
from mta_ext.session import LineSession

class SmtpClientHandler(Protocol):
    """The delivery shell. Calls come on the loop thread, from inside ``feed``, ``eof`` and ``timed_out``; from inside
    ``take_output`` come ``on_room`` and, when content cannot be read, ``on_trouble``."""

    def on_ready(self) -> None:
        """Greeting and EHLO (or HELO) are done: ``deliver`` may be called (also from inside this call)."""
    def on_room(self) -> None:
        """One more transaction may be given (also from inside this call): the connection is idle, or PIPELINING is
        on and the content of the only outstanding transaction has just been put out whole."""
    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        """A transaction ended with replies. ``stage``: MAIL, RCPT, DATA or DOT, where it was decided, and ``reply``
        what decided it (for RCPT: every recipient was refused; ``reply`` is the first of them).
        ``recipients``: the reply to each RCPT in order, or None when all were positive (and for stage MAIL).
        LMTP, stage DOT: always a list, in it the reply to the end of content for each recipient that RCPT accepted;
        ``reply`` is the last of these. A 421 among them, behind others, speaks for all that are left."""
    def on_trouble(self, stage: str, reply: Reply | None, reason: str, transactions: list[tuple[object, bool]]) -> None:
        """The session ends without more outcomes: refused greeting or EHLO, 421, nonsense, lost connection, deadline.
        ``stage``: GREETING, EHLO, MAIL, RCPT, DATA, CONTENT, DOT, IDLE or QUIT. ``transactions``: those without an
        outcome, oldest first, each with True when its end of content was put out and no reply came (UNCERTAIN).
        ``reply``: 421, what refused the greeting, EHLO or RSET, or a refusal while content was still going out; None
        for all else, then ``reason`` (one line, for an operator) quotes what came.
        Called at most once; never after ``quit`` with nothing outstanding."""

class SmtpClientSession(LineSession):
    def __init__(
        self,
        handler: SmtpClientHandler,
        ehlo_name: str,
        *,
        lmtp: bool = False,
        reply_line: int = 4096,
        reply_lines: int = 128,
    ) -> None: ...
    @property
    def extensions(self) -> dict[str, str]:
        """EHLO keyword (upper case) → its parameters ("" when none)."""
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
    ) -> None:
        """``content`` unstuffed; ``size`` its octets, for MAIL SIZE=. ``dotted`` False: goes out as it is. A missing
        CRLF at the end is added. Raises RuntimeError when there is no ``room``; ValueError for no recipients and for
        a path with a control, an 8-bit character or an unquoted space, < or >. An 8-bit message to a remote without
        8BITMIME is sent as it is (conversion is a later matter)."""
    def take_output(self) -> bytes:
        """One write: commands and content joined up to about 256 KiB; call again while ``has_output``. Content from
        64 KiB without dots is not copied: it comes as the object that was given. Asks the iterator for no more than
        this write needs; what it raises ends the session (``on_trouble``, stage CONTENT), with no end of content."""
    def quit(self) -> None:
        """QUIT after what is outstanding; the session closes on its reply, or at once when nothing was said yet."""
    def eof(self) -> None: ...
    def timed_out(self) -> None:
        """The deadline of ``stage`` passed: on_trouble, then closing."""
