"""Transparency (RFC 5321 §4.5.2), resumable at any octet."""

class Unstuffer:
    """Server side, for tests and other protocols: the session uses the same C function in place.

    Only CRLF.CRLF ends content (a dot line right after DATA too). ``ended`` turns True with the final octet; what
    follows it is not consumed. ``bare`` tells that a CR without LF or an LF without CR was seen."""

    @property
    def ended(self) -> bool: ...
    @property
    def bare(self) -> bool: ...
    @property
    def dotted(self) -> bool: ...
    @property
    def longest_line(self) -> int:
        """Octets, line end included."""
    def feed(self, data: bytes) -> tuple[bytes, int]:
        """(unstuffed octets, how many octets of data were consumed)."""

class Stuffer:
    """Client side: feeds through content in pieces; the line state carries over."""

    def feed(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes:
        """What must follow: a CRLF when the content did not end in one, then the dot line."""

def stuff(content: bytes) -> bytes:
    """The whole content with its transparency dots, without the final dot line."""
