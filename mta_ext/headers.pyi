"""A header section in one pass: what a relay must know of it. Offsets and counts only; nothing is decoded."""

from typing import NamedTuple

class HeaderScan(NamedTuple):
    end: int
    """Offset of the body (after the empty line), or the length when there is no empty line."""
    hops: int
    """Received fields."""
    has_date: bool
    has_message_id: bool
    has_from: bool

def scan_headers(content: bytes) -> HeaderScan: ...
def field_value(content: bytes, name: bytes) -> bytes | None:
    """The raw, unfolded value of the first field of that name (any case), without its line end and the white space
    around it; None when absent."""
