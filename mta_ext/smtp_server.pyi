"""The SMTP and LMTP server session (RFC 5321, 1870, 1652/6152, 2033, 2034, 2920), sans-IO."""

from typing import Protocol

from mta_ext.content import Content
from mta_ext.deciding import DecidingSession, Verdict
from mta_ext.envelope import MailParameters, RcptParameters

class SmtpServerHandler(Protocol):
    """Policy, as ``mta_ext.deciding`` describes it; 4yz and 5yz refuse, 421 closes too.

    Each transaction that ``on_mail`` did not refuse ends with exactly one of ``on_content``, ``on_refused_content``
    and ``on_reset``. When a call-back raises the reply is ``451 4.3.0 internal error`` (after the end of content, when
    ``on_piece`` raised), the transaction is gone (``on_reset``), and the session goes on."""

    def on_hello(self, verb: str, name: str) -> Verdict:
        """``verb`` is EHLO or HELO; with LMTP LHLO. None: the session sends its own reply with the extensions."""
    def on_mail(
        self, reverse_path: str, domain: str, size: int, eight_bit: bool, parameters: MailParameters | None
    ) -> Verdict:
        """``reverse_path`` without brackets and source route, "" for the null path; ``size`` as declared, else 0;
        ``parameters``: None when there was none beyond SIZE and BODY=7BIT or 8BITMIME."""
    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> Verdict:
        """``domain`` is lower case; for a bare ``postmaster`` (which stays bare) the session's own host name;
        ``parameters``: None when there was none."""
    def on_data(self) -> Verdict:
        """At least one recipient stands. None: 354."""
    def on_piece(self, data: bytes) -> None:
        """Large content only: the octets so far, in order, each call at least 256 KiB."""
    def on_content(self, content: Content) -> Verdict:
        """End of content (CRLF.CRLF) of an acceptable message. The normal answer is PENDING, settled by the spool.
        LMTP: octets are the replies to all accepted recipients, in the order of RCPT and one behind the other; as many
        as recipients, or fewer when the last of them is a 421, which speaks for all that are left. Any other number
        is an error of the handler, and each recipient hears 451 4.3.0. None: 250 for each."""
    def on_refused_content(self) -> None:
        """End of content that the session itself refused (bare CR or LF, too large, …); streamed pieces are void.
        LMTP says the refusal to each recipient."""
    def on_reset(self) -> None:
        """RSET, a second EHLO, QUIT, eof, close or a refused DATA took away an open transaction (also in the middle
        of content, and while ``on_mail`` is pending). Not after ``on_content``: what was handed over goes its way."""

class SmtpServerSession(DecidingSession):
    """Limits in octets, line ends included, contents unstuffed. ``errors``: 5yz replies since the last accepted
    content; one more and the session says 421. ``extensions``: what EHLO offers; others than the default ones are
    said but not understood. The host name is ASCII. ``lmtp``: RFC 2033, the same call-backs.
    ``shut`` and ``eof`` reset an open transaction; ``idle``: none is open."""

    def __init__(
        self,
        handler: SmtpServerHandler,
        hostname: str,
        *,
        message_size: int = 52_428_800,
        recipients: int = 1000,
        command_line: int = 2048,
        content_line: int = 65_536,
        header_section: int = 1_048_576,
        errors: int = 20,
        hops: int = 50,
        stream_above: int = 1_048_576,
        lmtp: bool = False,
        extensions: tuple[str, ...] = ("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"),
    ) -> None: ...
    @property
    def hello_name(self) -> str: ...
    @property
    def esmtp(self) -> bool:
        """The peer said EHLO or LHLO."""
