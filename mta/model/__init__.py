"""Values that every layer shares: messages, recipients, spool ids, replies. No IO, no clock, no decisions."""
