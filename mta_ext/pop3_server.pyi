"""The POP3 server session (RFC 1939, 2449, 2595, 5034, 6856), sans-IO."""

from collections.abc import Iterable
from typing import Protocol

from typing_extensions import Buffer

from mta_ext.deciding import Verdict
from mta_ext.sending import SendingSession

class Pop3ServerHandler(Protocol):
    """Policy, as ``mta_ext.deciding`` describes it. A whole reply is one line: ``+OK …`` or ``-ERR …`` with its
    response code; CRLF included. When a call-back raises the reply is ``-ERR [SYS/TEMP] internal error``."""

    def on_login(self, user: str, password: str) -> Verdict:
        """USER and PASS. A yes (None or +OK) comes after ``open_maildrop``, anything else is a failed login."""
    def on_sasl(self, mechanism: str, response: bytes | None) -> Verdict:
        """A step of AUTH, base 64 taken off; ``mechanism`` in upper case, one of those offered; None: no initial
        response. ``session.exchange_step`` is 0 for AUTH itself, which begins anew whatever was before it, and then
        counts the responses. ``+ <base64>CRLF`` is a challenge, a yes or no as with ``on_login``. An exchange may also
        end unheard: cancelled, not base 64, too long."""
    def on_retrieve(self, index: int) -> Iterable[bytes] | bytes:
        """RETR and TOP of the message with this index, from 0: pieces of head and content, unstuffed, line ends CRLF;
        or octets, ``-ERR …``. Pieces are asked for one at a time as the client reads, and no more than TOP needs; fewer
        octets than ``open_maildrop`` told, or an exception, end the session without an end of the message."""
    def on_quit(self, deleted: list[int]) -> Verdict:
        """QUIT of who is logged in: the indexes of the messages to be removed, maybe none. None: +OK."""

class Pop3ServerSession(SendingSession):
    """``secure``: TLS is on already. ``starttls``: STLS is offered. ``plaintext_login``: USER, PASS, PLAIN and LOGIN
    also without TLS. ``mechanisms``: of SASL, upper case, as CAPA lists them; PLAIN and LOGIN only where the password
    may be shown. Limits: ``command_line`` octets with CRLF; ``exchange`` octets of a whole AUTH exchange; ``errors``:
    bad commands since the login (one more ends the session); ``failed_logins``: so many end the session.
    ``login_delay``: seconds, for CAPA; 0: none. The host name is ASCII."""

    def __init__(
        self,
        handler: Pop3ServerHandler,
        hostname: str,
        *,
        secure: bool = False,
        starttls: bool = False,
        plaintext_login: bool = False,
        mechanisms: tuple[str, ...] = (),
        command_line: int = 255,
        exchange: int = 12_288,
        errors: int = 20,
        failed_logins: int = 3,
        login_delay: int = 0,
    ) -> None: ...
    @property
    def secure(self) -> bool: ...
    @property
    def utf8(self) -> bool:
        """The client said UTF8: it understands messages with UTF-8 in the header section."""
    @property
    def exchange_step(self) -> int: ...
    @property
    def plaintext_allowed(self) -> bool:
        """Passwords may be shown: TLS is on, or the configuration says so."""
    def greet(self) -> None:
        """Puts ``+OK hostname POP3 Hermes ready`` out."""
    def open_maildrop(self, sizes: Buffer, unique_ids: Buffer) -> None:
        """While a login is decided: what the client may see. Two buffers of unsigned 64 bit numbers of equal length, as
        ``array("Q")``: octets as RETR sends them (before stuffing), and ids that are never used again. Copied.
        Ignored after ``closing``; RuntimeError when nobody is logging in, ValueError for different lengths."""
