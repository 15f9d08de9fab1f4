"""xtext of RFC 3461 §4, as ENVID, ORCPT, AUTH=, XCLIENT and XFORWARD have it."""

def decode_xtext(text: str) -> bytes | None:
    """The octets that are meant. None: no xtext (digits are upper case), or a control is meant: NUL, CR, LF, DEL …"""
