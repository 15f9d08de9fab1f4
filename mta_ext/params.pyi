"""ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2: ``keyword[=value]``)."""

def parse_params(text: bytes) -> dict[str, str | None] | None:
    """Keywords in upper case; None when the syntax is wrong or a keyword comes twice."""

def parse_size(value: str) -> int:
    """SIZE= of RFC 1870: 1 to 20 digits; -1 for anything else. Not what Python's int() takes: signs, underscores."""
