"""What server sessions share: the decisions that a handler makes, and the end."""

from mta_ext.session import LineSession, _Pending

Verdict = bytes | None | _Pending
"""What a call-back answers: None = yes, with the default reply; octets = this whole reply, CRLF included; PENDING =
later, through ``answer`` (also from inside the call-back)."""

class DecidingSession(LineSession):
    """Call-backs are plain function calls on the loop thread, looked up once when the session is made; each may call
    any method of the session. What one raises never reaches the shell: the exception is handed to the handler's
    ``on_error(exception)`` where it has such a method, else to ``sys.unraisablehook``."""

    @property
    def bye(self) -> bool:
        """The session ended because the peer said QUIT: it waits for nothing but the close."""
    @property
    def admitted(self) -> bool:
        """The peer may do what the protocol is for; False for a POP3 client before its login."""
    @property
    def mistakes(self) -> int:
        """Replies that refused for good, since the peer last did something right."""
    @property
    def in_content(self) -> bool:
        """Content is coming in: the shell applies the content deadline and minimum rate."""
    @property
    def content_octets(self) -> int:
        """Octets of content received in the current transaction, for the minimum rate."""
    @property
    def idle(self) -> bool:
        """Nothing is open, half read or half said: a draining server may say its last word now."""
    def greet(self) -> None:
        """Puts the greeting out."""
    def timed_out(self) -> None:
        """The deadline passed: what the protocol says then, and the close."""
    def answer(self, reply: bytes | None) -> None:
        """Settles the pending decision, with None by the default reply; input kept meanwhile is parsed on. Ignored
        after ``closing``; RuntimeError when no decision is outstanding."""
    def shut(self, reply: bytes) -> None:
        """Says a last word and closes, whatever the state."""
    def eof(self) -> None:
        """The peer closed or the connection broke. Nothing is put out any more."""
    def tls_started(self) -> None:
        """The handshake that ``wants_tls`` asked for is done. RuntimeError when it did not ask."""
