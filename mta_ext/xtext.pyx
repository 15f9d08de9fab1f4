"""xtext (RFC 3461 §4): printable ASCII in which any octet can be written as ``+`` and two hexadecimal digits.

Owns: its syntax. Never does: say what the text means.
"""

import re

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


def decode_xtext(str text not None):
    if _XTEXT.fullmatch(text) is None:
        return None
    octets = _HEX.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")
    return None if _CONTROLS.search(octets) else octets
