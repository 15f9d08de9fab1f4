"""Puts a new message into the due index: one entry per routing domain.

Owns: that rule. Never does: the commit; the entries go into a ticket or a change.
"""

from mta.model.message import Message, due_key


def enqueue(message: Message, due: int) -> list[tuple[bytes, str]]:
    """Sets every recipient due (ms) and gives the message's entries for the due index."""
    recipients = message.recipients
    if len(recipients) == 1:
        recipients[0].due = due
        return [(due_key(due, message.id, 0), recipients[0].domain)]
    entries: dict[str, bytes] = {}
    for index, recipient in enumerate(recipients):
        recipient.due = due
        if recipient.domain not in entries:
            entries[recipient.domain] = due_key(due, message.id, index)
    return [(key, domain) for domain, key in entries.items()]
