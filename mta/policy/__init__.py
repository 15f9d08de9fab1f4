"""Decisions, as pure functions and plain objects: who may relay, what follows a failure, when to try again."""
