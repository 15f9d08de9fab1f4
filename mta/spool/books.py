"""Bookkeeping of recipients: what a change does to the ledger, and the recount that the ledger is checked against.

Owns: the columns and their sums. Never does: IO of its own (``count_queued`` reads through the spool it is given).
"""

from typing import Protocol

from mta.model.message import Message
from mta.spool.protocol import Change, Ledger

#: Messages a page when recounting: one short read each.
PAGE = 1000


class Listing(Protocol):
    """Whatever can list its messages in pages: every spool, and the files of a stopped one."""

    def messages(self, after: int, limit: int) -> list[Message]: ...


def enter(ledger: Ledger, change: Change) -> None:
    """Adds what ``change`` says became of recipients."""
    ledger.delivered += change.delivered
    ledger.failed += change.failed
    ledger.expired += change.expired
    ledger.expanded += change.expanded
    ledger.discarded += change.discarded
    ledger.removed += change.removed
    ledger.generated += change.added
    for message, _content, _entries in change.generated:
        ledger.generated += len(message.recipients)


def count_queued(spool: Listing) -> int:
    """Queued recipients, counted one by one from the records. Blocks for as long as that takes."""
    queued = after = 0
    while page := spool.messages(after, PAGE):
        queued += sum(len(message.queued()) for message in page)
        after = page[-1].id
    return queued
