"""What arrived between DATA and its end, unstuffed, or by BDAT, in one C buffer."""

class Content:
    """Handed to ``on_content``; valid only until the session's next command. All counts in octets, unstuffed.
    It ends in CRLF or is empty, but for BODY=BINARYMIME, in which any octet may stand anywhere."""

    @property
    def size(self) -> int:
        """Octets of the whole content, those already streamed included."""
    @property
    def streamed(self) -> int:
        """Octets already handed out through ``on_piece``; 0 for all but large content."""
    @property
    def dotted(self) -> bool:
        """Some line begins with a dot: the content must be stuffed on its way out."""
    @property
    def eight_bit(self) -> bool:
        """Some octet is above 127."""
    @property
    def hops(self) -> int:
        """Received fields in the header section (RFC 5321 §6.3)."""
    @property
    def has_date(self) -> bool: ...
    @property
    def has_message_id(self) -> bool: ...
    @property
    def message_id(self) -> bytes:
        """Value of the first Message-ID field, unfolded, without the white space around it; b"" when there is none, or
        when it has been handed out through ``on_piece``."""
    def joined(self, head: bytes) -> bytes:
        """``head`` (the trace field) and what is in the buffer, in one new object and one copy."""
