"""What the SMTP server session says of itself."""

def without_codes(reply: bytes) -> bytes:
    """Replies, of one line or several, as a listener says them that does not offer ENHANCEDSTATUSCODES (RFC 2034)."""
