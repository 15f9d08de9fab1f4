"""Mailboxes: what was delivered and not yet fetched, each content once, each mailbox with its quota."""
