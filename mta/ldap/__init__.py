"""The address book as LDAP shows it: messages, names, filters, entries and the session. No IO, no loop."""
