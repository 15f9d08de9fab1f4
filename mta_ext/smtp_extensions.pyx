"""What a listener offers (RFC 5321 §2.2.1), and what of it is said and understood at a time.

Owns: the names of the extensions, which of them need another one or TLS, and the lines behind EHLO.
Never does: carry an extension out.
"""

cimport cython

#: All that can be offered, in the order in which it is said best.
EXTENSIONS = (
    "PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS",
    "AUTH", "REQUIRETLS", "LIMITS", "MT-PRIORITY", "DELIVERBY", "FUTURERELEASE", "ETRN", "VRFY", "EXPN", "HELP",
    "XCLIENT", "XFORWARD",
)

XCLIENT_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
XFORWARD_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")

cdef enum:
    KNOWN = 64           # configurations whose lines are remembered: a server has a few listeners

cdef dict _bits = {
    "PIPELINING": PIPELINING, "SIZE": SIZE, "8BITMIME": EIGHTBITMIME, "SMTPUTF8": SMTPUTF8, "CHUNKING": CHUNKING,
    "BINARYMIME": BINARYMIME, "DSN": DSN, "ENHANCEDSTATUSCODES": ENHANCEDSTATUSCODES, "STARTTLS": STARTTLS,
    "AUTH": AUTH, "REQUIRETLS": REQUIRETLS, "LIMITS": LIMITS, "MT-PRIORITY": MT_PRIORITY, "DELIVERBY": DELIVERBY,
    "FUTURERELEASE": FUTURERELEASE, "ETRN": ETRN, "VRFY": VRFY, "EXPN": EXPN, "HELP": HELP, "XCLIENT": XCLIENT,
    "XFORWARD": XFORWARD,
}
cdef dict _masks = {}        # of tuples of names
cdef dict _lines = {}        # of configurations


cdef long mask_of(tuple names) except -1:
    """One bit a name. ValueError for a name that nobody understands. Extensions whose condition is missing fall away:
    RFC 6531 §3.1 wants 8BITMIME beside SMTPUTF8, RFC 3030 §3 CHUNKING beside BINARYMIME."""
    cdef long mask = 0
    known = _masks.get(names)
    if known is not None:
        return known
    for name in names:
        if name not in _bits:
            raise ValueError(f"{name!r} is no extension; there are {', '.join(EXTENSIONS)}")
        mask |= <long> _bits[name]
    if not mask & EIGHTBITMIME:
        mask &= ~<long> SMTPUTF8
    if not mask & CHUNKING:
        mask &= ~<long> BINARYMIME
    if len(_masks) < KNOWN:
        _masks[names] = mask
    return mask


@cython.final
cdef class Offers:
    """What was configured for a session."""

    def __init__(self, tuple names, tuple mechanisms, bint plaintext_login, size, recipients, messages, max_hold,
                 str max_hold_until, long long min_by):
        self.names = names
        self.mechanisms = mechanisms
        self.plaintext_login = plaintext_login
        self.size = size
        self.recipients = recipients
        self.messages = messages
        self.max_hold = max_hold
        self.max_hold_until = max_hold_until
        self.min_by = min_by

    cdef long now(self, bint secure) except -1:
        """What is understood: STARTTLS before TLS, REQUIRETLS (RFC 8689 §2) under it. AUTH stands for itself also where
        no mechanism is allowed yet, so that its reply can say why."""
        cdef long mask = mask_of(self.names)
        if secure:
            mask &= ~<long> STARTTLS
        else:
            mask &= ~<long> REQUIRETLS
        if not self.mechanisms:
            mask &= ~<long> AUTH
        if not (self.max_hold and self.max_hold_until):
            mask &= ~<long> FUTURERELEASE
        return mask

    cdef list allowed_mechanisms(self, bint secure):
        """In the clear none: who sits between may guess a password from SCRAM's exchange at leisure, and send in the
        session of who has logged in (RFC 8314 §3). Where it is allowed all the same: no channel binding without TLS."""
        return [name for name in self.mechanisms if secure or self.plaintext_login and not name.endswith("-PLUS")]

    cdef bytes lines(self, bint secure):
        """What EHLO says behind its first line; b"" when there is nothing."""
        key = (self.names, self.mechanisms, self.plaintext_login, self.size, self.recipients, self.messages,
               self.max_hold, self.max_hold_until, self.min_by, secure)
        known = _lines.get(key)
        if known is None:
            known = make_lines(self, secure)
            if len(_lines) >= KNOWN:
                _lines.clear()
            _lines[key] = known
        return known


cdef bytes make_lines(Offers self, bint secure):
    cdef long mask = self.now(secure)
    cdef list lines = [line_of(self, name, secure) for name in self.names if mask & <long> _bits[name]]
    lines = [line for line in lines if line]
    marks = ["250-"] * (len(lines) - 1) + ["250 "]
    return "".join(f"{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=False)).encode("ascii")


cdef str line_of(Offers self, str name, bint secure):
    """An extension with its parameters; "" when there is nothing of it to say."""
    if name == "SIZE":
        return f"SIZE {self.size}"
    if name == "AUTH":
        allowed = self.allowed_mechanisms(secure)
        return f"AUTH {' '.join(allowed)}" if allowed else ""
    if name == "LIMITS":
        mails = f" MAILMAX={self.messages}" if self.messages else ""
        return f"LIMITS{mails} RCPTMAX={self.recipients}"
    if name == "DELIVERBY":
        return f"DELIVERBY {self.min_by}" if self.min_by else "DELIVERBY"
    if name == "FUTURERELEASE":
        return f"FUTURERELEASE {self.max_hold} {self.max_hold_until}"
    if name == "XCLIENT":
        return f"XCLIENT {' '.join(XCLIENT_NAMES)}"
    if name == "XFORWARD":
        return f"XFORWARD {' '.join(XFORWARD_NAMES)}"
    return name
