"""What goes on of what the sender asked to be told, when an address gives way to another (RFC 3461 §5.2.7).

Owns: NOTIFY and ORCPT of those who come in a recipient's place. RET and ENVID are the message's and need nothing.
Never does: decide who they are, or report.
"""

from collections.abc import Sequence

from mta.model.dsn import to_xtext
from mta.model.message import Recipient

_EVENTS = ("SUCCESS", "FAILURE", "DELAY")
#: Without NOTIFY these are told (RFC 3461 §4.1).
_BY_DEFAULT = ("FAILURE", "DELAY")


def stand_in(address: str, originals: Sequence[Recipient]) -> Recipient:
    """One recipient in place of ``originals``. In place of one, he takes over what was asked about that one, with the
    address that the sender knows (§5.2.7.2). In place of several, whatever was asked about any of them is told about
    him, and no address is the original one."""
    orcpt = original(originals[0]) if len(originals) == 1 else None
    notify = joined([each.notify for each in originals])
    return Recipient(address, address.rpartition("@")[2].lower(), notify=notify, orcpt=orcpt)


def original(recipient: Recipient) -> str:
    """ORCPT for those in the recipient's place: his own, or his address."""
    return recipient.orcpt or to_xtext(recipient.forward_path)


def joined(asked: Sequence[str | None]) -> str | None:
    """One NOTIFY that stands for several; None where no one has asked for anything."""
    if len(set(asked)) == 1:
        return asked[0]
    events = {event for notify in asked for event in (_BY_DEFAULT if notify is None else notify.split(","))}
    return ",".join(event for event in _EVENTS if event in events) or "NEVER"


def without_success(notify: str | None) -> str | None:
    """NOTIFY for those behind an alias of several: that it was expanded has been told in place of success
    (§5.2.7.3)."""
    if notify is None or "SUCCESS" not in notify:
        return notify
    return ",".join(event for event in notify.split(",") if event != "SUCCESS") or "NEVER"
