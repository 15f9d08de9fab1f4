"""A message in our custody: envelope, arrival facts, and the state of every recipient.

Owns: the records that the spool stores (msgpack arrays, so a new field goes to the end with a default) and
their grouping into queue entries. Never does: decide when or where something is delivered.
Times are milliseconds since 1970 UTC. Addresses are ``str`` as received, without angle brackets; the null
reverse-path is the empty string. Domains are lower case.
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct as Layout

import msgspec


class RecipientState(IntEnum):
    """What has become of a recipient. Only QUEUED is ours still to deliver; the rest is history."""

    QUEUED = 0
    DELIVERED = 1
    FAILED = 2
    EXPIRED = 3
    REMOVED = 4
    DISCARDED = 5
    EXPANDED = 6


class Recipient(msgspec.Struct, array_like=True, gc=False):
    """One forward-path of a message and where it stands. ``due``: when it is tried next (ms); HELD when on hold."""

    forward_path: str
    domain: str
    state: RecipientState = RecipientState.QUEUED
    due: int = 0
    attempts: int = 0
    last_code: int = 0
    last_status: str = ""
    last_reply: str = ""
    last_remote: str = ""
    last_attempt: int = 0
    warned: bool = False
    notify: str | None = None
    orcpt: str | None = None


class Message(msgspec.Struct, array_like=True, gc=False):
    """Envelope and arrival facts. ``size`` counts octets of stored content, trace field included.

    ``dotted``: some line of the content begins with a dot, so it must be stuffed on the way out.
    ``pieces``: how many pieces the content has in the spool; the spool fills it in.
    ``generated``: we wrote it ourselves (a DSN) and never answer it with a DSN.
    ``origin``: id of the message that this one reports on, or is the copy of for a list; 0: it came from outside.
    ``smtputf8``, ``binary``, ``requiretls``: what its sender asked of every host on its way (RFC 6531, 3030, 8689).
    ``priority``: of MT-PRIORITY, -9 to 9 (RFC 6710). ``deliver_by``: ms, 0 for none; ``by_mode``: "R" or "N", with a
    "T" behind it when the sender wants to be told of its way (RFC 2852). ``submitter``: who logged in to send it.
    ``held_until``: ms, before which its sender wanted no attempt (RFC 4865); 0: at once.
    """

    id: int
    reverse_path: str
    recipients: list[Recipient]
    size: int
    arrival: int
    session_id: str = ""
    client_name: str = ""
    client_address: str = ""
    protocol: str = "ESMTP"
    eight_bit: bool = False
    dotted: bool = False
    generated: bool = False
    pieces: int = 0
    envid: str | None = None
    ret: str | None = None
    origin: int = 0
    smtputf8: bool = False
    binary: bool = False
    requiretls: bool = False
    priority: int = 0
    deliver_by: int = 0
    by_mode: str = ""
    submitter: str = ""
    held_until: int = 0

    @property
    def waiting_since(self) -> int:
        """From when its time in the queue counts (ms): what its sender has it wait is no delay."""
        return max(self.arrival, self.held_until)

    def queued(self) -> list[Recipient]:
        """The recipients that are still ours to deliver."""
        return [r for r in self.recipients if r.state is RecipientState.QUEUED]


#: Due time of what an operator holds: after every real time, so that no scheduler ever comes to it.
HELD = (1 << 63) - 1

_DUE_KEY = Layout(">QQH")


def due_key(due: int, spool_id: int, group: int) -> bytes:
    """Key in the ``due`` index, 18 octets, sorts by time: due (ms), spool id, group.

    A *group* is the part of a message that is queued together: its queued recipients of one routing domain.
    Its number is the index of the group's first recipient in ``Message.recipients``, which never changes.
    """
    return _DUE_KEY.pack(due, spool_id, group)


def split_due_key(key: bytes) -> tuple[int, int, int]:
    """(due, spool id, group) of a key made by :func:`due_key`."""
    due, spool_id, group = _DUE_KEY.unpack(key)
    return due, spool_id, group


def groups_of(recipients: Iterable[Recipient]) -> dict[str, int]:
    """Routing domain → group number, over all recipients whatever their state (numbers must not change)."""
    groups: dict[str, int] = {}
    for index, recipient in enumerate(recipients):
        groups.setdefault(recipient.domain, index)
    return groups


def members(message: Message, group: int) -> list[Recipient]:
    """The queued recipients of a group, in the order of the envelope."""
    domain = message.recipients[group].domain
    return [r for r in message.recipients if r.domain == domain and r.state is RecipientState.QUEUED]
