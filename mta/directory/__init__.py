"""Who exists: people, aliases and lists, their addresses, passwords and address book. One process writes, all read."""
