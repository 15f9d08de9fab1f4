"""What is said to a remote about a message, given what the remote offers: parameters, conversion, or that it cannot go.

Owns: the reading of EHLO keywords into an ``Offer``, and every decision on DSN (RFC 3461), SMTPUTF8 (6531), REQUIRETLS
(8689), DELIVERBY (2852), MT-PRIORITY (6710), 8BITMIME and BINARYMIME. Never does: convert, send, or read a clock.

========================  ===========================================  ==============================================
the message               the remote offers it                         the remote does not
========================  ===========================================  ==============================================
RET ENVID NOTIFY ORCPT    passed on; the rest is the remote's          we report success ("relayed"), as RFC 3461 §5.2.2
UTF-8 in an address       SMTPUTF8                                     5.6.7
SMTPUTF8, none needed     SMTPUTF8                                     sent without
REQUIRETLS                REQUIRETLS, over TLS that is verified        5.7.30, but for LMTP: that is the last hop
BY=seconds;R              the seconds that are left                    5.3.3, but for LMTP: that is the last hop
BY=seconds;N              the seconds that are left                    sent without, and we report it ("relayed")
BY=seconds;RT or NT       passed on, and we report it ("relayed")      as R or N
MT-PRIORITY               passed on                                    sent without
8-bit content             BODY=8BITMIME                                converted
binary content            BODY=BINARYMIME                              converted
========================  ===========================================  ==============================================

A status here (5.6.7 …) is about one host. Another host of the site may offer what is lacking, so each is asked before
the message fails (RFC 8689 §4.2.1; ``lacks`` in ``mta.policy.trouble``). What can be sent without, or converted, goes
to the first host all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from mta.model.message import Message, Recipient
from mta.policy.trouble import Kind, Problem

#: Digits of a number in an EHLO line that are read; more are nobody's limit.
_DIGITS: Final = 9


class Offer(NamedTuple):
    """What a remote can do. ``limit``: recipients of a transaction, ``messages`` and ``domains`` of recipients: of a
    connection (RFC 9422); 0: not said. ``least_by``: seconds below which a deadline is refused; -1: DELIVERBY is not
    offered."""

    eight_bit: bool = False
    binary: bool = False
    dsn: bool = False
    smtputf8: bool = False
    requiretls: bool = False
    priority: bool = False
    least_by: int = -1
    limit: int = 0
    messages: int = 0
    domains: int = 0
    last_hop: bool = False


class Sending(NamedTuple):
    """What ``deliver`` gets beside the envelope. ``convert``: the content first goes through ``seven_bit``."""

    parameters: str = ""
    recipient_parameters: list[str] | None = None
    smtputf8: bool = False
    binary: bool = False
    convert: bool = False


PLAIN: Final = Sending()


def offer_of(extensions: Mapping[str, str], *, verified: bool = False, lmtp: bool = False) -> Offer:
    """From EHLO keywords (upper case) and their parameters. ``verified``: the session has TLS with a certificate that
    was checked; without, REQUIRETLS is worth nothing."""
    limits = dict(_limits(extensions.get("LIMITS", "")))
    least_by = extensions.get("DELIVERBY")
    return Offer(
        "8BITMIME" in extensions,
        "BINARYMIME" in extensions and "CHUNKING" in extensions,
        "DSN" in extensions,
        "SMTPUTF8" in extensions,
        "REQUIRETLS" in extensions and verified,
        "MT-PRIORITY" in extensions,
        -1 if least_by is None else _number(least_by),
        limits.get("RCPTMAX", 0),
        limits.get("MAILMAX", 0),
        limits.get("RCPTDOMAINMAX", 0),
        lmtp,
    )


def _limits(text: str) -> list[tuple[str, int]]:
    return [(name.upper(), _number(number)) for name, _, number in (word.partition("=") for word in text.split())]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0


def is_plain(message: Message, recipients: Sequence[Recipient], offer: Offer) -> bool:
    """Whether nothing needs to be thought of: the usual case, made to be quick."""
    if (
        (message.eight_bit and not offer.eight_bit)
        or message.envid is not None
        or message.ret is not None
        or message.smtputf8
        or message.binary
        or message.requiretls
        or message.priority
        or message.deliver_by
        or not message.reverse_path.isascii()
    ):
        return False
    for recipient in recipients:
        if recipient.notify is not None or recipient.orcpt is not None or not recipient.forward_path.isascii():
            return False
    return True


def sending(
    message: Message, recipients: Sequence[Recipient], offer: Offer, now: int, head: Callable[[], bytes]
) -> Sending | Problem:
    """``now``: ms since 1970; ``head``: gives the header section of the content, and is called when it matters."""
    utf8 = _utf8(message, recipients, offer, head)
    if utf8 is None:
        return _lacking("5.6.7", "the message needs SMTPUTF8, which the remote does not offer")
    words: list[str] = []
    if message.requiretls and not offer.last_hop:
        if not offer.requiretls:
            return _lacking("5.7.30", "the message needs REQUIRETLS, which the remote does not offer over verified TLS")
        words.append("REQUIRETLS")
    if message.deliver_by:
        by = _deadline(message, offer, now)
        if isinstance(by, Problem):
            return by
        words += by
    if message.priority and offer.priority:
        words.append(f"MT-PRIORITY={message.priority}")
    each = None
    if offer.dsn:
        words += [f"RET={message.ret}"] if message.ret else []
        words += [f"ENVID={message.envid}"] if message.envid else []
        each = [_of_recipient(recipient, utf8) for recipient in recipients]
    binary = message.binary and offer.binary
    convert = (message.binary and not binary) or (message.eight_bit and not (offer.eight_bit or binary))
    return Sending(" ".join(words), each if each and any(each) else None, utf8, binary, convert)


def passed_on(recipient: Recipient, offer: Offer) -> bool:
    """Whether it is now the remote's to report that this recipient got the message."""
    return offer.dsn or not asks_for(recipient, "SUCCESS")


