"""The record of one thing that happened to a recipient, with the field names of the contract.

Owns: names, types and what is left out. Times are seconds since 1970 UTC, ``delays`` seconds, ``size`` octets. A
field that has its default is not written. Never does: IO.
"""

from typing import Literal

import msgspec

EventType = Literal[
    "Reception",
    "Delivery",
    "TransientFailure",
    "Bounce",
    "Expiration",
    "Delayed",
    "Rejection",
    "AdminBounce",
    "AdminRebind",
    "Feedback",
    "OOB",
]


class Response(msgspec.Struct, omit_defaults=True, gc=False):
    """What a peer (or we) answered. ``command``: the stage, MAIL, RCPT, DATA …, or what failed without an answer."""

    code: int = 0
    enhanced_code: str = ""
    content: str = ""
    command: str = ""


class PeerAddress(msgspec.Struct, omit_defaults=True, gc=False):
    """The other side: its name (EHLO or MX host) and its IP address."""

    name: str = ""
    addr: str = ""


class Event(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One line of the event log. ``delays``: before queue (0 from the second attempt on), in queue since it came,
    connection, transmission. ``origin``: id of the message that this one reports on or is a copy of. ``message_id``: of
    a reception, the field's value as it came. ``submitter``: who had logged in. ``tls_peer``: the subject of the
    client's own certificate, verified."""

    type: EventType
    id: str = ""
    sender: str = ""
    recipient: str = ""
    queue: str = ""
    site: str = ""
    size: int = 0
    response: Response | None = None
    peer_address: PeerAddress | None = None
    timestamp: float = 0.0
    created: float = 0.0
    num_attempts: int = 0
    session_id: str = ""
    egress_source: str = ""
    reception_protocol: str = ""
    delivery_protocol: str = ""
    tls_protocol_version: str = ""
    tls_cipher: str = ""
    #: Of a delivery: the certificate is that of the host, and somebody we trust has signed it.
    tls_verified: bool = False
    delays: tuple[float, float, float, float] | None = None
    reason: str = ""
    origin: str = ""
    message_id: str = ""
    submitter: str = ""
    tls_peer: str = ""
