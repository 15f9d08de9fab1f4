"""Values that every layer shares: messages, recipients, spool ids, reports. No IO, no clock, no decisions."""
