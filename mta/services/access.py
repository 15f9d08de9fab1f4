"""What one SMTP listener offers and asks of its clients, from the configuration.

Owns: which extensions there are for which protocol, and the terms in one value. Never does: decide about a client.
"""

from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, NamedTuple

from mta.config import Config
from mta.config.sections import Listener

#: What every listener offers, in the order in which EHLO says it.
EVERYWHERE: Final = (
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "REQUIRETLS",
    "LIMITS",
    "MT-PRIORITY",
    "DELIVERBY",
    "ETRN",
    "HELP",
)
#: What means nothing without another.
NEEDS: Final = {"BINARYMIME": "CHUNKING"}


class Access(NamedTuple):
    """``implicit``: TLS before the first word. ``required``: nothing without TLS. ``plaintext``: passwords may be shown
    in the clear. ``xclient``: who may say XCLIENT and XFORWARD. ``verify``: VRFY and EXPN tell those who may relay.
    ``max_hold``: seconds for which FUTURERELEASE may hold a message. ``in_step``: see ``SmtpServerSession``."""

    submission: bool = False
    implicit: bool = False
    required: bool = False
    plaintext: bool = False
    xclient: tuple[IPv4Network | IPv6Network, ...] = ()
    verify: bool = False
    max_hold: int = 0
    extensions: tuple[str, ...] = EVERYWHERE
    mechanisms: tuple[str, ...] = ()
    in_step: bool = True

    @property
    def coded(self) -> bool:
        """Replies have enhanced codes (RFC 2034)."""
        return "ENHANCEDSTATUSCODES" in self.extensions

    def options(self, now: int) -> dict[str, Any]:
        """For ``SmtpServerSession``; ``now`` in ms. FUTURERELEASE's last moment is said in whole hours, rounded down,
        so that the session makes the lines of EHLO once an hour and not for each client."""
        hour = now // 3_600_000 * 3600
        return {
            "extensions": self.extensions,
            "secure": self.implicit,
            "tls_required": self.required,
            "plaintext_login": self.plaintext,
            "mechanisms": self.mechanisms,
            "max_hold": self.max_hold,
            "max_hold_until": _moment(hour + self.max_hold) if self.max_hold else "",
        }


def _moment(seconds: int) -> str:
    """RFC 3339, as FUTURERELEASE wants it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def access_of(listener: Listener, config: Config) -> Access:
    """The terms of an SMTP or submission listener."""
    submission = listener.protocol == "submission"
    max_hold = round(config.submission.max_hold) if submission else 0
    offered = [*EVERYWHERE]
    if listener.tls in ("starttls", "required"):
        offered.append("STARTTLS")
    if submission:
        offered.append("AUTH")
    if max_hold:
        offered.append("FUTURERELEASE")
    if listener.vrfy == "trusted":
        offered += ["VRFY", "EXPN"]
    if listener.xclient_networks:
        offered += ["XCLIENT", "XFORWARD"]
    off: set[str] = set(listener.extensions_off)
    off |= {name for name, needed in NEEDS.items() if needed in off}
    return Access(
        submission,
        listener.tls == "implicit",
        listener.tls == "required",
        listener.dangerously_allow_plaintext_auth and listener.tls != "required",
        listener.xclient_networks,
        listener.vrfy == "trusted",
        max_hold,
        tuple(name for name in offered if name not in off),
    )
