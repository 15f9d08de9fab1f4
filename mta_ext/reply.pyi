"""Replies of a remote (RFC 5321 §4.2, RFC 2034/3463): multi-line, enhanced codes, limits."""

class Reply:
    """``text`` holds the lines without codes, joined by LF, decoded as UTF-8 with replacement; controls are spaces.
    1,024 octets of it are kept. Immutable; equal by its parts."""

    def __init__(self, code: int, enhanced: str | None, text: str) -> None: ...
    @property
    def code(self) -> int: ...
    @property
    def enhanced(self) -> str | None:
        """``5.1.1``, or None when the remote gave none or one whose class contradicts the code."""
    @property
    def text(self) -> str: ...
    @property
    def positive(self) -> bool: ...
    @property
    def transient(self) -> bool: ...
    @property
    def permanent(self) -> bool: ...
    def __str__(self) -> str:
        """``550 5.1.1 no such user`` on one line."""

class ReplyError(ValueError):
    """What came is no reply: nonsense, a changing code, too long or too many lines."""

class ReplyParser:
    """Resumable at any octet; used by the client session and by tests."""

    def __init__(self, *, line: int = 4096, lines: int = 128) -> None: ...
    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are whole now; raises ReplyError, but returns the replies ahead of the error first."""
