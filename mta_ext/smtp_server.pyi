"""The SMTP and LMTP server session, sans-IO: RFC 5321, 2033, and the extensions of RFC 1870, 1985, 2034, 2852, 2920,
3030, 3207, 3461, 4865, 4954, 6152, 6531, 6710, 8689 and 9422."""

from typing import Final, Protocol

from mta_ext.content import Content
from mta_ext.deciding import DecidingSession, Verdict
from mta_ext.envelope import MailParameters as MailParameters
from mta_ext.envelope import RcptParameters as RcptParameters

EXTENSIONS: Final[tuple[str, ...]]
"""All that a session can offer."""

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
        ``eight_bit``: BODY=8BITMIME or BINARYMIME;
        ``parameters``: None when there was none beyond SIZE and BODY=7BIT or 8BITMIME."""
    def on_rcpt(self, forward_path: str, domain: str, parameters: RcptParameters | None) -> Verdict:
        """``domain`` is lower case; for a bare ``postmaster`` (which stays bare) the session's own host name;
        ``parameters``: None when there was none."""
    def on_data(self) -> Verdict:
        """DATA, or the first BDAT; at least one recipient stands. None: 354, or with BDAT nothing yet. What BDAT is
        refused with is said behind the octets of its chunk."""
    def on_piece(self, data: bytes) -> None:
        """Large content only: the octets so far, in order, each call at least 256 KiB."""
    def on_content(self, content: Content) -> Verdict:
        """End of content (CRLF.CRLF, BDAT LAST) of an acceptable message. The normal answer is PENDING, settled by
        the spool.
        LMTP: octets are the replies to all accepted recipients, in the order of RCPT and one behind the other; as many
        as recipients, or fewer when the last of them is a 421, which speaks for all that are left. Any other number
        is an error of the handler, and each recipient hears 451 4.3.0. None: 250 for each."""
    def on_refused_content(self) -> None:
        """End of content, or of a chunk, that the session itself refused (bare CR or LF, too large, …); streamed pieces
        are void. LMTP says the refusal of whole content to each recipient."""
    def on_reset(self) -> None:
        """RSET, a second EHLO, QUIT, eof, close or a refused DATA took away an open transaction (also in the middle
        of content, and while ``on_mail`` is pending). Not after ``on_content``: what was handed over goes its way."""

class SmtpExtensionsHandler(SmtpServerHandler, Protocol):
    """What a handler may have too, each by itself. A method that is not there is as one that answers None, if nothing
    else is said."""

    def on_starttls(self) -> Verdict:
        """None: 220, and the shell finds ``wants_tls``. ``454 4.7.0`` where there is no certificate at the moment."""
    def on_sasl(self, mechanism: str, response: bytes | None) -> Verdict:
        """A step of AUTH, base64 taken off; ``mechanism`` in upper case, one of those offered; None: no initial
        response. ``session.exchange_step`` is 0 for AUTH itself, which begins anew whatever was before it, and then
        counts the responses. ``334 <base64>CRLF`` is a challenge; None or 235 is a login, after ``log_in``; all else a
        failed one. An exchange may also end unheard: cancelled, not base64, too long. Without this method: 502."""
    def on_verify(self, text: str) -> Verdict:
        """VRFY where it is offered. None: 252."""
    def on_expand(self, text: str) -> Verdict:
        """EXPN. None: 502."""
    def on_etrn(self, text: str) -> Verdict:
        """A domain, perhaps behind ``@`` or ``#``. None: 459."""
    def on_xclient(self, attributes: dict[str, str]) -> Verdict:
        """Names in upper case, values without xtext: addresses without their tag, ``[UNAVAILABLE]`` and
        ``[TEMPUNAVAIL]`` as they are. None: the session begins anew with 220; it takes the login that ``log_in`` told.
        Without this method: 550."""
    def on_xforward(self, attributes: dict[str, str]) -> Verdict:
        """The same for a log; the message that follows is meant. None: 250. Without this method: 550."""

class SmtpServerSession(DecidingSession):
    """Limits in octets, line ends included, contents unstuffed. ``errors``: 5yz replies since the last accepted
    content; one more and the session says 421. ``messages``: transactions in one session, 0: any number.
    ``lmtp``: RFC 2033, the same call-backs. The host name is ASCII. ``shut`` and ``eof`` reset an open transaction;
    ``idle``: none is open.

    ``extensions``: names from ``EXTENSIONS``, said by EHLO in this order; ValueError for others. One that is left
    out is not understood either: its parameters are 555, its commands 502, and without ENHANCEDSTATUSCODES no reply
    has an enhanced code, whoever worded it (handlers give them all the same: they are for the log). SMTPUTF8 needs
    8BITMIME, BINARYMIME CHUNKING, AUTH mechanisms, FUTURERELEASE ``max_hold`` (seconds) with ``max_hold_until``
    (RFC 3339, UTC). STARTTLS is said only while the session is not ``secure``, REQUIRETLS only then; AUTH
    then or with ``plaintext_login``. ``tls_required``: without TLS only EHLO, STARTTLS, NOOP, RSET, HELP and
    QUIT; else 530. ``mechanisms``: of SASL, in upper case. ``exchange``: octets of a whole AUTH exchange.
    ``failed_logins``: so many, and the session says 421. ``min_by``: the least number of seconds that DELIVERBY may
    ask for, mode R.

    ``in_step``: a peer whose octets are there although it had to wait for a reply hears ``554 5.5.0``, and the session
    closes: behind HELO and EHLO, DATA, AUTH and XCLIENT, and behind all but BDAT as long as PIPELINING was not offered
    to it (RFC 2920). Otherwise such input is kept and parsed later. Octets behind a DATA that is refused end the
    session in either case, as they would be content."""

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
        messages: int = 0,
        lmtp: bool = False,
        extensions: tuple[str, ...] = ("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"),
        in_step: bool = True,
        secure: bool = False,
        tls_required: bool = False,
        plaintext_login: bool = False,
        mechanisms: tuple[str, ...] = (),
        exchange: int = 12_288,
        failed_logins: int = 3,
        max_hold: int = 0,
        max_hold_until: str = "",
        min_by: int = 0,
    ) -> None: ...
    @property
    def hello_name(self) -> str: ...
    @property
    def esmtp(self) -> bool:
        """The peer said EHLO or LHLO."""
    @property
    def secure(self) -> bool: ...
    @property
    def login_name(self) -> str:
        """Who logged in; "" before AUTH."""
    @property
    def exchange_step(self) -> int: ...
    def log_in(self, name: str) -> None:
        """While AUTH or XCLIENT is decided: who it is, when the decision is good. Ignored after ``closing``;
        RuntimeError when nobody is logging in."""
