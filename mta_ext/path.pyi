"""RFC 5321 §4.1.2 paths and their parts. One pass, no allocation but for the results."""

from typing import NamedTuple

class Path(NamedTuple):
    mailbox: str
    """Local part as given (quotes kept) + "@" + domain as given; "" for the null path. A source route is dropped."""
    domain: str
    """Lower case; ``[192.0.2.1]`` and ``[IPv6:…]`` for address literals; "" for the null path and bare postmaster."""

def parse_path(text: bytes, utf8: bool = False) -> Path | None:
    """The path with its brackets, and nothing else; None when the syntax is wrong. Limits: local part 64 octets,
    domain 255, label 63, path 256 (RFC 5321 §4.5.3.1). ``utf8``: as SMTPUTF8 has it
    (RFC 6531); a label that is not ASCII has up to 252 octets. Without it 8-bit octets are refused."""

def valid_domain(text: bytes) -> bool:
    """LDH labels (an underscore is let through, as the DNS of mail is full of them), no trailing dot, 255 octets."""

def valid_address_literal(text: bytes) -> bool:
    """With its brackets: IPv4, IPv6:…, checked digit by digit."""
