"""What an operator sees of queued messages: plain dict rows made from records. Pure functions.

Owns: the field names of ``mta queue list/show/stats`` and ``mta why`` (those of ``postqueue -j`` where Postfix has
one), the filters, and the age table of ``qshape``. Never does: read the spool, change anything, ask a clock.
Times in rows are seconds since 1970 UTC; ages are minutes.
"""

from typing import Any

import msgspec

from mta.errors import UsageError
from mta.model.message import HELD, Message, Recipient, RecipientState, groups_of
from mta.model.spoolid import format_id

Row = dict[str, Any]

#: Upper bounds of the age buckets in minutes, as in qshape; what is older comes under ``1280+``.
AGE_BOUNDS = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
AGE_NAMES = (*(str(bound) for bound in AGE_BOUNDS), "1280+")
#: How Postfix writes the null reverse-path in listings, so that scripts for ``postqueue -j`` go on working.
NULL_SENDER = "MAILER-DAEMON"


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which messages a verb means. All given conditions must hold; an empty string or list means no condition.

    ``ids``: queue ids as text. ``domain``: routing domain of a queued recipient. ``sender``: reverse-path, ``<>`` for
    null. ``after``: queue id to go on behind (paging). ``until``: arrivals after this (ms) are left alone; 0: now.
    """

    ids: list[str] = []
    domain: str = ""
    sender: str = ""
    recipient: str = ""
    limit: int = 0
    after: str = ""
    until: int = 0
    reason: str = ""
    everything: bool = False

    @classmethod
    def of(cls, args: dict[str, Any]) -> "Filters":
        """From the arguments of a request. Raises UsageError that names the wrong one."""
        try:
            filters = msgspec.convert(args, cls)
        except msgspec.ValidationError as e:
            raise UsageError(f"queue request: {e}") from e
        return msgspec.structs.replace(filters, domain=filters.domain.lower())

    def chosen(self, message: Message) -> list[Recipient]:
        """The queued recipients that the filters mean; none: the message is not meant."""
        if self.until and message.arrival > self.until:
            return []
        sender = message.reverse_path or "<>"
        if self.sender and self.sender.lower() not in (sender.lower(), _shown_sender(message).lower()):
            return []
        wanted = self.recipient.lower()
        return [
            r
            for r in message.queued()
            if (not self.domain or r.domain == self.domain) and (not wanted or r.forward_path.lower() == wanted)
        ]


def _shown_sender(message: Message) -> str:
    return message.reverse_path or NULL_SENDER


def queue_name(message: Message, live: bool) -> str:
    """``active`` (in memory: due or in flight), ``hold`` (all that is queued is held) or ``deferred``."""
    if live:
        return "active"
    queued = message.queued()
    return "hold" if queued and all(r.due == HELD for r in queued) else "deferred"


def delay_reason(recipient: Recipient) -> str:
    """Why the last attempt did not deliver; "" when there was none."""
    if not recipient.last_code:
        return recipient.last_reply
    said = " ".join(part for part in (str(recipient.last_code), recipient.last_status, recipient.last_reply) if part)
    return f"host {recipient.last_remote} said: {said}" if recipient.last_remote else said


def list_row(message: Message, live: bool) -> Row:
    """One object of ``postqueue -j``. Recipients are those still queued."""
    recipients: list[Row] = []
    for r in message.queued():
        reason = delay_reason(r)
        recipients.append({"address": r.forward_path} | ({"delay_reason": reason} if reason else {}))
    return {
        "queue_name": queue_name(message, live),
        "queue_id": format_id(message.id),
        "arrival_time": message.arrival // 1000,
        "message_size": message.size,
        "forced_expire": False,
        "sender": _shown_sender(message),
        "recipients": recipients,
    }


def show_row(message: Message, live: bool) -> Row:
    """The whole record, readable: envelope, arrival facts, every recipient whatever became of it."""
    return {
        "queue_name": queue_name(message, live),
        "queue_id": format_id(message.id),
        "arrival_time": message.arrival / 1000,
        "message_size": message.size,
        "sender": _shown_sender(message),
        "reverse_path": message.reverse_path,
        "session_id": message.session_id,
        "client_name": message.client_name,
        "client_address": message.client_address,
        "protocol": message.protocol,
        "eight_bit": message.eight_bit,
        "generated": message.generated,
        "envid": message.envid,
        "ret": message.ret,
        "recipients": [_recipient_row(r) for r in message.recipients],
    }


def _recipient_row(r: Recipient) -> Row:
    held = r.due == HELD
    return {
        "address": r.forward_path,
        "domain": r.domain,
        "state": "held" if held and r.state is RecipientState.QUEUED else r.state.name.lower(),
        "due": None if held or r.state is not RecipientState.QUEUED else r.due / 1000,
        "attempts": r.attempts,
        "last_attempt": r.last_attempt / 1000 if r.last_attempt else None,
        "last_reply": delay_reason(r),
        "notify": r.notify,
        "orcpt": r.orcpt,
    }


def why_rows(message: Message, constraints: list[Row], live: bool, now: int) -> list[Row]:
    """Per recipient: its state, what it waits for and until when. ``now`` in ms.

    ``constraints`` come from the scheduler: ``{"domain", "waiting_for", "until" (ms or None), "detail"}``; those of a
    recipient's routing domain apply to it. Without one the record itself says: hold, retry time, or its turn.
    """
    by_domain = {c.get("domain", ""): c for c in constraints}
    rows = []
    for r in message.recipients:
        waiting_for, until, detail = _wait_of(r, by_domain.get(r.domain), live, now)
        rows.append(
            {
                "queue_id": format_id(message.id),
                "recipient": r.forward_path,
                "state": r.state.name.lower(),
                "waiting_for": waiting_for,
                "until": until / 1000 if until is not None else None,
                "detail": detail,
                "attempts": r.attempts,
                "last_reply": delay_reason(r),
            }
        )
    return rows


def _wait_of(r: Recipient, constraint: Row | None, live: bool, now: int) -> tuple[str, int | None, str]:
    if r.state is not RecipientState.QUEUED:
        return "nothing", None, ""
    if r.due == HELD:
        return "hold", None, "until released"
    if constraint is not None:
        return str(constraint["waiting_for"]), constraint.get("until"), str(constraint.get("detail", ""))
    if r.due > now:
        return "retry time", r.due, ""
    return "its turn", None, "in memory" if live else "due, not read from the spool yet"


class AgeTable:
    """Queued recipients per routing domain and age, as qshape counts them."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._counts: dict[str, list[int]] = {}

    def add(self, message: Message) -> None:
        minutes = max(0, self._now - message.arrival) // 60_000
        bucket = next((i for i, bound in enumerate(AGE_BOUNDS) if minutes < bound), len(AGE_BOUNDS))
        for r in message.queued():
            counts = self._counts.get(r.domain)
            if counts is None:
                counts = self._counts[r.domain] = [0] * len(AGE_NAMES)
            counts[bucket] += 1

    def rows(self) -> list[Row]:
        """The most loaded domain first; rows of several workers may be added up field by field."""
        order = sorted(self._counts.items(), key=lambda item: (-sum(item[1]), item[0]))
        return [
            {"domain": domain, "total": sum(counts), **dict(zip(AGE_NAMES, counts, strict=True))}
            for domain, counts in order
        ]


def group_numbers(message: Message, recipients: list[Recipient]) -> list[tuple[str, int]]:
    """(routing domain, group number) of the groups that the recipients belong to."""
    wanted = {r.domain for r in recipients}
    return [(domain, group) for domain, group in groups_of(message.recipients).items() if domain in wanted]
