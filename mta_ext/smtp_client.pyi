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
    """The delivery shell. Calls come on the loop thread, from inside ``feed``, ``eof`` and ``timed_out``."""

    def on_ready(self) -> None:
        """Greeting and EHLO (or HELO) are done: ``deliver`` may be called (also from inside this call)."""
    def on_room(self) -> None:
        """One more transaction may be given (also from inside this call): the connection is idle, or PIPELINING is
        on and the content of the only outstanding transaction has just been put out whole."""
    def on_outcome(self, token: object, stage: str, reply: Reply, recipients: list[Reply] | None) -> None:
        """A transaction ended with replies. ``stage``: MAIL, RCPT, DATA or DOT, where it was decided, and ``reply``
        what decided it (for RCPT: every recipient was refused; ``reply`` is the first of them).
        ``recipients``: the reply to each RCPT in order, or None when all were positive (and for stage MAIL)."""
    def on_trouble(
        self, stage: str, reply: Reply | None, reason: str, transactions: list[tuple[object, bool]]
    ) -> None:
        """The session ends without more outcomes: refused greeting or EHLO, 421, nonsense, lost connection, deadline.
        ``stage``: GREETING, EHLO, MAIL, RCPT, DATA, CONTENT, DOT, IDLE or QUIT. ``transactions``: those without an
        outcome, oldest first, each with True when its end of content was put out and no reply came (UNCERTAIN).
        Called at most once; never after ``quit`` with nothing outstanding."""

class SmtpClientSession(LineSession):
    def __init__(self, handler: SmtpClientHandler, ehlo_name: str, *, lmtp: bool = False,
                 reply_line: int = 4096, reply_lines: int = 128) -> None: ...
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
        CRLF at the end is added. Raises RuntimeError when there is no ``room``; ValueError for a path with CR, LF or
        NUL. An 8-bit message to a remote without 8BITMIME is sent as it is (conversion is a later matter)."""
    def take_output(self) -> bytes:
        """One write: commands and content joined up to about 256 KiB; call again while ``has_output``."""
    def quit(self) -> None:
        """QUIT after what is outstanding; the session closes on its reply, or at once when nothing was said yet."""
    def eof(self) -> None: ...
    def timed_out(self) -> None:
        """The deadline of ``stage`` passed: on_trouble, then closing."""
