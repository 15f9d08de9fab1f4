"""Wiring: what runs in a process. One module per service; each is a plain object with start and stop."""
