"""A client that waits where RFC 2920 §3.1 has it wait, and nowhere else.

Owns: where a whole conversation is cut for that. Never does: send anything.
"""

_WAITS = (b"HELO", b"EHLO", b"LHLO", b"DATA", b"AUTH")


def groups(octets: bytes) -> list[bytes]:
    """The writes of one conversation, all answers good: it waits behind HELO, EHLO, LHLO, DATA and AUTH."""
    found = [b""]
    while octets:
        line, end, octets = octets.partition(b"\r\n")
        found[-1] += line + end
        verb = line[:4].upper()
        if verb in _WAITS and end:
            found.append(b"")
        if verb == b"DATA" and end:
            length = len(b".\r\n") if octets.startswith(b".\r\n") else octets.find(b"\r\n.\r\n") + len(b"\r\n.\r\n")
            content = octets[:length] if length > 4 or octets.startswith(b".\r\n") else octets
            found[-1] += content
            octets = octets[len(content) :]
    return [group for group in found if group]
