"""What becomes of a message when an alias or a list in it gives way to those it stands for: a change of the spool.

Owns: the new recipients, their place in the queue, and the copies for lists that have an owner. Never does: look
anything up (``mta.services.local`` has asked the directory), or judge failures. Loop thread only.

Those behind an alias become recipients of the same message, so its content stays stored once. A list with an owner
gets a message of its own, since failures go to the owner and not to the author. Somebody who is reached in several
ways gets the message once. All of it is one change: after a crash either the list or its members are in the queue.
"""

from collections.abc import Iterable
from typing import NamedTuple

from mta.clock import Clock
from mta.model.forwarding import original, without_success
from mta.model.message import Message, Recipient, RecipientState, due_key, groups_of
from mta.model.spoolid import IdSource, format_id
from mta.policy.offer import asks_for
from mta.policy.trouble import Problem
from mta.queue.entry import Entry
from mta.queue.scheduler import Scheduler
from mta.services.enqueue import enqueue
from mta.services.outcomes import Outcomes
from mta.spool.protocol import Change, Spool

#: A recipient who cannot get the message, and why.
Lost = tuple[Recipient, Problem]
Generated = tuple[Message, bytes, list[tuple[bytes, str]]]


class Replaced(NamedTuple):
    """A recipient and who gets the message instead. ``lists``: (owner, members) of the lists on the way that have an
    owner; their members are not among ``targets``."""

    recipient: Recipient
    targets: tuple[str, ...]
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()


def is_single(replaced: Replaced) -> bool:
    """One address in place of another: what the sender wants to be told is its matter (RFC 3461 §5.2.7.2)."""
    return len(replaced.targets) == 1 and not replaced.lists


def is_list(replaced: Replaced) -> bool:
    """Nothing but lists with an owner: for the sender the message has arrived there (RFC 3461 §5.2.7.1)."""
    return bool(replaced.lists) and not replaced.targets


class Expansions:
    """One per shard."""

    def __init__(self, spool: Spool, scheduler: Scheduler, outcomes: Outcomes, ids: IdSource, clock: Clock) -> None:
        self._spool = spool
        self._scheduler = scheduler
        self._outcomes = outcomes
        self._ids = ids
        self._clock = clock

    def apply(self, entry: Entry, message: Message, replaced: list[Replaced], lost: list[Lost]) -> bool:
        """Replaces recipients of the entry and fails the lost ones. True: the entry has mailboxes left."""
        now = self._clock.now_ms()
        for each in replaced:
            each.recipient.state = RecipientState.EXPANDED
        copies = tuple(
            self._copy(message, entry, owner, names, now) for each in replaced for owner, names in each.lists if names
        )
        added, stood_in_for = self._add(entry, message, replaced)
        entering = self._enqueue(entry, message, added, now)
        content = entry.content  # which it loses when nothing of it is left
        for each in replaced:
            behind = [*each.targets, *(format_id(copy.id) for copy, _, _ in copies)]
            self._outcomes.expanded(entry, message, each.recipient, behind)
        change = Change(message, expanded=len(replaced), added=len(added), entering=entering, generated=copies)
        asked = [each for each in replaced if asks_for(each.recipient, "SUCCESS")]
        arrived = [each.recipient for each in asked if is_list(each)]
        # The one behind a single address reports for it, unless he gets the message by another way already.
        expanded = [
            each.recipient
            for each in asked
            if not is_list(each) and not (is_single(each) and id(each.recipient) in stood_in_for)
        ]
        stays = self._outcomes.replaced(entry, change, lost, {"delivered": arrived, "expanded": expanded})
        self._scheduler.admit(message, content, list(entering), 0.0)
        return stays

    def _add(self, entry: Entry, message: Message, replaced: list[Replaced]) -> tuple[list[Recipient], set[int]]:
        """The new recipients, behind the others: the numbers of groups never change. And the ids of the recipients
        who have one of them in their place."""
        has_it = (RecipientState.QUEUED, RecipientState.DELIVERED)
        present = {r.forward_path.casefold() for r in message.recipients if r.state in has_it}
        added, stood_in_for = [], set()
        for each in replaced:
            recipient, targets, _ = each
            notify = recipient.notify if is_single(each) else without_success(recipient.notify)
            for target in targets:
                if target.casefold() not in present:
                    present.add(target.casefold())
                    stood_in_for.add(id(recipient))
                    added.append(Recipient(target, _domain(target), notify=notify, orcpt=original(recipient)))
        if added and len(message.recipients) == 1:
            self._scheduler.share(message)
        message.recipients.extend(added)
        return added, stood_in_for

    def _enqueue(
        self, entry: Entry, message: Message, added: Iterable[Recipient], now: int
    ) -> tuple[tuple[bytes, str], ...]:
        """Due now, or with the group where one waits already. Gives the keys of groups that are new in the queue."""
        fresh = set(map(id, added))
        waiting = {r.domain: r.due for r in message.queued() if id(r) not in fresh}
        waiting.setdefault(entry.domain, now)
        groups = groups_of(message.recipients)
        entering = {}
        for recipient in added:
            recipient.due = waiting.get(recipient.domain, now)
            if recipient.domain not in waiting:
                entering[recipient.domain] = due_key(now, message.id, groups[recipient.domain])
        return tuple((key, domain) for domain, key in entering.items())

    def _copy(self, message: Message, entry: Entry, owner: str, names: tuple[str, ...], now: int) -> Generated:
        """The message for the members of a list whose owner hears of failures. Its content is read whole. What the
        content needs of each host goes with it; what the sender wanted to be told, and when, ends at the list.

        What nobody is to be told about stays so: a report that reached a list, be it by way of its own owner, would
        else be reported on to the owner again, and that for ever (RFC 5321 §4.5.5)."""
        content = entry.content
        if content is None:
            content = b"".join(self._spool.content(message))
        copy = Message(
            self._ids.next(),
            owner if message.reverse_path else "",
            [Recipient(name, _domain(name)) for name in names],
            len(content),
            now,
            message.session_id,
            message.client_name,
            message.client_address,
            message.protocol,
            message.eight_bit,
            message.dotted,
            origin=message.id,
            smtputf8=message.smtputf8,
            binary=message.binary,
            requiretls=message.requiretls,
            priority=message.priority,
        )
        return copy, content, enqueue(copy, now)


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