def told_of_relaying(message: Message, recipient: Recipient, offer: Offer) -> bool:
    """Whether the sender hears from us that a host has taken the message: since the host will not tell of a success, or
    since it knows nothing of the deadline (mode "N", RFC 2852 §4.1.4.2), or since each hop is to be told (mode "T")."""
    if not passed_on(recipient, offer):
        return True
    if not message.deliver_by or offer.last_hop or (recipient.notify or "").upper() == "NEVER":
        return False
    return message.by_mode.endswith("T") or (offer.least_by < 0 and not message.by_mode.startswith("R"))


def asks_for(recipient: Recipient, event: str) -> bool:
    """Whether NOTIFY names SUCCESS, FAILURE or DELAY. Without NOTIFY failures and delays are told (RFC 3461 §4.1)."""
    if recipient.notify is None:
        return event != "SUCCESS"
    return event in recipient.notify.upper().split(",")


def _utf8(message: Message, recipients: Sequence[Recipient], offer: Offer, head: Callable[[], bytes]) -> bool | None:
    """Whether SMTPUTF8 is said; None: it is needed and not offered."""
    needed = not message.reverse_path.isascii() or any(not each.forward_path.isascii() for each in recipients)
    if not (message.smtputf8 or needed):
        return False
    if offer.smtputf8:
        return True
    return None if needed or not (offer.last_hop or head().isascii()) else False


def _deadline(message: Message, offer: Offer, now: int) -> list[str] | Problem:
    """``deliver_by`` is a moment; the remote is told the seconds that are left, less than none where that may be."""
    returns = message.by_mode.startswith("R")
    left = -((now - message.deliver_by) // 1000)
    if returns and left <= 0:
        return Problem(Kind.DEADLINE, text="the deadline that the sender has set has passed")
    if offer.least_by < 0:
        if returns and not offer.last_hop:
            return _lacking("5.3.3", "the message has a deadline, and the remote does not offer DELIVERBY")
        return []
    if returns and left < offer.least_by:
        return _lacking("5.4.7", f"{left} s are left, and the remote wants {offer.least_by} s at least")
    return [f"BY={max(left, -999_999_999)};{message.by_mode or 'N'}"]


def _of_recipient(recipient: Recipient, utf8: bool) -> str:
    words = [f"NOTIFY={recipient.notify}"] if recipient.notify else []
    if recipient.orcpt and (utf8 or recipient.orcpt.isascii()):
        words.append(f"ORCPT={recipient.orcpt}")
    return " ".join(words)


def _lacking(status: str, text: str) -> Problem:
    return Problem(Kind.LACKING, status=status, text=text)
