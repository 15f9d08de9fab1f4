"""What a client asked of a transaction beyond its paths: the parameters of MAIL and RCPT, checked.

Owns: their names and defaults; a default means that the client did not say it. Never does: parse or judge them.
"""

from typing import NamedTuple


class MailParameters(NamedTuple):
    """Of MAIL. Made only when one stands there beyond SIZE and BODY=7BIT or 8BITMIME."""

    binary: bool = False  # BODY=BINARYMIME
    smtputf8: bool = False
    ret: str = ""  # "FULL" or "HDRS"
    envid: str = ""  # xtext as it came
    requiretls: bool = False
    priority: int | None = None  # MT-PRIORITY, -9 to 9
    by: int | None = None  # DELIVERBY: seconds from now, negative too
    by_mode: str = ""  # "R": return, "N": notify
    by_trace: bool = False
    hold_for: int = 0  # FUTURERELEASE: seconds from now
    hold_until: str = ""  # or a date and time of RFC 3339
    auth: str | None = None  # AUTH=, xtext decoded; "" for <>


class RcptParameters(NamedTuple):
    """Of RCPT. Made only when one stands there."""

    notify: str = ""  # "NEVER", or some of "SUCCESS,FAILURE,DELAY" in the order that the client gave
    orcpt: str = ""  # type;xtext as it came
